"""What must follow from a turn."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from perdure.codec import Example, encode
from perdure.history.actions import (
    START_WAIT,
    TIMEOUT_WAIT,
    CancelActivity,
    CancelTimer,
    CompleteRun,
    ContinueRun,
    CreateChild,
    CreateDetached,
    CreateTimer,
    ScheduleActivity,
    SendEvent,
    SetStatus,
    StopWaiting,
    TerminateInstance,
    WaitForEvent,
)
from perdure.history.creation import pending_head
from perdure.history.events import (
    ActivityCompleted,
    EventRaised,
    Failure,
    Parent,
    RunResumed,
    RunStarted,
    RunSuspended,
    TurnStarted,
    decode_event,
)
from perdure.history.options import CallOptions, RetryPolicy, decode_options, example_in
from perdure.history.settle import settle
from perdure.stores.contract import ANSWERED, Head, Status, Wait

NOW = 1_000_000
HEAD = Head("order-1", "shop", "main", Status.RUNNING, "e1", 1, 4, 0, 0, tags={"k": "v"})
PARENT = Parent(instance="boss", execution="e0", generation=3, number=7)
CHILD = pending_head("shop", "kid", RunStarted(name="child", execution="e2", parent=PARENT), 0)


def turn(*actions: Any, events: tuple[Any, ...] = (), head: Head = HEAD, waits: dict[int, Wait] | None = None):
    return settle(head, waits or {}, NOW, events, actions)


def names(draft: Any) -> list[str]:
    return [type(event).__name__ for event in draft.events]


def test_a_turn_begins_with_its_time():
    assert turn().events == [TurnStarted(at=NOW)]
    assert turn().new_head() is None


def test_a_scheduled_activity_is_history_and_an_open_call():
    options = CallOptions(retry=RetryPolicy(max_attempts=3), timeout=5.0)
    draft = turn(ScheduleActivity(number=1, name="charge", input=encode(5), options=options, line="l", app="bank"))
    wait = draft.opened[1]
    assert names(draft) == ["TurnStarted", "ActivityScheduled"]
    assert (wait.kind, wait.name, wait.attempt, wait.since, wait.line, wait.on) == (
        "activity",
        "charge",
        1,
        NOW,
        "l",
        "bank",
    )
    assert wait.input == encode(5)
    assert decode_options(wait.options) == options


def test_results_close_what_they_answer():
    draft = turn(events=(ActivityCompleted(number=1), EventRaised(name="n")))
    assert draft.closed == [1]
    assert names(draft) == ["TurnStarted", "ActivityCompleted", "EventRaised"]


def test_taking_back_is_recorded_and_closes():
    draft = turn(CancelActivity(number=1), CancelTimer(number=2), StopWaiting(number=-10))
    assert names(draft) == ["TurnStarted", "ActivityCancelled", "TimerCancelled"]
    assert draft.closed == [1, 2, -10]


def test_a_timer_is_due_and_a_wait_for_an_event_is_only_a_row():
    draft = turn(CreateTimer(number=1, due=9, due_nanos=7), WaitForEvent(number=-10, name="go", line="l"))
    assert draft.opened[1].due == 9
    assert (draft.opened[-10].kind, draft.opened[-10].options) == ("event", None)
    assert names(draft) == ["TurnStarted", "TimerCreated"]


def test_the_row_of_a_wait_for_an_event_shows_what_data_the_code_takes():
    example = Example("bool", "false")
    draft = turn(WaitForEvent(number=-10, name="go", example=example))
    assert example_in(draft.opened[-10].options) == example


def test_the_same_turn_decided_twice_sends_and_creates_the_same():
    asked = (
        SendEvent(number=1, instance="x", name="n", data=encode(1)),
        CreateChild(number=2, name="child"),
        CreateDetached(number=3, name="loose"),
        TerminateInstance(instance="y"),
    )
    one, other = turn(*asked), turn(*asked)
    assert one.mail == other.mail
    assert one.created == other.created
    assert len({mail.key for mail in one.mail}) == 2
    following = settle(msgspec.structs.replace(HEAD, sequence=5), {}, NOW, (), asked)
    assert {mail.key for mail in one.mail}.isdisjoint({mail.key for mail in following.mail})


def test_a_status_is_a_field_of_the_head():
    head = turn(SetStatus(status=encode("half"))).new_head()
    assert head.custom_status == encode("half")
    assert (head.sequence, head.updated) == (5, NOW)


def test_completion_closes_everything_and_the_first_one_wins():
    waits = {
        1: Wait(1, "activity", "a", 0),
        2: Wait(2, "timer", "t", 0),
        TIMEOUT_WAIT: Wait(TIMEOUT_WAIT, "timeout", "r", 0),
    }
    draft = turn(
        CreateTimer(number=3, due=9),
        CompleteRun(status="completed", output=encode(1)),
        CompleteRun(status="failed", failure=Failure("T", "m")),
        waits=waits,
    )
    head = draft.new_head()
    assert (head.status, head.finished) == ("completed", NOW)
    assert sorted(draft.closed) == [TIMEOUT_WAIT, 1, 2]
    assert draft.opened == {}
    assert draft.completed.output == encode(1)
    assert names(draft).count("RunCompleted") == 1


def test_completion_may_leave_calls_to_run():
    draft = turn(
        ScheduleActivity(number=2, name="b"),
        CompleteRun(status="completed", keep_calls=True),
        waits={1: Wait(1, "activity", "a", 0), 3: Wait(3, "timer", "t", 0)},
    )
    assert draft.closed == [3]
    assert list(draft.opened) == [2]


def test_continuing_erases_and_sends_itself_the_start_and_what_is_carried_over():
    waits = {
        1: Wait(1, "activity", "a", 0),
        TIMEOUT_WAIT: Wait(TIMEOUT_WAIT, "timeout", "r", 0, due=NOW + 500),
    }
    draft = turn(ContinueRun(input=encode(2), events=[EventRaised(name="n")]), waits=waits)
    head = draft.new_head()
    start, carried = draft.mail
    event = decode_event(start.event)
    assert draft.erase
    assert (head.status, head.generation, head.execution) == ("running", 2, "e1")
    assert (start.instance, start.execution, start.generation) == ("order-1", "e1", 2)
    assert (event.name, event.input, event.tags, event.timeout) == ("main", encode(2), {"k": "v"}, 500)
    assert decode_event(carried.event) == EventRaised(name="n")
    assert draft.opened == {}


def test_a_child_that_continues_is_still_its_parent_s():
    start = decode_event(turn(ContinueRun(), head=CHILD).mail[0].event)
    assert start.parent == PARENT


def test_the_start_sets_the_run_going_and_its_bound():
    draft = turn(events=(RunStarted(name="main", timeout=50),), waits={START_WAIT: Wait(START_WAIT, "start", "s", 0)})
    assert draft.new_head().status == "running"
    assert draft.closed == [START_WAIT]
    assert draft.opened[TIMEOUT_WAIT].due == NOW + 50


def test_suspension_is_a_field_of_its_own_and_resume_lifts_stalls_too():
    held = turn(events=(RunSuspended(reason=encode("why"), by="Ada"),)).new_head()
    assert (held.status, held.suspended.reason, held.suspended.by) == ("running", "why", "Ada")
    free = turn(events=(RunResumed(),), head=held).new_head()
    assert (free.suspended, free.stalled) == (None, None)


@pytest.mark.parametrize(
    "reason, told", [(None, ""), (encode('say "hi"'), 'say "hi"'), (encode(""), ""), (encode({"a": 1}), '{"a":1}')]
)
def test_the_reason_of_a_suspension_is_its_text(reason, told):
    assert turn(events=(RunSuspended(reason=reason),)).new_head().suspended.reason == told


def test_what_a_newer_version_keeps_in_more_survives_a_turn():
    head = msgspec.structs.replace(HEAD, more={"of_tomorrow": {"a": [1, None]}})
    assert turn(SetStatus(status=encode(1)), head=head).new_head().more == {"of_tomorrow": {"a": [1, None]}}
    packed = msgspec.json.encode(head)
    assert msgspec.json.decode(packed, type=Head).more == head.more


DENIED = Failure(type="NotPermitted", message="no", non_retryable=True)


def test_a_call_that_is_denied_is_history_and_fails_at_once():
    draft = turn(ScheduleActivity(number=1, name="charge", app="bank", denied=DENIED))
    assert names(draft) == ["TurnStarted", "ActivityScheduled"]
    assert draft.opened[1].state == ANSWERED
    (mail,) = draft.mail
    answer = decode_event(mail.event)
    assert (mail.instance, mail.execution, mail.generation) == ("order-1", "e1", 1)
    assert (type(answer).__name__, answer.number, answer.failure) == ("ActivityFailed", 1, DENIED)


def test_events_and_detached_instances_that_are_denied_go_nowhere():
    draft = turn(
        SendEvent(number=1, instance="x", name="e", app="bank", denied=DENIED),
        CreateDetached(number=2, name="child", app="bank", denied=DENIED),
    )
    assert names(draft) == ["TurnStarted", "EventSent", "DetachedCreated"]
    assert (draft.mail, draft.created) == ([], [])


def test_a_resume_now_makes_due_what_waits_for_its_next_attempt_and_nothing_else():
    later, failure = NOW + 60_000_000, b"{}"
    waits = {
        1: Wait(1, "activity", "retried", 0, due=later, failure=failure, attempt=2),
        2: Wait(2, "activity", "closed", 0, due=later, failure=failure, attempt=2),
        3: Wait(3, "activity", "runs", 0, failure=failure, attempt=2),
        4: Wait(4, "timer", "", 0, due=later),
    }
    draft = turn(CancelActivity(number=2), events=(RunResumed(at=NOW, now=True),), waits=waits)
    assert draft.changed == [msgspec.structs.replace(waits[1], due=NOW)]
    assert turn(events=(RunResumed(at=NOW),), waits=waits).changed == []
