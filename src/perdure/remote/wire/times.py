"""Timestamps of the wire, which count nanoseconds, as microseconds and the rest."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from perdure.clock import LATEST, SECOND
from perdure.errors import MalformedMessage
from perdure.remote.wire.framing import VARINT, tag, varint

EARLIEST = -62_135_596_800 * SECOND
"""The first microsecond of the year 1, where protobuf's timestamps begin."""
NANOS_MAX = 999
_NANOS_PER_SECOND = 1_000_000_000
TIMES_CACHED = 1024
"""Timestamps whose bytes are kept: all events of a turn have the same."""
_SECONDS, _NANOS = tag(1, VARINT), tag(2, VARINT)


def read_time(message: Any) -> tuple[int, int]:
    """(microseconds, rest of nanoseconds). What lies outside of the years 1 to 9999 is moved to their edge.

    Raises MalformedMessage if the nanoseconds are none.
    """
    seconds, nanos = message.seconds, message.nanos
    if not 0 <= nanos < _NANOS_PER_SECOND:
        raise MalformedMessage(f"a timestamp has {nanos} nanoseconds; send 0 to 999,999,999")
    micros = seconds * SECOND + nanos // 1000
    if micros > LATEST:
        return LATEST, NANOS_MAX
    if micros < EARLIEST:
        return EARLIEST, 0
    return micros, nanos % 1000


def read_time_up(message: Any) -> int:
    """Microseconds, rounded up: a bound of a range of instants that have no nanoseconds."""
    micros, rest = read_time(message)
    return micros + (rest > 0 and micros < LATEST)


@lru_cache(maxsize=TIMES_CACHED)
def time_bytes(micros: int, rest: int = 0) -> bytes:
    """A Timestamp as bytes, its length in front."""
    seconds, part = divmod(min(max(micros, EARLIEST), LATEST), SECOND)
    nanos = part * 1000 + rest
    body = (_SECONDS + varint(seconds) if seconds else b"") + (_NANOS + varint(nanos) if nanos else b"")
    return varint(len(body)) + body
