"""Retries that a worker writes itself: which actions they are on the wire, and that a replay finds the same ones."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.clock import SECOND
from perdure.codec import Payload, encode, encode_arguments
from perdure.errors import NotSupportedByServer
from perdure.history import actions as asks
from perdure.history.events import ActivityCompleted, ActivityFailed, ChildFailed, EventRaised, Failure, TimerFired
from perdure.history.options import CallOptions, Limits, Place, RetryPolicy
from perdure.remote.foreign.arguments import MARK, inward, outward
from perdure.remote.foreign.translation import ATTEMPTS_MAX, STRIDE, Translation, told_by
from perdure.remote.requests import Flavour

RETRY = CallOptions(RetryPolicy(max_attempts=3, initial_interval=2.0, backoff=3.0))
FAILED = Failure("ConnectionError", "down")


def translation(flavour: Flavour = Flavour.DAPR) -> Translation:
    return Translation("order-1", "0" * 32, flavour, lambda about: 0.5, lambda name: None)


def charge(number: int = 1, options: CallOptions = RETRY, **more: Any) -> asks.ScheduleActivity:
    return asks.ScheduleActivity(number=number, name="charge", input=encode(5), options=options, **more)


def test_a_failed_attempt_becomes_a_timer_and_then_another_attempt() -> None:
    run = translation()
    (first,) = run.asked(0, [charge()])
    assert (first.number, first.name, first.key) == (1, "charge", f"order-1/{'0' * 32}/1")
    seen, (timer,) = run.arrived(SECOND, [ActivityFailed(number=1, failure=FAILED)])
    assert seen == []
    assert isinstance(timer, asks.CreateTimer)
    assert (timer.number, timer.due, timer.origin.kind) == (2, 3 * SECOND, "activity-retry")
    seen, (second,) = run.arrived(3 * SECOND, [TimerFired(number=2)])
    assert seen == []
    assert (second.number, second.key) == (1 + STRIDE, first.key)
    assert told_by(second.number) == (1, 2)
    seen, asked = run.arrived(4 * SECOND, [ActivityCompleted(number=1 + STRIDE, result=encode(7))])
    assert asked == []
    assert [(event.number, event.attempt) for event in seen] == [(1, 2)]


def test_the_last_failure_reaches_the_code() -> None:
    run = translation()
    run.asked(0, [charge()])
    out = 1
    for attempt in (1, 2):
        _, (timer,) = run.arrived(0, [ActivityFailed(number=out, failure=FAILED)])
        _, (again,) = run.arrived(0, [TimerFired(number=timer.number)])
        out = again.number
        assert told_by(out) == (1, attempt + 1)
    seen, asked = run.arrived(0, [ActivityFailed(number=out, failure=FAILED)])
    assert asked == []
    assert [(event.number, event.attempt, event.failure) for event in seen] == [(1, 3, FAILED)]


def test_a_failure_that_is_not_to_be_retried_reaches_the_code_at_once() -> None:
    run = translation()
    run.asked(0, [charge(options=CallOptions(RetryPolicy(non_retryable=("ConnectionError",))))])
    seen, asked = run.arrived(0, [ActivityFailed(number=1, failure=FAILED)])
    assert (len(seen), asked) == (1, [])


def test_an_attempt_whose_time_was_up_is_told_as_such() -> None:
    run = translation()
    run.asked(0, [charge(options=CallOptions())])
    (failed,), _ = run.arrived(0, [ActivityFailed(number=1, failure=Failure("ActivityTimedOut", "late"))])
    assert failed.timed_out


def test_what_nobody_awaits_any_more_is_passed_over() -> None:
    run = translation()
    run.asked(0, [charge(1), charge(2), asks.CreateTimer(number=3, due=5)])
    _, (timer,) = run.arrived(0, [ActivityFailed(number=2, failure=FAILED)])
    gone = [asks.CancelActivity(number=1), asks.CancelActivity(number=2), asks.CancelTimer(number=3)]
    assert run.asked(0, gone) == []
    late = [ActivityCompleted(number=1), TimerFired(number=timer.number), TimerFired(number=3)]
    assert run.arrived(0, late) == ([], [])


def test_numbers_of_the_wire_are_apart_from_those_of_the_code() -> None:
    run = translation()
    run.asked(0, [charge(1)])
    run.arrived(0, [ActivityFailed(number=1, failure=FAILED)])  # the timer takes number 2
    (child,) = run.asked(0, [asks.CreateChild(number=2, name="ship")])
    assert (child.number, child.instance) == (3, "order-1:0003")
    seen, _ = run.arrived(0, [ChildFailed(number=3, failure=FAILED)])
    assert [event.number for event in seen] == [2]


def test_a_child_that_nobody_awaits_is_terminated() -> None:
    run = translation()
    run.asked(0, [asks.CreateChild(number=1, name="ship", instance="s-1")])
    (ended,) = run.asked(0, [asks.CancelChild(number=1)])
    assert isinstance(ended, asks.TerminateInstance)
    assert (ended.instance, ended.recursive) == ("s-1", True)


def test_beyond_the_numbers_that_tell_it_a_retry_counts_on() -> None:
    run = translation()
    policy = CallOptions(RetryPolicy(initial_interval=0.0))
    run.asked(0, [charge(options=policy)])
    out, numbers = 1, []
    for _ in range(ATTEMPTS_MAX + 1):
        _, (timer,) = run.arrived(0, [ActivityFailed(number=out, failure=FAILED)])
        _, (again,) = run.arrived(0, [TimerFired(number=timer.number)])
        out = again.number
        numbers.append(out)
    assert len(set(numbers)) == len(numbers)
    assert max(numbers) < 2**31
    assert told_by(numbers[ATTEMPTS_MAX - 2]) == (1, ATTEMPTS_MAX)


def test_the_same_events_give_the_same_actions() -> None:
    def played() -> list[Any]:
        run = translation()
        told: list[Any] = list(run.asked(0, [charge(1), charge(2), asks.CreateTimer(number=3, due=9)]))
        steps = [
            [ActivityFailed(number=2, failure=FAILED), ActivityFailed(number=1, failure=FAILED)],
            [EventRaised(name="go"), TimerFired(number=5)],
            [TimerFired(number=4), TimerFired(number=3)],
        ]
        for at, events in enumerate(steps):
            seen, asked = run.arrived(at, events)
            told += [*seen, *asked, *run.asked(at, [charge(10 + at)])]
        return told

    assert played() == played()


@pytest.mark.parametrize(
    "action",
    [
        asks.PublishState(name="s", state=encode(1)),
        asks.AnswerUpdate(key="k"),
        asks.CancelInstance(number=1, instance="i"),
        charge(options=CallOptions(place=Place("q", Limits()))),
        charge(options=CallOptions(timeout=5.0)),
        charge(options=CallOptions(heartbeat_timeout=5.0)),
        asks.CreateChild(number=1, name="ship", timeout=5),
    ],
    ids=lambda action: type(action).__name__,
)
def test_what_the_wire_has_no_word_for_is_refused(action: asks.Action) -> None:
    with pytest.raises(NotSupportedByServer):
        translation().asked(0, [action])


def test_what_only_dapr_has_is_refused_elsewhere() -> None:
    for action in (charge(app="other"), asks.CreateDetached(number=1, name="ship"), asks.RecordPatch(name="p")):
        translation(Flavour.DAPR).asked(0, [action])
        with pytest.raises(NotSupportedByServer):
            translation(Flavour.MICROSOFT).asked(0, [action])


def test_arguments_travel_as_one_value_and_come_back() -> None:
    for payload in (encode(5), encode({"a": 1}), encode_arguments((1, 2), {"c": 3}), encode_arguments((), {})):
        assert inward(outward(payload)) == payload
    marked = outward(encode_arguments((1, 2), {}))
    assert marked is not None
    assert MARK.encode() in bytes(marked.data)
    theirs = Payload("json", None, encode({MARK: 1, "more": 2}).data)
    assert inward(theirs) == theirs
    assert inward(None) is None
