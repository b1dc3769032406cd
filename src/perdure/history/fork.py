"""A new instance from the history of another one: which turns are kept, and what is open after them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from perdure.codec import Payload
from perdure.history.actions import CreateChild
from perdure.history.delivery import turns, version_of
from perdure.history.draft import Draft
from perdure.history.events import (
    CONFIRMATIONS,
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ChildCancelled,
    ChildCompleted,
    ChildCreated,
    ChildFailed,
    RunCompleted,
    RunForked,
    RunStarted,
    RunSuspended,
    TimerCancelled,
    TimerCreated,
    TimerFired,
    TurnStarted,
    UpdateAnswered,
)
from perdure.history.options import encode_options
from perdure.history.settle import create_child
from perdure.stores.contract import ANSWERED, Status, Wait

RERUNNABLE = (ActivityScheduled, TimerCreated, ChildCreated)
_CLOSING = (
    ActivityCompleted,
    ActivityFailed,
    ActivityCancelled,
    ChildCompleted,
    ChildFailed,
    ChildCancelled,
    TimerFired,
    TimerCancelled,
)
_OWN = (TurnStarted, RunCompleted, RunSuspended, ActivityCancelled, ChildCancelled, TimerCancelled, UpdateAnswered)
"""Events that a turn wrote by itself, or that a fork begins without. It does begin with a resume, because the history
that it keeps may end suspended."""


def fork(
    source: str, events: Iterable[Any], number: int, execution: str, at: int, input: Payload | None, replace_input: bool
) -> RunForked | None:
    """The fork of a history before action `number`; None if there is no such action that can be run again.

    The turn that asked for the action is run again as a whole, so that its code asks for it afresh.
    """
    kept: list[Any] = []
    for turn in turns(events):
        if any(isinstance(event, RERUNNABLE) and event.number == number for event in turn):
            arrivals = [event for event in turn if not isinstance(event, (*CONFIRMATIONS, *_OWN))]
            changed = [_adopted(event, execution, input, replace_input) for event in (*kept, *arrivals)]
            return RunForked(
                at=at, source=source, number=number, history=changed[: len(kept)], arrivals=changed[len(kept) :]
            )
        kept.extend(turn)
    return None


def _adopted(event: Any, execution: str, input: Payload | None, replace_input: bool) -> Any:
    if not isinstance(event, RunStarted):
        return event
    changes: dict[str, Any] = {"execution": execution, "generation": 1, "parent": None}
    if replace_input:
        changes["input"] = input
    return msgspec.structs.replace(event, **changes)


def still_open(events: Iterable[Any]) -> list[Any]:
    """The scheduled activities, timers and children of a history that nothing has closed."""
    found: dict[int, Any] = {}
    for event in events:
        if isinstance(event, RERUNNABLE):
            found[event.number] = event
        elif isinstance(event, _CLOSING):
            found.pop(event.number, None)
    return list(found.values())


def adopt(draft: Draft, forked: RunForked) -> None:
    """The first turn of a fork: history as it was, open calls again, and the next arrivals as mail to itself."""
    head = draft.head
    draft.events = list(forked.history)
    draft.fields["status"] = Status.RUNNING
    draft.fields["version"] = version_of(forked.history) or head.version
    answered = {event.number for event in forked.arrivals if hasattr(event, "number")}
    for event in still_open(forked.history):
        if event.number in answered:
            draft.opened[event.number] = _answered(draft, event)
        else:
            _REOPEN[type(event)](draft, event)
    for event in forked.arrivals:
        draft.send(head.id, event, head.execution, head.generation)


def _answered(draft: Draft, event: ActivityScheduled | TimerCreated | ChildCreated) -> Wait:
    """A wait that is there to take its reply, and that nobody shall run again."""
    kind = _KINDS[type(event)]
    return Wait(event.number, kind, event.name or kind, draft.at, state=ANSWERED)


def _reopen_activity(draft: Draft, event: ActivityScheduled) -> None:
    draft.opened[event.number] = Wait(
        number=event.number,
        kind="activity",
        name=event.name,
        since=draft.at,
        on=event.app,
        attempt=1,
        input=event.input,
        options=encode_options(event.options),
    )


def _reopen_timer(draft: Draft, event: TimerCreated) -> None:
    draft.opened[event.number] = Wait(event.number, "timer", event.name or "timer", draft.at, event.due)


def _reopen_child(draft: Draft, event: ChildCreated) -> None:
    kept = draft.events
    draft.events = []
    action = CreateChild(number=event.number, name=event.name, input=event.input, app=event.app, tags=event.tags)
    create_child(draft, action)
    draft.events = kept


_KINDS: dict[type, str] = {ActivityScheduled: "activity", TimerCreated: "timer", ChildCreated: "child"}
_REOPEN: dict[type, Callable[[Draft, Any], None]] = {
    ActivityScheduled: _reopen_activity,
    TimerCreated: _reopen_timer,
    ChildCreated: _reopen_child,
}
