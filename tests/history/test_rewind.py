"""A failed run back at the point before its failure."""

from __future__ import annotations

from typing import Any

from perdure.codec import encode
from perdure.history.actions import TIMEOUT_WAIT
from perdure.history.draft import Draft
from perdure.history.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ChildCreated,
    ChildFailed,
    EventRaised,
    Failure,
    RunCompleted,
    RunRewound,
    RunStarted,
    TimerCreated,
    TimerFired,
    TurnStarted,
)
from perdure.history.rewind import rewind, rewound
from perdure.stores.contract import ANSWERED, Head, Status

OOPS = Failure(type="Oops", message="no")
FAILED = RunCompleted(status="failed", failure=OOPS)
START = RunStarted(name="main", input=encode(1), execution="e1")
HEAD = Head("i", "shop", "main", Status.FAILED, "e1", 1, 7, 100, 100, finished=100)
NOW = 200


def begun(at: int) -> TurnStarted:
    return TurnStarted(at=at)


def asks(number: int) -> ActivityScheduled:
    return ActivityScheduled(number=number, name=f"a{number}")


def fails(number: int) -> ActivityFailed:
    return ActivityFailed(number=number, failure=OOPS)


def done(number: int) -> ActivityCompleted:
    return ActivityCompleted(number=number)


def draft_of(*events: Any, absent: list[str] | None = None) -> Draft:
    draft = Draft(HEAD, {}, NOW)
    rewind(draft, events, RunRewound(at=NOW, absent=absent or []))
    return draft


def test_the_call_that_failed_is_open_again():
    found = rewound([begun(1), START, asks(1), begun(2), fails(1), FAILED])
    assert found.history == [begun(1), START, asks(1)]
    assert found.arrivals == []


def test_failures_that_came_one_by_one_without_an_answer_go_together_and_successes_stay():
    events = [
        begun(1),
        START,
        asks(1),
        asks(2),
        asks(3),
        begun(2),
        fails(1),
        begun(3),
        done(2),
        begun(4),
        fails(3),
        FAILED,
    ]
    found = rewound(events)
    assert found.history == [begun(1), START, asks(1), asks(2), asks(3), begun(2), begun(3), done(2)]
    assert found.arrivals == []


def test_a_failure_that_was_tried_again_stays_and_the_last_try_is_open():
    timer, fired = TimerCreated(number=2, due=5), TimerFired(number=2, due=5)
    events = [begun(1), START, asks(1), begun(2), fails(1), timer, begun(3), fired, asks(1), begun(4), fails(1), FAILED]
    assert rewound(events).history == events[:9]


def test_what_followed_from_the_failure_goes_and_what_came_by_itself_comes_again():
    word = EventRaised(name="word")
    events = [begun(1), START, asks(1), begun(2), fails(1), asks(2), begun(3), word, done(2), FAILED]
    found = rewound(events)
    assert (found.history, found.arrivals) == ([begun(1), START, asks(1)], [word])


def test_a_run_that_failed_by_itself_goes_back_to_before_its_last_turn():
    found = rewound([begun(1), START, asks(1), begun(2), done(1), FAILED])
    assert (found.history, found.arrivals) == ([begun(1), START, asks(1)], [done(1)])
    found = rewound([begun(1), START, FAILED])
    assert (found.history, found.arrivals) == ([], [START])


def test_a_run_that_took_too_long_has_its_time_again():
    started = RunStarted(name="main", execution="e1", timeout=50)
    found = rewound([begun(1), started, asks(1), begun(2), TimerFired(number=TIMEOUT_WAIT), FAILED])
    assert found.arrivals == []
    draft = draft_of(begun(1), started, asks(1), begun(2), TimerFired(number=TIMEOUT_WAIT), FAILED)
    assert draft.opened[TIMEOUT_WAIT].due == NOW + 50


def test_the_turn_writes_history_anew_and_makes_the_call_again():
    draft = draft_of(begun(1), START, asks(1), begun(2), fails(1), FAILED)
    turn = draft.turn(0, 7, [], [])
    assert turn is not None
    assert turn.erase
    assert turn.head is not None
    assert (turn.head.status, turn.head.finished, turn.head.created) == ("running", None, 100)
    assert [type(event) for event in draft.events] == [
        TurnStarted,
        RunStarted,
        ActivityScheduled,
        TurnStarted,
        RunRewound,
    ]
    assert [(wait.number, wait.kind, wait.state) for wait in turn.opened] == [(1, "activity", "held")]


def test_answers_that_come_again_find_their_call():
    draft = draft_of(begun(1), START, asks(1), begun(2), done(1), FAILED)
    assert draft.opened[1].state == ANSWERED
    (mail,) = draft.mail
    assert (mail.instance, mail.execution, mail.generation) == ("i", "e1", 1)


def test_a_child_is_waited_for_and_one_that_is_gone_is_created_under_its_id():
    child = ChildCreated(number=1, instance="kid", name="child")
    events = [begun(1), START, child, begun(2), ChildFailed(number=1, failure=OOPS), FAILED]
    assert rewound(events).children == [child]
    there = draft_of(*events)
    assert (there.created, there.opened[1].on) == ([], "kid")
    gone = draft_of(*events, absent=["kid"])
    assert [creation.head.id for creation in gone.created] == ["kid"]
    assert gone.opened[1].on == "kid"
