"""Turns in which no code of the workflow has a part."""

from __future__ import annotations

import pytest

from perdure.codec import encode
from perdure.history.actions import START_WAIT, TIMEOUT_WAIT
from perdure.history.codeless import decide_without_code, goes_without_code, needs_no_code
from perdure.history.events import (
    ActivityCompleted,
    EventRaised,
    RunCancelRequested,
    RunResumed,
    RunSuspended,
    RunTerminated,
    TimerFired,
    decode_event,
)
from perdure.stores.contract import Head, Status, Wait

AT = 1_000
RUNNING = Head("x", "shop", "main", Status.RUNNING, "e1", 1, 5, 0, 0)
DONE = Head("x", "shop", "main", Status.COMPLETED, "e1", 1, 5, 0, 0)
TIMED_OUT = TimerFired(number=TIMEOUT_WAIT)


@pytest.mark.parametrize(
    "kinds, goes",
    [
        ({RunTerminated, EventRaised}, True),
        ({RunSuspended}, True),
        ({RunSuspended, EventRaised}, False),
        ({RunResumed}, False),
    ],
)
def test_what_a_node_without_code_may_take(kinds, goes):
    assert goes_without_code(kinds) is goes


@pytest.mark.parametrize("event", [RunTerminated(), TIMED_OUT])
def test_what_ends_a_run_needs_no_code(event):
    assert needs_no_code(RUNNING, False, [EventRaised(name="e"), event])


@pytest.mark.parametrize("event", [RunCancelRequested(), TimerFired(number=1), RunSuspended()])
def test_what_the_code_has_to_hear_needs_it(event):
    assert not needs_no_code(RUNNING, False, [event])


def test_a_run_is_cancelled_without_code_before_it_begins_alone():
    assert needs_no_code(RUNNING, True, [RunCancelRequested()])


def test_after_the_end_results_close_their_waits_and_nothing_else_happens():
    draft = decide_without_code(DONE, {}, AT, [ActivityCompleted(number=3)])
    assert (draft.closed, len(draft.events), draft.fields) == ([3], 1, {})


def test_a_termination_ends_the_run_and_its_children():
    waits = {1: Wait(1, "child", "kid", 0, on="x:1"), 2: Wait(2, "activity", "a", 0)}
    draft = decide_without_code(RUNNING, waits, AT, [RunTerminated(output=encode("out"), recursive=True)])
    assert draft.fields["status"] == Status.TERMINATED
    assert sorted(draft.closed) == [1, 2]
    assert [(mail.instance, type(decode_event(mail.event))) for mail in draft.mail] == [("x:1", RunTerminated)]
    assert not decide_without_code(RUNNING, waits, AT, [RunTerminated(recursive=False)]).mail


def test_a_run_that_took_too_long_has_failed():
    draft = decide_without_code(RUNNING, {TIMEOUT_WAIT: Wait(TIMEOUT_WAIT, "timeout", "t", 0, 5)}, AT, [TIMED_OUT])
    assert draft.completed is not None
    assert draft.completed.failure is not None
    assert (draft.fields["status"], draft.completed.failure.type) == (Status.FAILED, "RunTimedOut")


def test_a_run_that_is_cancelled_before_it_begins_has_nobody_to_tell():
    waits = {START_WAIT: Wait(START_WAIT, "start", "s", 0, 5)}
    draft = decide_without_code(RUNNING, waits, AT, [RunCancelRequested()])
    assert (draft.fields["status"], draft.closed) == (Status.CANCELED, [START_WAIT])
