"""How an attempt's end becomes a message to its run, and messages become mail."""

from __future__ import annotations

from typing import Any

from perdure.actors.message import Message
from perdure.engine.attempts import Running
from perdure.history.events import ActivityCompleted, SlotGranted, encode_event
from perdure.history.reports import AttemptBlocked, AttemptFailed, HeartbeatSeen, untold
from perdure.history.topics import attempt_messages
from perdure.history.work import Outcome, Stall
from perdure.stores.contract import Mail

ATTEMPT_ENDED = (ActivityCompleted, AttemptFailed)
UNKEPT = (HeartbeatSeen, AttemptBlocked, SlotGranted)
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
            messages=attempt_messages(outcome.messages, running.app, running.address, at),
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


def kept(id: str, message: Message, at: int) -> Mail:
    """The message as mail to the same run."""
    event = untold(message.event) if type(message.event) is AttemptFailed else message.event
    call = f"{message.execution}.{message.generation}.{getattr(event, 'number', 0)}"
    # with the attempt, because a failure of an earlier one may lie there already
    key = message.key or f"{call}.{type(event).__name__}.{getattr(event, 'attempt', 0)}"
    return Mail(id, key, encode_event(event), at, message.execution, message.generation)
