"""What a program did to its files and what it answered, in the order in which it happened."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import msgspec


class Wrote(msgspec.Struct, frozen=True, tag=True):
    """Bytes were handed to the system, from `offset` on."""

    file: str
    offset: int
    content: bytes


class Truncated(msgspec.Struct, frozen=True, tag=True):
    """A file was cut to `length` bytes."""

    file: str
    length: int


class Deleted(msgspec.Struct, frozen=True, tag=True):
    """A file was deleted; with `folder` the deletion itself was synced."""

    file: str
    folder: bool


class Synced(msgspec.Struct, frozen=True, tag=True):
    """All that had been written to a file is on the disk; with `folder` so are all deletions."""

    file: str
    folder: bool


class Fact(StrEnum):
    """What a client was told about an instance."""

    STARTED = "started"
    RAISED = "raised"
    FINISHED = "finished"
    PURGED = "purged"


class Answered(msgspec.Struct, frozen=True, tag=True):
    """A client had its answer: from here on the fact may never be lost."""

    instance: str
    fact: Fact


Change = Wrote | Truncated | Deleted
Entry = Change | Synced | Answered
Trace = list[Entry]


def save(trace: Trace, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.msgpack.encode(trace))
    return path


def read(path: Path) -> Trace:
    return msgspec.msgpack.decode(path.read_bytes(), type=Trace)


def facts(trace: Trace) -> dict[str, Fact]:
    """The newest fact that was answered of each instance."""
    return {entry.instance: entry.fact for entry in trace if isinstance(entry, Answered)}
