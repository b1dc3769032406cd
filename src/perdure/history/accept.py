"""Which messages of a mailbox a run takes: the rules against stale replies, duplicates and late commands."""

from __future__ import annotations

from collections.abc import Container, Mapping
from enum import StrEnum
from typing import Any

from perdure.history.events import (
    ActivityCompleted,
    ActivityFailed,
    ChildCompleted,
    ChildFailed,
    EventRaised,
    RunCancelRequested,
    RunForked,
    RunResumed,
    RunStarted,
    RunSuspended,
    RunTerminated,
    TimerFired,
    UpdateRequested,
)
from perdure.stores.contract import FINISHED, Head, Wait

REPLIES: dict[type, tuple[str, ...]] = {
    ActivityCompleted: ("activity",),
    ActivityFailed: ("activity",),
    ChildCompleted: ("child",),
    ChildFailed: ("child",),
    TimerFired: ("timer", "start", "timeout"),
}
"""Events that answer an open wait, and the kinds of wait they answer."""
COMMANDS = (EventRaised, UpdateRequested, RunCancelRequested, RunTerminated, RunSuspended, RunResumed)
"""Events that name the instance and apply to its current run."""


class Verdict(StrEnum):
    TAKE = "take"
    STALE = "stale"
    """A reply to another run, or to a call that is not open: dropped, and counted."""
    DUPLICATE = "duplicate"
    LATE = "late"
    """For a run that is finished."""


def judge(
    head: Head,
    waits: Mapping[int, Wait],
    answered: Container[int],
    seen: Container[str],
    event: Any,
    key: str | None,
    execution: str | None,
    generation: int | None,
) -> Verdict:
    """What becomes of one message; `answered` are the waits that earlier messages of the same turn close."""
    kinds = REPLIES.get(type(event))
    if kinds is not None:
        if execution != head.execution or generation != head.generation:
            return Verdict.STALE
        wait = waits.get(event.number)
        if wait is None or wait.kind not in kinds or event.number in answered:
            return Verdict.STALE
        return Verdict.TAKE
    if isinstance(event, (RunStarted, RunForked)):
        return Verdict.TAKE if execution == head.execution and generation == head.generation else Verdict.STALE
    if key is not None and key in seen:
        return Verdict.DUPLICATE
    if head.status in FINISHED:
        return Verdict.LATE
    return Verdict.TAKE
