"""When messages of an instance have to wait in the store, and what is written then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from perdure.actors.message import Message
from perdure.engine.reports import ATTEMPT_ENDED, UNKEPT, kept
from perdure.history.actions import START_WAIT, TIMEOUT_WAIT
from perdure.history.codeless import goes_without_code
from perdure.history.events import (
    RunCancelRequested,
    RunForked,
    RunResumed,
    RunSuspended,
    RunTerminated,
    SlotGranted,
    TimerFired,
)
from perdure.history.reports import AttemptBlocked, AttemptFailed
from perdure.history.work import Stall
from perdure.stores.contract import ADMITTED, ANSWERED, FINISHED, IN_QUEUE, QUEUED, Halt, Head, Turn, Wait

QUARANTINED = "quarantined"
"""Reason of a stall in which not even calls are run that were in flight."""
UNSTALLING = frozenset((RunTerminated, RunResumed))
"""Events that a stalled instance takes."""
UNQUEUED = (RunTerminated, RunCancelRequested, RunForked)
"""Events with which a run ends before it begins, or goes on from another."""
WAKING = frozenset((TimerFired, SlotGranted, RunTerminated, RunCancelRequested))
"""Events that an instance takes whose start lies ahead."""


def is_held(
    kinds: set[type], head: Head, *, is_asleep: bool, is_retried: bool, lacks_code: bool, is_remote: bool = False
) -> bool:
    """Whether events of these types have to wait: for the code, for the start time, or for an end of the stall.

    `is_retried`: the cause of a stall may be gone. `is_remote` code keeps back itself what came before a suspension.
    """
    if lacks_code and head.status not in FINISHED and not goes_without_code(kinds):
        return not (is_remote and RunSuspended in kinds)
    if head.stalled is not None and not is_retried:
        return kinds.isdisjoint(UNSTALLING)
    return is_asleep and kinds.isdisjoint(WAKING)


def parts_suspension(*, may_wait: bool, commands_only: bool, is_remote: bool) -> bool:
    """Whether a suspension has to wait for the end of a turn that takes what came before it.

    Only where that turn runs code here and now. A turn that is put off, because it `may_wait` or its process takes
    commands alone, would be taken up and put off for ever without the suspension; `is_remote` code keeps back itself
    what came before one.
    """
    return not (may_wait or commands_only or is_remote)


def is_pressing(event: Any) -> bool:
    """Whether an event is decided without code, so that it need not wait for a worker that may be gone."""
    return type(event) in (RunTerminated, RunSuspended) or (type(event) is TimerFired and event.number == TIMEOUT_WAIT)


def obstacle_in(batch: Sequence[Message], head: Head, waits: Mapping[int, Wait]) -> Stall | None:
    """Why the run stands still for its first message that may be an obstacle, unless a turn goes without code."""
    for obstacle in batch:
        if isinstance(obstacle.event, _OBSTACLES):
            break
    else:
        return None
    if goes_without_code({type(message.event) for message in batch}):
        return None
    event = obstacle.event
    if not isinstance(event, AttemptBlocked):
        return Stall("mail-corrupt", f"mail of {head.id!r} cannot be read: {event}")
    is_current = (obstacle.execution, obstacle.generation) == (head.execution, head.generation)
    return event.stall if is_current and event.number in waits else None  # because its call may be closed by now


_OBSTACLES = (Exception, AttemptBlocked)
"""Mail that cannot be read, and an attempt that cannot be made."""


def is_quarantined(head: Head) -> bool:
    return head.stalled is not None and head.stalled.reason == QUARANTINED


def hold(
    shard: int,
    head: Head,
    waits: Mapping[int, Wait],
    batch: Sequence[Message],
    stall: Stall | None,
    at: int,
    expected: int | None,
) -> Turn | None:
    """The turn that keeps `batch` as mail, and the reason of a stall if it is new; None if all is written already.

    Nothing of the turn that could not be taken is written.
    """
    # because a resume that was tried in vain would, kept, be tried again whenever the mail is looked at
    spent = RunResumed if stall is not None else None
    mail = [
        kept(head.id, message, at)
        for message in batch
        if not message.stored and type(message.event) is not spent and type(message.event) not in UNKEPT
    ]
    consumed = [m.key for m in batch if m.stored and m.key is not None and type(m.event) is spent]
    halt = halted(head, stall, at)
    waits_changed = [*_answered(head, waits, batch), *_queued_again(head, waits, stall, batch)]
    if not (mail or consumed or waits_changed) and halt is head.stalled and expected is not None:
        return None
    changed = msgspec.structs.replace(head, stalled=halt, sequence=head.sequence + 1, updated=at)
    return Turn(
        shard=shard,
        id=head.id,
        execution=head.execution,
        generation=head.generation,
        expected=expected,
        at=at,
        head=changed if expected is None or halt is not head.stalled else None,
        changed=waits_changed,
        consumed=consumed,
        mail=mail,
    )


def hold_in_queue(
    shard: int,
    head: Head,
    waits: Mapping[int, Wait],
    batch: Sequence[Message],
    queued: Wait,
    at: int,
    expected: int | None,
) -> Turn:
    """The turn that keeps `batch` as mail until a run that has not begun has the slot for which `queued` waits."""
    kept = [message for message in batch if type(message.event) is not TimerFired]  # because the start time has come
    turn = hold(shard, head, waits, kept, None, at, expected) or Turn(
        shard=shard, id=head.id, execution=head.execution, generation=head.generation, expected=expected, at=at
    )
    if START_WAIT in waits:
        turn.changed = [*turn.changed, queued]
    else:
        turn.opened = [queued]
    return turn


def has_to_queue(batch: Sequence[Message], waits: Mapping[int, Wait]) -> bool:
    """Whether a run that has not begun, and whose code declares a queue, has yet to wait in it.

    Its start did not know of the queue. A run that ends before it begins, or goes on from another, waits in none.
    """
    if any(wait.state in IN_QUEUE for wait in waits.values()):
        return False
    return not any(type(message.event) in UNQUEUED for message in batch)


def halted(head: Head, stall: Stall | None, at: int) -> Halt | None:
    """The reason to store; the one that is stored already if it is the same."""
    if stall is None:
        return head.stalled
    halt = Halt(stall.reason, at, stall.description, None, stall.fingerprint, stall.line)
    if head.stalled is not None and msgspec.structs.replace(halt, since=head.stalled.since) == head.stalled:
        return head.stalled
    return halt


def _answered(head: Head, waits: Mapping[int, Wait], batch: Sequence[Message]) -> list[Wait]:
    """The calls whose results lie in the mailbox from now on: they are not to be run again."""
    return [
        msgspec.structs.replace(waits[message.event.number], state=ANSWERED)
        for message in batch
        if type(message.event) in ATTEMPT_ENDED
        and (message.execution, message.generation) == (head.execution, head.generation)
        and message.event.number in waits
        and not _is_of_earlier_attempt(message.event, waits[message.event.number])
    ]


def _is_of_earlier_attempt(event: Any, wait: Wait) -> bool:
    """Whether the failure tells nothing new, because the call is at a later attempt already."""
    return type(event) is AttemptFailed and event.attempt < wait.attempt


def _queued_again(
    head: Head, waits: Mapping[int, Wait], stall: Stall | None, batch: Sequence[Message]
) -> Iterator[Wait]:
    """The calls that give their slot back, because nothing of them can run here."""
    for message in batch if stall is not None else ():
        is_current = (message.execution, message.generation) == (head.execution, head.generation)
        if isinstance(message.event, AttemptBlocked) and is_current:
            wait = waits.get(message.event.number)
            if wait is not None and wait.state == ADMITTED:
                yield msgspec.structs.replace(wait, state=QUEUED)
