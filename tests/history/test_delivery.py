"""Which events the code sees, and when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from perdure.history.delivery import Gate, deliveries, deliveries_before, turns
from perdure.history.events import (
    ActivityCompleted,
    ActivityScheduled,
    EventRaised,
    RunResumed,
    RunStarted,
    RunSuspended,
    TurnStarted,
)

A, B, C = (EventRaised(name=name) for name in "abc")


def test_an_open_gate_lets_everything_through():
    assert Gate().pass_through([A, B]) == [A, B]


def test_suspension_holds_back_what_comes_after_it_and_resume_lets_go_in_order():
    gate = Gate()
    assert gate.pass_through([A, RunSuspended(), B]) == [A]
    assert gate.pass_through([C]) == []
    assert gate.shut
    assert gate.pass_through([RunResumed(), A]) == [B, C, A]
    assert not gate.shut
    assert gate.held == []


def test_a_resume_without_a_suspension_changes_nothing():
    assert [event for event in Gate().pass_through([A, RunResumed(), B]) if event in (A, B)] == [A, B]


def test_turns_begin_where_they_say_wherever_segments_end():
    t1, t2 = TurnStarted(at=1), TurnStarted(at=2)
    start, scheduled, done = (
        RunStarted(name="m"),
        ActivityScheduled(number=1, name="a"),
        ActivityCompleted(number=1),
    )
    expected = [(1, [start], [t1, start, scheduled]), (2, [done], [t2, done])]
    for segments in (
        [[t1, start, scheduled], [t2, done]],
        [[t1, start, scheduled, t2, done]],
        [[t1], [start, scheduled, t2], [done]],
    ):
        found = [(d.at, [e for e in d.events if type(e) is not TurnStarted], d.recorded) for d in deliveries(segments)]
        assert found == expected


def test_no_events_no_turns():
    assert list(turns([])) == []


@given(st.lists(st.sampled_from(["suspend", "resume", *"abcdefgh"]), max_size=40), st.integers(1, 5))
def test_how_events_share_turns_does_not_change_what_the_code_sees(words, size):
    kinds = {"suspend": RunSuspended(), "resume": RunResumed()}
    events = [kinds.get(word) or EventRaised(name=word) for word in words]
    whole, parts = Gate(), Gate()
    at_once = [event for event in whole.pass_through(events) if type(event) is EventRaised]
    by_parts = []
    for begin in range(0, len(events), size):
        by_parts += [event for event in parts.pass_through(events[begin : begin + size]) if type(event) is EventRaised]
    assert at_once == by_parts
    assert (whole.shut, whole.held) == (parts.shut, parts.held)


def test_a_history_up_to_before_an_event_is_cut_within_a_turn_and_whole_when_the_code_has_seen_all():
    first = [TurnStarted(at=1), RunStarted(name="main"), ActivityScheduled(number=1, name="act")]
    second = [TurnStarted(at=2), EventRaised(name="a"), EventRaised(name="b")]
    found = {
        number: [
            (turn.at, len(turn.events), beginning, is_whole)
            for turn, beginning, is_whole in deliveries_before([*first, *second], number)
        ]
        for number in range(1, 8)
    }
    assert found == {
        1: [],
        2: [(1, 1, 1, False)],
        3: [(1, 2, 1, True)],
        4: [(1, 2, 1, True)],
        5: [(1, 2, 1, True), (2, 1, 4, False)],
        6: [(1, 2, 1, True), (2, 2, 4, False)],
        7: [(1, 2, 1, True), (2, 3, 4, True)],
    }
