"""Which messages a run takes."""

from __future__ import annotations

import pytest

from perdure.actors.message import Message
from perdure.history.accept import Intake, Verdict, accept, begun_first, judge, suspended_apart
from perdure.history.events import (
    ActivityCompleted,
    ActivityFailed,
    ChildCompleted,
    EventRaised,
    Failure,
    RunCancelRequested,
    RunStarted,
    RunSuspended,
    RunTerminated,
    SlotGranted,
    TimerFired,
)
from perdure.history.options import CallOptions, RetryPolicy, encode_options
from perdure.history.reports import AttemptBlocked, AttemptFailed, HeartbeatSeen
from perdure.history.work import Stall
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


class Node:
    """What the rules ask of the node: no jitter, and a slot for whoever is `offered` one."""

    def __init__(self, *offered):
        self.offered = offered

    def chance(self, event):
        return 0.5

    def offers(self, address):
        return address in self.offered


RETRIED = {1: Wait(1, "activity", "a", 0, attempt=1, options=encode_options(CallOptions(retry=RetryPolicy())))}
BAD = Failure("T", "m")
ADDRESS = ("x", "e1", 2, 1)


def taken(*events, head=RUNNING, waits=WAITS, seen=(), key=None, node=None):
    return accept(head, waits, seen, [Message(event, key, "e1", 2) for event in events], node or Node())


def test_a_batch_answers_each_call_once():
    intake = taken(REPLY, REPLY)
    assert (intake.events, intake.dropped) == ([REPLY], [Verdict.STALE])


def test_a_start_goes_before_what_came_to_the_store_before_it():
    start, command = RunStarted(name="main"), EventRaised(name="e")
    assert taken(command, start).events == [start, command]


def test_a_command_that_comes_twice_in_a_batch_is_taken_once_and_remembered():
    command = EventRaised(name="e")
    intake = taken(command, command, key="k")
    assert (intake.events, list(intake.keys), intake.dropped) == ([command], ["k"], [Verdict.DUPLICATE])
    assert taken(command, key="k", seen={"k"}).dropped == [Verdict.DUPLICATE]


def test_mail_that_cannot_be_read_is_dropped():
    intake = taken(ValueError("no JSON"), REPLY)
    assert (intake.events, intake.dropped) == ([REPLY], ["mail unreadable"])


def test_a_failed_attempt_is_the_failure_of_the_call_once_its_policy_is_exhausted():
    attempt = AttemptFailed(number=1, failure=BAD, attempt=1)
    assert [type(event) for event in taken(attempt).events] == [ActivityFailed]
    assert taken(attempt, waits=RETRIED).reports == [attempt]
    assert [type(event) for event in taken(attempt, waits=RETRIED, head=DONE).events] == [ActivityFailed]


def test_an_attempt_that_was_kept_as_mail_is_asked_about_again():
    intake = taken(ActivityFailed(number=1, failure=BAD), waits=RETRIED)
    assert [type(event) for event in intake.reports] == [AttemptFailed]


def test_the_end_of_an_attempt_that_is_over_is_stale():
    waits = {1: Wait(1, "activity", "a", 0, attempt=2)}
    assert taken(AttemptFailed(number=1, failure=BAD, attempt=1), waits=waits).dropped == [Verdict.STALE]


def test_a_heartbeat_leaves_the_call_open():
    beat = HeartbeatSeen(number=1, details=None)
    intake = taken(beat, REPLY)
    assert (intake.events, intake.reports) == ([REPLY], [beat])
    assert taken(REPLY, beat).dropped == [Verdict.STALE]


def test_a_slot_is_taken_while_it_is_offered():
    grant = SlotGranted(number=1)
    assert taken(grant, node=Node(ADDRESS)).reports == [grant]
    assert taken(grant) == Intake()


def test_an_attempt_that_cannot_be_made_is_nothing_to_fold():
    assert taken(AttemptBlocked(number=1, stall=Stall("r", "d"))) == Intake()


def test_a_generation_begins_before_what_came_while_the_one_before_ended():
    came = [Message(EventRaised(name=name), key=name, stored=True) for name in "ab"]
    start = Message(RunStarted(name="main", generation=2), "x/e1.1/6.1", "e1", 2, stored=True)
    carried = Message(EventRaised(name="c"), "x/e1.1/6.2", stored=True)
    assert begun_first([*came, start, carried], RUNNING) == [start, carried, *came]
    assert begun_first([start, carried, *came], RUNNING) == [start, carried, *came]
    assert begun_first(came, RUNNING) == came


def test_a_fork_begins_with_what_it_takes_over_and_not_with_what_its_code_would_raise():
    came = Message(EventRaised(name="a"), key="a", stored=True)
    raised = Message(EventRaised(name="a"), key="x/e1.2/5.1", stored=True)
    start = Message(RunStarted(name="main", generation=2), "x/e1.2/5.1", "e1", 2, stored=True)
    adopted = Message(EventRaised(name="a"), "x/e1.2/5.2", "e1", 2, stored=True)
    reply = Message(REPLY, None, "e1", 2)
    assert begun_first([came, reply, adopted], RUNNING) == [adopted, came, reply]
    assert begun_first([came, start, adopted], RUNNING) == [start, adopted, came]
    assert begun_first([came, raised], RUNNING) == [came, raised]


def test_a_start_that_is_heard_again_is_not_taken_twice():
    start = Message(RunStarted(name="main"), "start", "e1", 2)
    begun = accept(RUNNING, WAITS, (), [start], Node(), has_begun=True)
    assert (begun.events, begun.dropped) == ([], [Verdict.DUPLICATE])
    assert accept(RUNNING, WAITS, (), [start], Node()).events == [start.event]


def test_a_suspension_begins_a_turn():
    event, halt, more = (Message(kind, "k") for kind in (EventRaised(name="a"), RunSuspended(), EventRaised(name="b")))
    assert suspended_apart([event, halt, more]) == ([event], [halt, more])
    assert suspended_apart([halt, event]) == ([halt, event], [])
    assert suspended_apart([halt, event, halt, more]) == ([halt, event], [halt, more])
    assert suspended_apart([event, more]) == ([event, more], [])
    end = Message(RunTerminated(), "k")
    assert suspended_apart([event, halt, end]) == ([event, halt, end], [])
