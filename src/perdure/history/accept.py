"""Which messages of a mailbox a run takes: the rules against stale replies, duplicates and late commands."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from enum import StrEnum
from typing import Any, Protocol, TypeVar

import msgspec

from perdure.history.events import (
    ActivityCompleted,
    ActivityFailed,
    ChildCompleted,
    ChildFailed,
    EntityCompleted,
    EntityFailed,
    EntityLockGranted,
    EventRaised,
    RunCancelRequested,
    RunForked,
    RunResumed,
    RunRewound,
    RunStarted,
    RunSuspended,
    RunTerminated,
    SlotGranted,
    TimerFired,
    TurnAnswered,
    UpdateRequested,
)
from perdure.history.reports import REPORTS, AttemptBlocked, AttemptFailed, Surroundings, failed, next_due, unasked
from perdure.stores.contract import FINISHED, LOCKED, Head, Status, Wait

REPLIES: dict[type, tuple[str, ...]] = {
    ActivityCompleted: ("activity",),
    ActivityFailed: ("activity",),
    ChildCompleted: ("child",),
    ChildFailed: ("child",),
    EntityCompleted: ("entity",),
    EntityFailed: ("entity",),
    EntityLockGranted: ("entity",),
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
        if wait is None or wait.kind not in kinds or event.number in answered or wait.state == LOCKED:
            return Verdict.STALE
        return Verdict.TAKE
    if isinstance(event, (RunStarted, RunForked)):
        return Verdict.TAKE if execution == head.execution and generation == head.generation else Verdict.STALE
    if isinstance(event, TurnAnswered):
        return Verdict.STALE
    if isinstance(event, RunRewound):
        return Verdict.TAKE if head.status == Status.FAILED and not answered else Verdict.LATE
    if key is not None and key in seen:
        return Verdict.DUPLICATE
    if head.status in FINISHED:
        return Verdict.LATE
    return Verdict.TAKE


A = TypeVar("A", bound="Arrival")


class Arrival(Protocol):
    """A message of a mailbox: an event, the id by which it is known, and the run that it is for."""

    event: Any
    key: str | None
    execution: str | None
    generation: int | None


class Intake(msgspec.Struct):
    """What a run takes of a batch, in the order in which it came, but its start first.

    `events` are for history and code, `reports` for the waits alone; `keys` are those of commands to remember as seen,
    `dropped` tells why others are not taken.
    """

    events: list[Any] = []
    reports: list[Any] = []
    keys: dict[str, None] = {}
    dropped: list[str] = []


def begun_first(batch: list[A], head: Head) -> list[A]:
    """The messages of a batch with what the run begins with before what came meanwhile: the start of a generation and
    what it carries over, or the arrivals that a fork takes over with its history."""
    if len(batch) == 1:
        return batch
    run = f"{head.id}/{head.execution}."
    carried, adopted = f"{run}{head.generation - 1}/", f"{run}{head.generation}/{head.sequence}."

    def comes_later(message: A) -> bool:
        if type(message.event) is RunStarted:
            return False
        key = message.key or ""
        # with an execution, because what code raises on its own instance has none, and came when it was written
        return not (key.startswith(carried) or (message.execution is not None and key.startswith(adopted)))

    return sorted(batch, key=comes_later)


def suspended_apart(batch: list[A]) -> tuple[list[A], list[A]]:
    """What goes into the next turn of a batch, and what into the one after it: a suspension begins a turn.

    Because what comes before it may end the run's code, which could not keep then what comes after it.
    """
    kinds = [type(message.event) for message in batch]
    if RunSuspended not in kinds[1:] or RunTerminated in kinds:
        return batch, []
    place = kinds.index(RunSuspended, 1)
    return batch[:place], batch[place:]


def accept(
    head: Head,
    waits: Mapping[int, Wait],
    seen: Container[str],
    batch: Iterable[Arrival],
    around: Surroundings,
    *,
    has_begun: bool = False,
) -> Intake:
    """Judge the messages of one turn, in their order. `has_begun`: history has the start of the generation.

    A failed attempt becomes the call's failure if its policy is exhausted; else it stays for the settling.
    """
    intake = Intake()
    answered: set[int] = set()
    for message in batch:
        event = message.event
        if isinstance(event, Exception):
            intake.dropped.append("mail unreadable")
            continue
        if type(event) is ActivityFailed:
            event = unasked(event)  # because it was kept as mail before the policy was asked
        if type(event) in REPORTS:
            event = _reported(head, waits, answered, event, message, around)
            verdict = event if type(event) is Verdict else Verdict.TAKE
        elif message.key in intake.keys or (has_begun and isinstance(event, (RunStarted, RunForked))):
            verdict = Verdict.DUPLICATE
        else:
            verdict = judge(head, waits, answered, seen, event, message.key, message.execution, message.generation)
        if verdict is not Verdict.TAKE:
            intake.dropped.append(verdict)
        elif event is not None:
            _take(intake, answered, event, message.key)
    return intake


def _take(intake: Intake, answered: set[int], event: Any, key: str | None) -> None:
    if type(event) in REPORTS:
        intake.reports.append(event)
        if type(event) is SlotGranted:
            answered.add(event.number)
        return
    if type(event) is RunStarted:
        intake.events.insert(0, event)  # because mail of other nodes may have come to the store before it
        return
    intake.events.append(event)
    number = getattr(event, "number", None)
    if number is not None:
        answered.add(number)
    elif key is not None and isinstance(event, COMMANDS):
        intake.keys[key] = None


def _reported(
    head: Head, waits: Mapping[int, Wait], answered: set[int], event: Any, message: Arrival, around: Surroundings
) -> Any:
    """What becomes of a report: the event to take, STALE, or None if it is worth nothing here."""
    wait = waits.get(event.number)
    if message.execution != head.execution or message.generation != head.generation or wait is None:
        return Verdict.STALE
    if event.number in answered or (type(event) is AttemptFailed and event.attempt < wait.attempt):
        return Verdict.STALE  # because the attempt was run twice, and its first end counted
    if type(event) is AttemptBlocked:
        return None  # because the run ends in this very turn
    if type(event) is SlotGranted:
        answered.add(event.number)
        address = (head.id, head.execution, head.generation, event.number)
        return event if around.offers(address) else None  # because it may have been offered twice
    if type(event) is AttemptFailed and not _is_retried(head, wait, event, around):
        return failed(event)
    return event


def _is_retried(head: Head, wait: Wait, event: AttemptFailed, around: Surroundings) -> bool:
    return head.status not in FINISHED and next_due(wait, event, around.chance(event)) is not None
