"""How much there is, for people."""

from __future__ import annotations

from collections import Counter

from perdure.stores.contract import ENTITY, FORMAT, Census, Checkup, ShardState, WaitKind
from perdure.stores.memory.rows import Rows


class Inspecting(Rows):
    async def check(self) -> Checkup:
        return Checkup("memory", FORMAT, "C: all is lost with the process")

    async def census(self, app: str) -> Census:
        found = [one for shard in self._shards_of(app) for one in self._instances[shard].values()]
        waits = [wait for one in found for wait in one.waits.values() if wait.kind == WaitKind.ACTIVITY]
        return Census(
            dict(Counter(str(one.head.status) for one in found if one.head.kind != ENTITY)),
            sum(one.head.kind == ENTITY for one in found),
            dict(Counter(wait.state for wait in waits)),
            sum(len(one.mail) for one in found),
            sum(len(one.segments) for one in found),
        )

    async def counts(self, app: str) -> dict[str, int]:
        found = [one.head for shard in self._shards_of(app) for one in self._instances[shard].values()]
        return dict(Counter(str(head.status) for head in found if head.kind == "workflow"))

    async def shard_states(self, app: str) -> list[ShardState]:
        found = ((id, self._shards[id]) for id in self._shards_of(app))
        return [ShardState(id, shard.number, shard.epoch, shard.owner, shard.until) for id, shard in found]

    async def size(self) -> int | None:
        return None
