"""The ledger outside the system: what each node really did, in a file of its own that is synced before it goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

BEGUN, ENDED, STALLED, SLOW = "begun", "ended", "stalled", "slow"
"""An attempt has begun; its effect has happened; the whole process stood still for a while, as the system decided; the
store took long to answer a call, whose name is the key."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One line. `at` is seconds since 1970, by the one clock of the machine that all nodes run on."""

    what: str
    at: float
    node: str
    key: str = ""
    attempt: int = 0
    seconds: float = 0.0


class Ledger:
    """Appends for one node."""

    def __init__(self, path: Path, node: str, *, is_synced: bool = True) -> None:
        self._node = node
        self._is_synced = is_synced
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def begin(self, key: str, attempt: int) -> None:
        self._write(Entry(BEGUN, time.time(), self._node, key, attempt))

    def end(self, key: str, attempt: int) -> None:
        self._write(Entry(ENDED, time.time(), self._node, key, attempt))

    def stall(self, seconds: float) -> None:
        """The process has not run for so long."""
        self._write(Entry(STALLED, time.time(), self._node, seconds=seconds))

    def slow(self, call: str, seconds: float) -> None:
        """The store has taken so long to answer, or to fail."""
        self._write(Entry(SLOW, time.time(), self._node, call, seconds=seconds))

    def _write(self, entry: Entry) -> None:
        # one call, because a line that a kill has cut in two would be none
        os.write(self._file, msgspec.json.encode(entry) + b"\n")
        if self._is_synced:
            os.fdatasync(self._file)


def read(folder: Path) -> list[Entry]:
    """The entries of all nodes, in the order of time."""
    return sorted((entry for path in folder.glob("*.ledger") for entry in _lines(path)), key=lambda entry: entry.at)


def _lines(path: Path) -> Iterator[Entry]:
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield msgspec.json.decode(line, type=Entry)
