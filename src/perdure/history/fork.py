"""A new instance from the history of another one: which turns are kept, and what is open after them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from perdure.codec import Payload
from perdure.history.delivery import turns
from perdure.history.events import (
    CONFIRMATIONS,
    ActivityCanceled,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ChildCanceled,
    ChildCompleted,
    ChildCreated,
    ChildFailed,
    RunCompleted,
    RunForked,
    RunStarted,
    RunSuspended,
    TimerCanceled,
    TimerCreated,
    TimerFired,
    TurnStarted,
)

RERUNNABLE = (ActivityScheduled, TimerCreated, ChildCreated)
_CLOSING = (
    ActivityCompleted,
    ActivityFailed,
    ActivityCanceled,
    ChildCompleted,
    ChildFailed,
    ChildCanceled,
    TimerFired,
    TimerCanceled,
)
_OWN = (TurnStarted, RunCompleted, RunSuspended, ActivityCanceled, ChildCanceled, TimerCanceled)
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
