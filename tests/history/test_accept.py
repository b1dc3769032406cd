"""Which messages a run takes."""

from __future__ import annotations

import pytest

from perdure.history.accept import Verdict, judge
from perdure.history.events import (
    ActivityCompleted,
    ActivityFailed,
    ChildCompleted,
    EventRaised,
    Failure,
    RunCancelRequested,
    RunStarted,
    RunTerminated,
    TimerFired,
)
from perdure.stores.contract import Head, Status, Wait

RUNNING = Head("x", "shop", "main", Status.RUNNING, "e1", 2, 5, 0, 0)
DONE = Head("x", "shop", "main", Status.COMPLETED, "e1", 2, 5, 0, 0)
WAITS = {
    1: Wait(1, "activity", "a", 0),
    2: Wait(2, "timer", "t", 0),
    3: Wait(3, "child", "c", 0),
    -1: Wait(-1, "start", "s", 0),
}
REPLY = ActivityCompleted(number=1)


def verdict(event, *, head=RUNNING, answered=(), seen=(), key=None, execution="e1", generation=2):
    return judge(head, WAITS, answered, seen, event, key, execution, generation)


@pytest.mark.parametrize(
    "event",
    [
        REPLY,
        ActivityFailed(number=1, failure=Failure("T", "m")),
        TimerFired(number=2),
        TimerFired(number=-1),
        ChildCompleted(number=3),
    ],
)
def test_a_reply_to_an_open_wait_is_taken(event):
    assert verdict(event) == Verdict.TAKE


@pytest.mark.parametrize(
    "other",
    [{"execution": "e2"}, {"generation": 1}, {"generation": 3}, {"execution": None}, {"answered": {1}}],
)
def test_a_reply_to_another_run_or_an_answered_call_is_stale(other):
    assert verdict(REPLY, **other) == Verdict.STALE


def test_a_reply_must_fit_the_kind_of_its_wait():
    assert verdict(TimerFired(number=1)) == Verdict.STALE
    assert verdict(ActivityCompleted(number=3)) == Verdict.STALE
    assert verdict(ActivityCompleted(number=9)) == Verdict.STALE


@pytest.mark.parametrize("event", [EventRaised(name="n"), RunCancelRequested(), RunTerminated()])
def test_commands_apply_to_the_current_run_once(event):
    assert verdict(event, key="k", execution=None, generation=None) == Verdict.TAKE
    assert verdict(event, key="k", seen={"k"}, execution=None, generation=None) == Verdict.DUPLICATE
    assert verdict(event, head=DONE, key="k", execution=None, generation=None) == Verdict.LATE


def test_a_start_is_for_its_own_run_alone():
    assert verdict(RunStarted(name="main")) == Verdict.TAKE
    assert verdict(RunStarted(name="main"), generation=1) == Verdict.STALE
    assert verdict(RunStarted(name="main"), execution="e0") == Verdict.STALE
