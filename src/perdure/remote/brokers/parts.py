"""In which part of a topic a message lies, and which parts a member of a group reads."""

from __future__ import annotations

import zlib
from collections.abc import Sequence


def part_of(key: str | None, parts: int, place: int) -> int:
    """One key is always in one part; what has none goes by turns, of which `place` is the number."""
    return (zlib.crc32(key.encode()) if key is not None else place) % parts


def parts_of(member: str, members: Sequence[str], parts: int, group: str) -> list[int]:
    """Those that a member is to read: every part has one reader among those that live.

    The first part of different groups has different readers, because most groups may have one part.
    """
    order = sorted({*members, member})
    shift = zlib.crc32(group.encode())
    return [part for part in range(parts) if order[(part + shift) % len(order)] == member]
