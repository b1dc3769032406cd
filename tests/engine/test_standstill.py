"""When messages of an instance have to wait."""

from __future__ import annotations

import pytest

from perdure.actors.message import Message
from perdure.engine.standstill import has_to_queue, hold, hold_in_queue, is_held, obstacle_in, parts_suspension
from perdure.history.actions import START_WAIT
from perdure.history.events import (
    EventRaised,
    Failure,
    RunCancelRequested,
    RunForked,
    RunResumed,
    RunStarted,
    RunTerminated,
    TimerFired,
)
from perdure.history.reports import AttemptBlocked, AttemptFailed
from perdure.history.work import Stall
from perdure.stores.contract import QUEUED, Halt, Head, Status, Wait

RUNNING = Head("x", "shop", "main", Status.RUNNING, "e1", 1, 5, 0, 0)
STALLED = Head("x", "shop", "main", Status.RUNNING, "e1", 1, 5, 0, 0, stalled=Halt("why", 0))
DONE = Head("x", "shop", "main", Status.COMPLETED, "e1", 1, 5, 0, 0)
STALL = Stall("key-missing", "no key")
BLOCKED = AttemptBlocked(number=1, stall=STALL)
WAITS = {1: Wait(1, "activity", "a", 0)}


def held(*kinds, head=RUNNING, is_asleep=False, is_retried=False, lacks_code=False):
    return is_held(set(kinds), head, is_asleep=is_asleep, is_retried=is_retried, lacks_code=lacks_code)


@pytest.mark.parametrize(
    "state, waits, goes",
    [
        ({}, None, EventRaised),
        ({"head": STALLED}, EventRaised, RunResumed),
        ({"head": STALLED, "is_retried": True}, None, EventRaised),
        ({"is_asleep": True}, EventRaised, TimerFired),
        ({"lacks_code": True}, EventRaised, RunTerminated),
        ({"lacks_code": True, "head": DONE}, None, EventRaised),
    ],
)
def test_what_has_to_wait_in_which_state(state, waits, goes):
    assert not held(goes, **state)
    assert waits is None or held(waits, **state)


@pytest.mark.parametrize("elsewhere", [None, "may_wait", "commands_only", "is_remote"])
def test_a_suspension_is_parted_from_a_turn_that_runs_code_here_and_now(elsewhere):
    asked = dict.fromkeys(("may_wait", "commands_only", "is_remote"), False)
    if elsewhere is not None:
        asked[elsewhere] = True
    assert parts_suspension(**asked) is (elsewhere is None)


def test_an_attempt_that_cannot_be_made_stalls_the_run_of_its_call():
    assert obstacle_in([Message(BLOCKED, None, "e1", 1)], RUNNING, WAITS) is STALL
    assert obstacle_in([Message(BLOCKED, None, "e0", 1)], RUNNING, WAITS) is None
    assert obstacle_in([Message(BLOCKED, None, "e1", 1)], RUNNING, {}) is None


def test_mail_that_cannot_be_read_stalls_the_run_unless_it_is_terminated():
    unreadable = Message(ValueError("no JSON"), "k", stored=True)
    stall = obstacle_in([unreadable], RUNNING, WAITS)
    assert stall is not None
    assert stall.reason == "mail-corrupt"
    assert obstacle_in([unreadable, Message(RunTerminated())], RUNNING, WAITS) is None


def kept_by(message, *, stall=None, wait=None):
    return hold(1, RUNNING, {1: wait or Wait(1, "activity", "a", 0, attempt=2)}, [message], stall, 9, 5)


@pytest.mark.parametrize("attempt, state", [(1, None), (2, "answered")])
def test_only_the_end_of_the_attempt_that_the_call_is_at_answers_it(attempt, state):
    """A call that an earlier attempt's failure had answered would wait for ever for a result that nobody brings."""
    failed = AttemptFailed(number=1, failure=Failure("T", "m"), attempt=attempt)
    turn = kept_by(Message(failed, None, "e1", 1))
    assert [wait.state for wait in turn.changed] == ([state] if state else [])


def test_failures_of_two_attempts_are_two_letters():
    keys = set()
    for attempt in (1, 2):
        failed = AttemptFailed(number=1, failure=Failure("T", "m"), attempt=attempt)
        keys |= {mail.key for mail in kept_by(Message(failed, None, "e1", 1)).mail}
    assert len(keys) == 2


def test_a_resume_is_spent_when_it_was_tried_and_kept_when_nobody_could_try_it():
    stored, new = Message(RunResumed(), "k", stored=True), Message(RunResumed(), "k")
    assert kept_by(stored) is None
    assert [mail.key for mail in kept_by(new).mail] == ["k"]
    assert kept_by(stored, stall=STALL).consumed == ["k"]
    assert kept_by(new, stall=STALL).mail == []


@pytest.mark.parametrize(
    "event", [RunTerminated(), RunCancelRequested(), RunForked(source="s", number=1, history=[], arrivals=[])]
)
def test_a_run_that_ends_before_it_begins_waits_in_no_queue(event):
    start = Message(RunStarted(name="main"), "k1", stored=True)
    assert has_to_queue([start], {})
    assert not has_to_queue([start, Message(event)], {})


def test_a_run_that_waits_in_a_queue_does_not_enter_it_twice():
    start = Message(RunStarted(name="main"), "k1", stored=True)
    assert not has_to_queue([start], {START_WAIT: Wait(START_WAIT, "start", "main", 0, state=QUEUED)})


def test_a_queue_takes_the_place_of_a_start_time_that_has_come():
    pending = Head("x", "shop", "main", Status.PENDING, "e1", 1, 5, 0, 0)
    queued = Wait(START_WAIT, "start", "main", 9, state=QUEUED)
    came = [Message(TimerFired(number=START_WAIT)), Message(EventRaised(name="go"), "k2")]
    asleep = {START_WAIT: Wait(START_WAIT, "start", "main", 0, due=8)}
    turn = hold_in_queue(1, pending, asleep, came, queued, 9, 5)
    assert (turn.changed, turn.opened, [mail.key for mail in turn.mail]) == ([queued], (), ["k2"])
    turn = hold_in_queue(1, pending, {}, [], queued, 9, 5)
    assert (turn.changed, turn.opened, turn.mail) == ((), [queued], ())
