"""Time and identity as arguments: what the core may know of the world outside.

Times are integers of microseconds since 1970-01-01 UTC. They fit a 64-bit column up to the year 294247; a rest of
nanoseconds that a remote client sent is kept beside them where a field says so.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

SECOND = 1_000_000
TOKENS_READ = 64
"""Random ids that one read of the system's randomness serves."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = 253_402_300_799_999_999
"""The last microsecond of the year 9999, the latest that a datetime can show: what is due later is due then."""


class Clock(Protocol):
    """Where time and fresh ids come from."""

    def now(self) -> int:
        """Wall time in microseconds since 1970 UTC."""

    def token(self) -> str:
        """32 random hex digits, never the same twice."""


_forks = 0


def _count_fork() -> None:
    global _forks  # noqa: PLW0603 because os gives no other hook than a function
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


def forks() -> int:
    """How often this process has come out of a fork; asking the system for the process id costs ten times as much."""
    return _forks


class SystemClock:
    """The machine's clock and its source of randomness."""

    def now(self) -> int:
        return time.time_ns() // 1000

    def __init__(self) -> None:
        self._random = b""
        self._used = 0
        self._forks = 0

    def token(self) -> str:
        if self._used >= len(self._random) or self._forks != _forks:
            # because a system call for each id costs ten times the id, and a forked child must not repeat its parent's
            self._random, self._used, self._forks = os.urandom(TOKENS_READ * 16), 0, _forks
        start = self._used
        self._used = start + 16
        return self._random[start : start + 16].hex()


def ordered_id(clock: Clock) -> str:
    """A fresh instance id that sorts by time of creation, because neighbours in time then share database pages."""
    return f"{clock.now():015x}{clock.token()[:17]}"


def to_datetime(at: int) -> datetime:
    return EPOCH + timedelta(microseconds=at)


def to_microseconds(at: datetime) -> int:
    """Microseconds since 1970 of an aware datetime; a naive one is taken as UTC."""
    aware = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1)
