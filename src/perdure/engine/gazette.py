"""The lifecycle feed as those read it who follow it: page by page, from a cursor on, over all shards of an app."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from perdure.engine.node import Node
from perdure.errors import InvalidArgument
from perdure.history.lifecycle import ANCIENT, FeedState, NoticePage, purged
from perdure.stores.contract import Head, Notices

PAGE_MAX = 1_000
"""Events of one page."""
SHOWN_MAX = 100
"""Events that were given up and are shown."""
PENDING_MAX = 10_000
"""Events that wait, as far as they are counted."""


class Gazette:
    """Notices of one app. The store need not have any."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._store: Notices | None = node.store if isinstance(node.store, Notices) else None

    async def page(self, after: str | None, limit: int) -> NoticePage:
        """Events behind a cursor; None: those that are to come. Within an instance they are in order.

        Raises InvalidArgument for a cursor that no page gave, and for a store that keeps no notices.
        """
        store = self._kept()
        shards = await self._node.store.shards(self._node.app)
        if after is None:
            newest = await asyncio.gather(*(store.newest_notice(shard) for shard in shards))
            return NoticePage([], _cursor(dict(zip(shards, newest, strict=True))))
        places = dict.fromkeys(shards, 0) | _places(after)
        events: list[tuple[str, str]] = []
        for shard in shards:
            for posted in await store.notices(shard, places[shard], max(0, min(limit, PAGE_MAX) - len(events))):
                places[shard] = posted.number
                events.append((_cursor(places), posted.event.decode()))
        return NoticePage(events, _cursor(places))

    async def state(self) -> FeedState:
        store = self._kept()
        pending = 0
        given_up: list[tuple[str, str]] = []
        for shard in await self._node.store.shards(self._node.app):
            if pending < PENDING_MAX:
                pending += len(await store.notices(shard, 0, PENDING_MAX - pending, pending=True))
            if len(given_up) < SHOWN_MAX:
                found = await store.given_up(shard, SHOWN_MAX - len(given_up))
                given_up += [(one.event.decode(), one.failure or "") for one in found]
        return FeedState(pending=pending, is_more=pending >= PENDING_MAX, given_up=given_up)

    async def tell_again(self) -> int:
        store = self._kept()
        return sum([await store.tell_again(shard) for shard in await self._node.store.shards(self._node.app)])

    async def is_used(self) -> bool:
        """Whether nodes of the app write notices, as far as one is there."""
        store = self._store
        if store is None:
            return False
        shards = await self._node.store.shards(self._node.app)
        return any(await asyncio.gather(*(store.newest_notice(shard) for shard in shards)))

    async def purge(self, shard: int, heads: Sequence[Head], *, tells: bool) -> int:
        """Delete instances that are finished, with a notice of each whose life is told; how many."""
        at = self._node.clock.now()
        gone = [notice for head in heads if (notice := purged(head, at)) is not None] if tells else []
        told = {notice.instance for notice in gone}
        rest = [head.id for head in heads if head.id not in told]
        count = len(await self._node.store.purge(shard, rest)) if rest else 0
        if gone and self._store is not None:
            count += len(await self._store.purge_told(shard, gone))
        return count

    def _kept(self) -> Notices:
        if self._store is None:
            raise InvalidArgument(f"{self._node.store!r} keeps no notices, so its apps have no lifecycle feed")
        return self._store


def _cursor(places: dict[int, int]) -> str:
    return ",".join(f"{shard}.{number}" for shard, number in places.items() if number) or ANCIENT


def _places(cursor: str) -> dict[int, int]:
    try:
        pairs = [pair.split(".") for pair in cursor.split(",")]
        return {int(shard): int(number) for shard, number in pairs}
    except ValueError:
        raise InvalidArgument(f"cursor {cursor[:80]!r} is none; give one that a page of the feed gave") from None
