"""When messages of an instance have to wait in the store, and what is written then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from perdure.actors.message import Message
from perdure.engine.reports import ATTEMPT_ENDED, UNKEPT, SlotGranted, kept
from perdure.history.events import RunCancelRequested, RunResumed, RunSuspended, RunTerminated, TimerFired
from perdure.history.work import Stall
from perdure.stores.contract import ANSWERED, Halt, Head, Turn, Wait

QUARANTINED = "quarantined"
"""Reason of a stall in which not even calls are run that were in flight."""
UNSTALLING = frozenset((RunTerminated, RunResumed))
"""Events that a stalled instance takes."""
WAKING = frozenset((TimerFired, SlotGranted, RunTerminated, RunCancelRequested))
"""Events that an instance takes whose start lies ahead."""


def goes_without_code(kinds: set[type]) -> bool:
    """Whether a turn with events of these types needs no code of the workflow."""
    return RunTerminated in kinds or kinds == {RunSuspended}


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
    mail = [kept(head.id, message, at) for message in batch if not message.stored and type(message.event) not in UNKEPT]
    # because a resume is one more try; kept, it would try again whenever the mail is looked at
    consumed = [m.key for m in batch if m.stored and m.key is not None and type(m.event) is RunResumed]
    halted = _halted(head, stall, at)
    if not mail and not consumed and halted is head.stalled and expected is not None:
        return None
    changed = msgspec.structs.replace(head, stalled=halted, sequence=head.sequence + 1, updated=at)
    return Turn(
        shard=shard,
        id=head.id,
        execution=head.execution,
        generation=head.generation,
        expected=expected,
        at=at,
        head=changed if expected is None or halted is not head.stalled else None,
        changed=_answered(head, waits, batch),
        consumed=consumed,
        mail=mail,
    )


def _halted(head: Head, stall: Stall | None, at: int) -> Halt | None:
    """The reason to store; the one that is stored already if it is the same."""
    if stall is None:
        return head.stalled
    halted = Halt(stall.reason, at, stall.description, None, stall.fingerprint, stall.line)
    if head.stalled is not None and msgspec.structs.replace(halted, since=head.stalled.since) == head.stalled:
        return head.stalled
    return halted


def _answered(head: Head, waits: Mapping[int, Wait], batch: Sequence[Message]) -> list[Wait]:
    """The calls whose results lie in the mailbox from now on: they are not to be run again."""
    return [
        msgspec.structs.replace(waits[message.event.number], state=ANSWERED)
        for message in batch
        if type(message.event) in ATTEMPT_ENDED
        and (message.execution, message.generation) == (head.execution, head.generation)
        and message.event.number in waits
    ]
