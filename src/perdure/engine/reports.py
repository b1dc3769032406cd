"""What an attempt tells its run: events that history does not know, and their form as mail."""

from __future__ import annotations

from typing import Any

from perdure.actors.message import Message
from perdure.engine.attempts import Running
from perdure.history.events import ActivityCompleted, ActivityFailed, Event, Failure, RunResumed, encode_event
from perdure.history.work import Outcome, Stall
from perdure.stores.contract import Mail


class AttemptFailed(Event, frozen=True):
    """An attempt failed on this node and the retry policy has to be asked."""

    number: int
    failure: Failure
    attempt: int
    timed_out: bool = False
    details: Any = None


class HeartbeatSeen(Event, frozen=True):
    """Details of a running attempt that are worth keeping."""

    number: int
    details: Any


class AttemptBlocked(Event, frozen=True):
    """An attempt cannot be made here, because its payloads cannot be read or written."""

    number: int
    stall: Stall


class SlotGranted(Event, frozen=True):
    """A slot of its queue is free for a wait; `permit` is what the queue's rate counts, if it has one."""

    number: int
    permit: Any = None


REPORTS = (AttemptFailed, HeartbeatSeen, AttemptBlocked, SlotGranted)
"""Events that live on this node alone."""
ATTEMPT_ENDED = (ActivityCompleted, AttemptFailed)
UNKEPT = (HeartbeatSeen, AttemptBlocked, SlotGranted, RunResumed)
"""Events that are worth nothing later, and so are not kept as mail."""


def report(running: Running, outcome: Outcome | Stall, at: int) -> Message:
    """The message to the run about an attempt that ended."""
    _, execution, generation, number = running.address
    event: Any
    if isinstance(outcome, Stall):
        event = AttemptBlocked(at=at, number=number, stall=outcome)
    elif outcome.failure is None:
        event = ActivityCompleted(
            at=at,
            number=number,
            result=outcome.result,
            attempt=running.wait.attempt,
            started=running.started,
            guarantee=outcome.guarantee,
        )
    else:
        event = AttemptFailed(
            at=at,
            number=number,
            failure=outcome.failure,
            attempt=running.wait.attempt,
            timed_out=outcome.timed_out,
            details=running.details,
        )
    return Message(event, None, execution, generation)


def failed(event: AttemptFailed) -> ActivityFailed:
    """The failure of the call, once no attempt is left; also the attempt's form as mail."""
    return ActivityFailed(
        at=event.at, number=event.number, failure=event.failure, attempt=event.attempt, timed_out=event.timed_out
    )


def unasked(event: ActivityFailed) -> AttemptFailed:
    """The attempt that was kept as mail before the policy was asked."""
    return AttemptFailed(
        at=event.at, number=event.number, failure=event.failure, attempt=event.attempt, timed_out=event.timed_out
    )


def kept(id: str, message: Message, at: int) -> Mail:
    """The message as mail to the same run."""
    event = failed(message.event) if type(message.event) is AttemptFailed else message.event
    number = getattr(event, "number", 0)
    key = message.key or f"{message.execution}.{message.generation}.{number}.{type(event).__name__}"
    return Mail(id, key, encode_event(event), at, message.execution, message.generation)
