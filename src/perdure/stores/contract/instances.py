"""An instance as it is kept: its head, its history, what it shows, and its streams."""

from __future__ import annotations

import zlib
from enum import StrEnum
from typing import Any

import msgspec

from perdure.codec import Payload


class Status(StrEnum):
    """Where an instance is in its life; the last four are final. Suspended and stalled are fields of their
    own."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    TERMINATED = "terminated"


FINISHED = frozenset((Status.COMPLETED, Status.FAILED, Status.CANCELED, Status.TERMINATED))
UNFINISHED = tuple(status for status in Status if status not in FINISHED)


class Halt(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Why and since when an instance is suspended or stalled.

    `reason` is a code for stalls ("non-determinism") and free text for suspensions; `fingerprint` names the
    code that stalled, so that other code is worth a retry.
    """

    reason: str
    since: int
    description: str | None = None
    by: str | None = None
    fingerprint: str | None = None
    line: str | None = None


class Head(msgspec.Struct, frozen=True, gc=False):
    """The current run of an instance: bounded, whatever the run does. One row per instance.

    `app`, `name`, `kind`, `created`, `parent` and `tags` stay as they are until a new start replaces the
    instance. `sequence` is the number of turns committed since the instance was created (0: only created); it
    goes on over generations. `more` holds small facts by name that have no field here, among them those of
    newer versions, which survive a read and write.
    """

    id: str
    app: str
    name: str
    status: str
    execution: str
    generation: int
    sequence: int
    created: int
    updated: int
    finished: int | None = None
    parent: str | None = None
    tags: dict[str, str] | None = None
    custom_status: Payload | None = None
    suspended: Halt | None = None
    stalled: Halt | None = None
    version: str | None = None
    kind: str = "workflow"
    more: dict[str, Any] = {}


class Segment(msgspec.Struct, frozen=True, gc=False):
    """The events of one turn as JSON bytes; never changed once written. `sequence` counts from 1."""

    sequence: int
    events: bytes


ENTITY = "entity"
"""The kind of instances that are entities: no workflow, never finished, found only when asked for."""


class Published(msgspec.Struct, frozen=True, gc=False):
    """What a run shows to those who look: JSON under a name, of which the newest counts.

    `answer` marks the answer to an update: of those an instance keeps ANSWERS_MAX.
    """

    name: str
    value: bytes
    answer: bool = False


class Item(msgspec.Struct, frozen=True, gc=False):
    """One thing that an activity has yielded; offsets of a stream count from 1 without gaps."""

    offset: int
    value: Payload
    attempt: int
    at: int


class Stream(msgspec.Struct, frozen=True, gc=False):
    """What one call has yielded: `number` is the call's, `name` its activity, `length` the offset of the last item.

    `is_open`: the call is, so there may be more.
    """

    generation: int
    number: int
    name: str
    length: int
    is_open: bool


def shard_number(id: str, count: int) -> int:
    """Which of an app's `count` shards holds the instance `id`: CRC-32 of its UTF-8 bytes, modulo."""
    return zlib.crc32(id.encode()) % count if count > 1 else 0
