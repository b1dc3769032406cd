"""All that a search finds, whoever has it: read page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
Search = Callable[[str | None, int], Awaitable[tuple[Sequence[T], str | None]]]
"""At most so many of what is found, from a cursor on, and the next cursor; None before the first, after the last."""


async def each_found(search: Search[T], page: int, most: int | None = None) -> AsyncIterator[T]:
    """What is found, in the order of the search and `page` of them at a time; the first `most`, or all."""
    cursor: str | None = None
    left = most
    while left is None or left > 0:
        found, cursor = await search(cursor, page if left is None else min(page, left))
        for one in found:
            yield one
        if cursor is None:
            return
        if left is not None:
            left -= len(found)
