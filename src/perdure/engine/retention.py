"""How long finished instances are kept: purged by one node, in bounded batches, once they are old enough."""

from __future__ import annotations

from perdure.actors.rounds import Rounds
from perdure.engine.gazette import Gazette
from perdure.engine.node import Node
from perdure.engine.settings import Retention
from perdure.stores.contract import Head, Query, Status

RETENTION_BATCH = 200
"""Instances that are purged in one transaction of each shard."""
RETENTION_SECONDS = 60.0
"""Between two looks for instances that have become old."""
RETENTION_PAUSE_SECONDS = 0.05
"""Between two batches while there are more, so that workflows have the store in between."""


class Keeper:
    """Purges what has become old. Of all nodes, the one that owns the app's first shard does it."""

    def __init__(self, node: Node, retention: Retention) -> None:
        self.purged = 0
        self._node = node
        self._ages = retention.ages
        self._rounds = Rounds("retention", self._round)

    def start(self) -> None:
        if self._ages:
            self._rounds.start()

    async def stop(self) -> None:
        await self._rounds.stop()

    async def _round(self) -> float | None:
        if not self._node.leads:
            return RETENTION_SECONDS
        purged = [await self._purge(status, age) for status, age in self._ages.items()]
        return RETENTION_PAUSE_SECONDS if any(purged) else RETENTION_SECONDS

    async def _purge(self, status: Status, age: int) -> int:
        """Purge those that ended first, a batch at most; how many."""
        node = self._node
        before = node.clock.now() - age
        query = Query(app=node.app, status=(status,), finished_before=before, kind=None, by_end=True)
        page = await node.store.find(query, None, RETENTION_BATCH)
        by_shard: dict[int, list[Head]] = {}
        for head in page.heads:
            by_shard.setdefault(node.shard_of(head.id), []).append(head)
        count = 0
        for shard, heads in by_shard.items():
            count += await Gazette(node).purge(shard, heads, tells=node.announces)
        self.purged += count
        return count

    def __repr__(self) -> str:
        return f"<Keeper of {self._node!r}: {self.purged} purged>"
