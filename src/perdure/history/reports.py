"""What attempts and queues report to a run, which history does not keep as it is told, and what a turn makes of it."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from perdure.history.actions import QUEUE_WAIT
from perdure.history.draft import Draft
from perdure.history.events import ActivityFailed, Event, Failure, SlotGranted, encode_event
from perdure.history.options import decode_options, place_of
from perdure.history.retry import next_attempt
from perdure.history.work import Stall
from perdure.stores.contract import ADMITTED, ANSWERED, HELD, OUT, QUEUED, Wait, WaitKind

GIVEN_BACK = "perdure:given-back"
"""The type of a failure by which a node that has claimed a call gives it back to the owner, because the attempt cannot
be made there. It is none of the call's, and counts no attempt."""


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


REPORTS = (AttemptFailed, HeartbeatSeen, AttemptBlocked, SlotGranted)
"""Events that live on this node alone."""


class Surroundings(Protocol):
    """What the rules for reports have to ask of the node."""

    def chance(self, event: Any) -> float:
        """A number in [0, 1) for the jitter of a retry, the same for the same failure."""

    def offers(self, address: tuple[str, str, int, int]) -> bool:
        """Whether a slot is offered to the wait (instance, execution, generation, number)."""


def fold(draft: Draft, event: Any, around: Surroundings) -> None:
    """What an accepted report changes in the waits."""
    if type(event) is AttemptFailed:
        _plan_retry(draft, event, around.chance(event))
    elif type(event) is HeartbeatSeen:
        _keep_details(draft, event)
    elif type(event) is SlotGranted:
        admit(draft, event)


def failed(event: AttemptFailed) -> ActivityFailed:
    """The failure of the call, once no attempt is left."""
    return ActivityFailed(
        at=event.at, number=event.number, failure=event.failure, attempt=event.attempt, timed_out=event.timed_out
    )


def unasked(event: ActivityFailed) -> AttemptFailed:
    """The attempt that was kept as mail before the policy was asked."""
    return AttemptFailed(
        at=event.at,
        number=event.number,
        failure=event.failure,
        attempt=event.attempt,
        timed_out=event.timed_out,
        details=event.details,
    )


def untold(event: AttemptFailed) -> ActivityFailed:
    """The attempt's form as mail, before the policy is asked."""
    return msgspec.structs.replace(failed(event), details=event.details)


def is_given_back(wait: Wait, event: AttemptFailed) -> bool:
    """Whether the call of `wait` comes back from a node that had claimed it."""
    return event.failure.type == GIVEN_BACK and wait.state in (*OUT, ANSWERED)


def next_due(wait: Wait, event: AttemptFailed, chance: float) -> int | None:
    """When the call of `wait` is tried again, microseconds since 1970; None: it has failed for good."""
    if is_given_back(wait, event):
        return event.at
    try:
        retry = decode_options(wait.options).retry
    except ValueError:
        return None  # because the audit of the replay that must follow lets the run stand still
    return next_attempt(retry, event.attempt, wait.since, event.at, event.failure, chance)


def admit(draft: Draft, grant: SlotGranted) -> None:
    """A wait takes the slot of its queue that was given to it, unless the turn closes it or suspends the run."""
    number = grant.number
    wait = draft.waits[number]
    if grant.permit is not None:
        draft.permits = (*draft.permits, grant.permit)
    if wait.kind == WaitKind.START:
        _begin_in_queue(draft, wait)
    elif number not in draft.closed and draft.fields.get("suspended") is None:
        draft.changed.append(msgspec.structs.replace(wait, state=ADMITTED, due=None))


def _plan_retry(draft: Draft, event: AttemptFailed, chance: float) -> None:
    """The call waits for its next attempt, unless the turn closes it."""
    wait = draft.waits[event.number]
    due = next_due(wait, event, chance)
    if due is None or event.number in draft.closed:
        return
    # by its options, because a result that lay in the mailbox has left it neither HELD nor in its queue
    state = HELD if place_of(wait.options) is None else QUEUED
    unclaimed = msgspec.structs.replace(wait, state=state, token=None, claimed_by=None, claimed_until=None)
    if is_given_back(wait, event):
        draft.changed.append(msgspec.structs.replace(unclaimed, due=due))
        return
    draft.retried = (*draft.retried, event.number)
    draft.changed.append(
        msgspec.structs.replace(
            unclaimed,
            attempt=event.attempt + 1,
            lapses=0,
            due=due,
            failure=encode_event(event.failure),
            details=event.details or wait.details,
        )
    )


def _keep_details(draft: Draft, event: HeartbeatSeen) -> None:
    """The next attempt is to know what the last heartbeat told."""
    if event.number not in draft.closed:
        draft.changed.append(msgspec.structs.replace(draft.waits[event.number], details=event.details))


def _begin_in_queue(draft: Draft, start: Wait) -> None:
    """The start waits no longer; the run has the slot until it ends."""
    if start.number not in draft.closed:
        draft.closed.append(start.number)
    if draft.completed is None:
        name = draft.head.name
        draft.opened[QUEUE_WAIT] = Wait(
            QUEUE_WAIT, WaitKind.QUEUE, name, start.since, state=ADMITTED, options=start.options
        )
