"""What a worker's answer to a turn means: the actions to settle, or why the run stands still."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

import msgspec

from perdure.history.actions import (
    Action,
    AnswerUpdate,
    CompleteRun,
    ContinueRun,
    CreateChild,
    CreateDetached,
    RecordCode,
    RecordPatch,
    RecordTrace,
    ReportMissingVersion,
    RequestEntityLock,
    ScheduleActivity,
    SendEvent,
    SetStatus,
)
from perdure.history.entity_actions import fault_of_locks
from perdure.history.events import Failure, RunCancelRequested, UpdateRequested
from perdure.history.settle import can_settle
from perdure.history.work import Stall
from perdure.remote.requests import TurnResult
from perdure.stores.contract import FINISHED, Status


def take(result: TurnResult, patches: Sequence[str], done: Container[int] = ()) -> list[Action] | Stall:
    """The actions of a turn; `patches` are those that earlier turns have recorded, in order.

    `done` are the numbers of actions that history has and the worker is not shown, so that it may ask for them again.
    """
    stall = result.stall or _stall(result, patches)
    if stall is not None:
        return stall
    actions = [_addressed(action) for action in result.actions if not _is_repeated(action, done)]
    if result.status is not None:
        actions.insert(0, SetStatus(status=result.status))
    if result.trace is not None:
        actions.insert(0, RecordTrace(trace=result.trace))
    return [*_code(result, patches), *actions]


def permitted(actions: Sequence[Action], own: str, covers: Callable[[str], bool]) -> list[Action]:
    """The actions, those refused that are about an app which the worker may not call."""
    return [_unpermitted(action) if _names_foreign(action, own, covers) else action for action in actions]


def inherited(actions: Sequence[Action], version: str | None) -> list[Action]:
    """The actions with the run's version where they name none: for the choice of a worker, and the next generation."""
    return [_inheriting(action, version) for action in actions] if version is not None else list(actions)


def _inheriting(action: Action, version: str) -> Action:
    if isinstance(action, ScheduleActivity) and action.version is None:
        return msgspec.structs.replace(action, run_version=version)
    if isinstance(action, ContinueRun) and action.version is None:
        return msgspec.structs.replace(action, version=version)
    return action


def _names_foreign(action: Action, own: str, covers: Callable[[str], bool]) -> bool:
    app = action.app if isinstance(action, _ACROSS) else None
    return app is not None and app != own and not covers(app)


def _unpermitted(action: Any) -> Action:
    failure = Failure(
        type="NotPermitted",
        message=f"this worker may not call app {action.app!r}: its port serves another one and its token does not open "
        "it; serve both apps with one server, or give the worker the token for all apps",
        non_retryable=True,
    )
    refused: Action = msgspec.structs.replace(action, denied=failure)
    return refused


def unasked(events: Sequence[Any], shows: Callable[[Any], bool]) -> list[Action]:
    """What follows from events for which a worker's protocol has no word: a cancelled run ends, updates are refused."""
    actions: list[Action] = []
    for event in events:
        if isinstance(event, RunCancelRequested) and not shows(event):
            return [CompleteRun(status=Status.CANCELED)]
        if isinstance(event, UpdateRequested) and not shows(event):
            actions.append(AnswerUpdate(key=event.key, failure=NO_UPDATES, refused=True))
    return actions


def is_decided(answers: Sequence[Action], events: Sequence[Any]) -> bool:
    """Whether these answers are all that a turn needs; its first event only says when it began."""
    return any(isinstance(action, CompleteRun) for action in answers) or len(answers) == len(events) - 1


def _stall(result: TurnResult, patches: Sequence[str]) -> Stall | None:
    if any(isinstance(action, ReportMissingVersion) for action in result.actions):
        return Stall(
            "version-not-registered",
            "the worker has no code of the version that this run is on; start a worker that has it",
        )
    for action in result.actions:
        fault = fault_of_locks(action.locks) if isinstance(action, RequestEntityLock) else None
        if fault is not None:
            return Stall("refused", f"{fault}; correct the code of the workflow")
    asked = list(result.patches or ())
    if result.patches is not None and asked[: len(patches)] != list(patches):
        return Stall(
            "patch-mismatch",
            f"history has the patches {_listed(patches)} and the code now asks for {_listed(asked)}; start a worker "
            "whose code asks for those of the history first, in their order",
        )
    for action in result.actions:
        if not can_settle(action) and not isinstance(action, ReportMissingVersion):
            return Stall("refused", f"the worker asked for {type(action).__name__}, which this server cannot do")
        if isinstance(action, CompleteRun) and action.status not in FINISHED:
            return Stall("refused", f"the worker ended its turn as {action.status!r}; see its log")
    return None


def _code(result: TurnResult, patches: Sequence[str]) -> list[Action]:
    """What is recorded of the code that took the turn."""
    new: list[Action] = [RecordPatch(name=name) for name in list(result.patches or ())[len(patches) :]]
    return [RecordCode(version=result.version), *new] if result.version is not None else new


def _is_repeated(action: Action, done: Container[int]) -> bool:
    return isinstance(action, UNCONFIRMED) and action.number in done


def _addressed(action: Action) -> Action:
    """The action with the app that its router names as its own field."""
    target = action.router.target_app if action.router is not None else None
    if target is None or not isinstance(action, _ACROSS):
        return action
    return msgspec.structs.replace(action, app=target)


NO_UPDATES = Failure(
    type="NotSupportedByWorker",
    message="the worker of this workflow speaks a protocol without updates; send it an event",
)
UNFORESEEN = Stall("refused", "the server failed at handing out the work; its log has the error, a defect of Perdure")
_ACROSS = (ScheduleActivity, CreateChild, CreateDetached, SendEvent)
"""Actions that may be about another app."""
UNCONFIRMED = (SendEvent, CreateDetached)
"""Actions whose events some workers are not shown."""


def too_large(bytes: int, bytes_max: int) -> Stall:
    """Why work is not handed out that its worker's channel would not take."""
    return Stall(
        "payload-too-large",
        f"the work takes {bytes:,} bytes with its history and its worker is sent {bytes_max:,} at most; let the "
        "workflow use continue_as_new, or pass smaller payloads",
    )


def _listed(patches: Sequence[str]) -> str:
    return ", ".join(repr(patch) for patch in patches) or "none"
