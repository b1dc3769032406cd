"""What a worker's answer to a turn means."""

from __future__ import annotations

import pytest

from perdure.history.actions import (
    Action,
    AnswerUpdate,
    CompleteRun,
    CreateChild,
    RecordCode,
    RecordPatch,
    ReportMissingVersion,
    ScheduleActivity,
    SendEvent,
    SetStatus,
)
from perdure.history.events import EventRaised, Router, RunCancelRequested, TurnStarted, UpdateRequested
from perdure.history.work import Stall
from perdure.remote.dispatch.verdict import is_decided, permitted, take, too_large, unasked
from perdure.remote.requests import TurnResult
from perdure.remote.wire.payloads import payload_of

CHARGE = ScheduleActivity(number=1, name="charge")


def result(*actions: Action, **more: object) -> TurnResult:
    return TurnResult(instance="i", actions=actions, **more)  # type: ignore[arg-type]


def test_actions_come_after_what_is_recorded_of_their_code_and_the_status() -> None:
    taken = take(result(CHARGE, status=payload_of('"half"'), version="2", patches=["a", "b"]), ["a"])
    assert [type(action) for action in taken] == [RecordCode, RecordPatch, SetStatus, ScheduleActivity]
    assert taken[0].version == "2"
    assert taken[1].name == "b"


def test_a_worker_that_says_nothing_of_patches_has_not_lost_them() -> None:
    assert take(result(CHARGE), ["a"]) == [CHARGE]


@pytest.mark.parametrize("asked", [[], ["b"], ["b", "a"]])
def test_patches_that_are_not_those_of_history_stall_the_run(asked: list[str]) -> None:
    stall = take(result(CHARGE, version="", patches=asked), ["a"])
    assert isinstance(stall, Stall)
    assert stall.reason == "patch-mismatch"


def test_what_is_about_an_app_that_the_worker_may_not_call_is_denied() -> None:
    actions: list[Action] = [
        CHARGE,
        ScheduleActivity(number=2, name="charge", app="shop"),
        ScheduleActivity(number=3, name="charge", app="lab"),
        CreateChild(number=4, name="charge", app="bank"),
        SendEvent(number=5, instance="i", name="e", app="bank"),
    ]
    taken = permitted(actions, "shop", frozenset(("lab",)).__contains__)
    assert [action.denied is None for action in taken] == [True, True, True, False, False]
    assert taken[:3] == actions[:3]
    denied = taken[3].denied
    assert denied is not None
    assert (denied.type, denied.non_retryable, "'bank'" in denied.message) == ("NotPermitted", True, True)


def test_a_missing_version_and_an_end_that_is_none_stall_the_run() -> None:
    assert take(result(ReportMissingVersion()), []).reason == "version-not-registered"
    assert take(result(CompleteRun(status="running")), []).reason == "refused"


def test_an_action_that_nobody_can_settle_stalls_the_run() -> None:
    class Invent(Action, frozen=True):
        pass

    stall = take(result(Invent()), [])
    assert (stall.reason, "Invent" in stall.description) == ("refused", True)


def test_an_action_that_its_worker_is_not_shown_happens_once() -> None:
    sent, other = SendEvent(number=3, instance="x", name="e"), SendEvent(number=4, instance="x", name="e")
    assert take(result(sent, other), [], {3}) == [other]


def test_the_router_names_the_app() -> None:
    asked = CreateChild(number=1, name="child", router=Router(target_app="lab"))
    assert take(result(asked), [])[0].app == "lab"


def test_what_a_protocol_has_no_word_for_is_answered_here() -> None:
    cancel, update = RunCancelRequested(), UpdateRequested(key="k", name="u")
    begun, event = TurnStarted(), EventRaised(name="e")
    nothing = lambda _: False  # noqa: E731
    assert unasked([begun, event], nothing) == []
    (ended,) = unasked([begun, update, cancel], nothing)
    assert ended.status == "canceled"
    (refused,) = unasked([begun, update, event], nothing)
    assert isinstance(refused, AnswerUpdate)
    assert refused.refused
    assert unasked([begun, update, cancel], lambda _: True) == []
    assert is_decided([ended], [begun, update, cancel])
    assert is_decided([refused], [begun, update])
    assert not is_decided([refused], [begun, update, event])
    assert not is_decided([], [begun, event])


def test_too_large_says_what_to_do() -> None:
    stall = too_large(5_000_000, 4_000_000)
    assert stall.reason == "payload-too-large"
    assert "continue_as_new" in stall.description
