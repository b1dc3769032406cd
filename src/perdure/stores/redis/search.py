"""Answers `find`: reads the indexes of all shards side by side, and of heads only as many as the page needs."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeAlias

from perdure.stores.contract import Head, Page, Query
from perdure.stores.redis.keys import number_of, shard_keys
from perdure.stores.redis.places import Span, alternatives, beyond, span
from perdure.stores.redis.server import Server
from perdure.stores.rules import matches, read_cursor, write_cursor

ENTRIES_MIN = 20
"""How many entries are read of each index at least, so that a page of many shards takes few calls."""
HEADS = 500
"""How many heads are looked at with one call."""

Place: TypeAlias = tuple[int, str, int]
"""When, id and shard: where an instance stands in the order of a query."""
Heads: TypeAlias = Callable[[Sequence[tuple[int, str]]], Awaitable[dict[tuple[int, str], Head]]]
"""Reads the heads that exist, by shard and id."""


class Track:
    """One index of one shard, read from one end to the other."""

    def __init__(self, shard: int, index: str, part: Span) -> None:
        self.shard = shard
        self.index = index
        self.part = part
        self.found: deque[Place] = deque()
        self.is_read = False

    def take(self, members: Sequence[bytes], asked: int, query: Query) -> None:
        self.found += [(number_of(member[:16]), member[16:].decode(), self.shard) for member in members]
        self.is_read = len(members) < asked
        if members:
            last = self.found[-1]
            self.part = beyond(self.part, query, last[0], last[1], inclusive=False)


async def find(
    server: Server,
    shards: Sequence[int],
    query: Query,
    cursor: str | None,
    limit: int,
    heads: Heads,
) -> Page:
    """The page after the cursor."""
    position = None if cursor is None else read_cursor(cursor)
    tracks = [
        Track(shard, index, _from(span(query), query, position, shard))
        for index in await _smallest(server, shards, query)
        for shard in shards
    ]
    found: list[tuple[Place, Head]] = []
    candidates: list[Place] = []
    async for place in _merged(server, tracks, query, limit):
        candidates.append(place)
        if len(candidates) >= min(HEADS, limit + 1):
            found += await _fitting(candidates, query, heads)
            candidates = []
            if len(found) > limit:
                break
    found += await _fitting(candidates, query, heads)
    page = found[:limit]
    return Page([head for _, head in page], write_cursor(*page[-1][0]) if len(found) > limit else None)


def _from(whole: Span, query: Query, position: Place | None, shard: int) -> Span:
    if position is None:
        return whole
    when, id, last = position
    inclusive = shard > last if query.by_end else shard < last
    return beyond(whole, query, when, id, inclusive=inclusive)


async def _smallest(server: Server, shards: Sequence[int], query: Query) -> list[str]:
    """The indexes to read: of several that answer the query, those with the fewest entries."""
    choices = alternatives(query)
    if len(choices) == 1:
        return choices[0]
    flat = [index for choice in choices for index in choice]
    sizes = await server.run("sizes", [(shard_keys(shard), flat) for shard in shards])
    total = {index: sum(of[place] for of in sizes) for place, index in enumerate(flat)}
    return min(choices, key=lambda choice: sum(total[index] for index in choice))


async def _merged(server: Server, tracks: list[Track], query: Query, limit: int) -> AsyncIterator[Place]:
    """The places of all tracks in the order of the query."""
    most = max(ENTRIES_MIN, 2 * limit // max(1, len(tracks)) + 1)
    while True:
        await _fill(server, [track for track in tracks if not track.found and not track.is_read], query, most)
        waiting = [(_order(track.found[0], query), number) for number, track in enumerate(tracks) if track.found]
        heapq.heapify(waiting)
        if not waiting:
            return
        while waiting:
            _, number = heapq.heappop(waiting)
            track = tracks[number]
            yield track.found.popleft()
            if track.found:
                heapq.heappush(waiting, (_order(track.found[0], query), number))
            elif not track.is_read:
                break  # because what comes next of it may come before what the others have


def _order(place: Place, query: Query) -> tuple[object, ...]:
    return place if query.by_end else (-place[0], _Descending((place[1], place[2])))


class _Descending:
    """Sorts what it holds from the last to the first."""

    __slots__ = ("key",)

    def __init__(self, key: tuple[str, int]) -> None:
        self.key = key

    def __lt__(self, other: _Descending) -> bool:
        return other.key < self.key


async def _fill(server: Server, tracks: list[Track], query: Query, most: int) -> None:
    """Read the next part of these tracks."""
    by_shard: dict[int, list[Track]] = {}
    for track in tracks:
        by_shard.setdefault(track.shard, []).append(track)
    newest_first = not query.by_end
    asks = [
        (
            shard_keys(shard),
            [newest_first, most, *([one.index, _text(one.part.low), _text(one.part.high)] for one in of)],
        )
        for shard, of in by_shard.items()
    ]
    for of, answer in zip(by_shard.values(), await server.run("find", asks), strict=True):
        for track, members in zip(of, answer, strict=True):
            track.take(members, most, query)


def _text(bound: bytes) -> str:
    return bound.decode()


async def _fitting(
    places: list[Place],
    query: Query,
    heads: Heads,
) -> list[tuple[Place, Head]]:
    """Those whose head is still as the query asks; an instance that has changed its place is left out."""
    found = await heads([(shard, id) for _, id, shard in places])
    fitting = []
    for place in places:
        head = found.get((place[2], place[1]))
        if head is not None and matches(head, query) and (head.finished if query.by_end else head.created) == place[0]:
            fitting.append((place, head))
    return fitting
