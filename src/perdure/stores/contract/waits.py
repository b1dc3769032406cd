"""What runs wait for: open calls, timers, events."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from perdure.codec import Payload


class WaitKind(StrEnum):
    ACTIVITY = "activity"
    CHILD = "child"
    TIMER = "timer"
    EVENT = "event"
    START = "start"
    TIMEOUT = "timeout"
    ENTITY = "entity"
    QUEUE = "queue"


HELD = "held"
ANSWERED = "answered"
QUEUED = "queued"
ADMITTED = "admitted"
OFFERED = "offered"
CLAIMED = "claimed"
IN_QUEUE = (QUEUED, ADMITTED)
IN_FLIGHT = (HELD, ADMITTED)
"""States of an activity call whose attempts the owner may run."""
OUT = (OFFERED, CLAIMED)
"""States of an activity call whose attempts any node of the app may run."""
LOCKED = "locked"
"""State of a wait that stands for a lock over entities, once it is granted."""


class Wait(msgspec.Struct, frozen=True, gc=False):
    """One thing a run waits for: an open call, a timer, an event. Inserted and deleted by the run's turns.

    `on` says on whom (a child's id, an app); `due` is when the store must wake the owner (a timer, the next
    attempt, a deadline), None for never. The fields from `attempt` on are those of an activity call:
    `attempt` counts started attempts, `failure` is the last one's error as JSON. `state` is HELD while the owner
    runs its attempts, ANSWERED while its result lies in the mailbox of a run that stands still. A call in a queue is
    QUEUED while it waits for a slot, or for the time of its next attempt, and ADMITTED while it holds one. A run in a
    queue is not begun while its wait of kind START is QUEUED; from then on it has one of kind QUEUE, ADMITTED. `lapses`
    counts the claims of its attempt that ran out without a word.
    """

    number: int
    kind: str
    name: str
    since: int
    due: int | None = None
    on: str | None = None
    line: str | None = None
    attempt: int = 0
    state: str = HELD
    token: str | None = None
    claimed_by: str | None = None
    claimed_until: int | None = None
    details: Payload | None = None
    input: Payload | None = None
    options: bytes | None = None
    failure: bytes | None = None
    lapses: int = 0


class Due(msgspec.Struct, frozen=True, gc=False):
    """A wait of some instance that has a due time."""

    shard: int
    instance: str
    number: int
    due: int
    kind: str


class OpenCall(msgspec.Struct, frozen=True, gc=False):
    """An activity call that its run still waits for, found again after its node died."""

    shard: int
    instance: str
    execution: str
    generation: int
    wait: Wait


def is_endless(wait: Wait, has_mail: bool) -> bool:
    """Whether nothing can end the wait, which no turn leaves behind; `has_mail` tells of its instance."""
    match wait.kind:
        case WaitKind.ACTIVITY | WaitKind.CHILD | WaitKind.TIMER if wait.state == ANSWERED:
            return not has_mail
        case WaitKind.ACTIVITY:
            return wait.state not in (HELD, QUEUED, ADMITTED, OFFERED, CLAIMED)
        case WaitKind.CHILD:
            return wait.on is None
        case WaitKind.TIMER | WaitKind.START | WaitKind.TIMEOUT:
            return wait.due is None and wait.state != QUEUED
        case WaitKind.EVENT | WaitKind.ENTITY | WaitKind.QUEUE:
            return False
        case _:
            return True
