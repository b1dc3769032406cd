"""A new instance from the history of another."""

from __future__ import annotations

from perdure.codec import encode
from perdure.history.draft import Draft
from perdure.history.events import (
    ActivityCompleted,
    ActivityScheduled,
    ChildCreated,
    EventRaised,
    Parent,
    RunCompleted,
    RunStarted,
    TimerCreated,
    TimerFired,
    TurnStarted,
    decode_event,
)
from perdure.history.fork import adopt, fork, still_open
from perdure.history.options import CallOptions, decode_options
from perdure.stores.contract import ANSWERED, Head, Status

START = RunStarted(name="main", input=encode(1), execution="old", generation=4, parent=Parent("p", "e", 1, 1))
HISTORY = [
    TurnStarted(at=1),
    START,
    ActivityScheduled(number=1, name="a", options=CallOptions(timeout=5.0)),
    TimerCreated(number=2, due=50),
    TurnStarted(at=2),
    ActivityCompleted(number=1),
    ActivityScheduled(number=3, name="b"),
    ChildCreated(number=4, instance="x:0004", name="child"),
    TurnStarted(at=3),
    EventRaised(name="n"),
    ActivityScheduled(number=5, name="c"),
    TurnStarted(at=4),
    TimerFired(number=2),
    RunCompleted(status="completed"),
]


def forked(number: int, **changes):
    given = {"input": None, "replace_input": False, **changes}
    return fork("x", HISTORY, number, "new", 9, given["input"], given["replace_input"])


def test_turns_before_the_action_are_kept_and_its_own_arrivals_come_again():
    found = forked(5)
    assert found.source == "x"
    assert [type(event) for event in found.history[:2]] == [TurnStarted, RunStarted]
    assert found.history[2:] == HISTORY[2:8]
    assert found.arrivals == [EventRaised(name="n")]


def test_the_start_is_adopted():
    (start,) = [event for event in forked(3).history if isinstance(event, RunStarted)]
    assert (start.execution, start.generation, start.parent, start.input) == ("new", 1, None, encode(1))
    (start,) = forked(1, input=encode(2), replace_input=True).arrivals
    assert start.input == encode(2)


def test_from_the_first_turn_nothing_is_kept():
    assert forked(2).history == []


def test_there_must_be_such_an_action():
    assert forked(6) is None
    assert forked(0) is None


def test_what_nothing_closed_is_open():
    assert [event.number for event in still_open(HISTORY)] == [3, 4, 5]


def test_adoption_opens_calls_again_with_their_options_but_not_those_answered_at_once():
    head = Head("y", "shop", "main", Status.PENDING, "new", 1, 0, 9, 9)
    first = fork(
        "x",
        [*HISTORY[:4], TurnStarted(at=2), EventRaised(name="n"), ActivityScheduled(number=9, name="z")],
        9,
        "new",
        9,
        None,
        False,
    )
    draft = Draft(head, {}, 9)
    adopt(draft, first)
    assert sorted(draft.opened) == [1, 2]
    assert decode_options(draft.opened[1].options) == CallOptions(timeout=5.0)
    assert draft.opened[2].due == 50
    assert draft.new_head().status == "running"
    assert [decode_event(mail.event) for mail in draft.mail] == [EventRaised(name="n")]

    draft = Draft(head, {}, 9)
    adopt(draft, forked(3))
    assert draft.opened[1].state == ANSWERED
    assert [decode_event(mail.event) for mail in draft.mail] == [ActivityCompleted(number=1)]


def test_open_children_are_made_anew_under_the_fork():
    head = Head("y", "shop", "main", Status.PENDING, "new", 1, 0, 9, 9)
    draft = Draft(head, {}, 9)
    adopt(draft, forked(5))
    (created,) = draft.created
    assert created.head.parent == "y"
    assert created.head.id != "x:0004"
    assert draft.opened[4].on == created.head.id
