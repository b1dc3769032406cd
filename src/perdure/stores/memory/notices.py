"""Notices of the lifecycle feed."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from perdure.stores.contract import Notice, Posted
from perdure.stores.memory.writing import Writing
from perdure.stores.rules import GIVEN_UP, PENDING, TOLD


class Noticing(Writing):
    async def notices(self, shard: int, after: int, limit: int, *, pending: bool = False) -> list[Posted]:
        there = self._notices.get(shard, {})
        found = [one for one, state in there.values() if one.number > after and (not pending or state == PENDING)]
        return found[:limit]

    async def newest_notice(self, shard: int) -> int:
        return max(self._notices.get(shard, ()), default=0)

    async def purge_told(self, shard: int, gone: Sequence[Notice]) -> list[str]:
        purged = await self.purge(shard, [notice.instance for notice in gone])
        self._keep_notices(shard, [notice for notice in gone if notice.instance in purged])
        return purged

    async def told(self, shard: int, numbers: Sequence[int]) -> None:
        there = self._notices.get(shard, {})
        for number in numbers:
            if number in there:
                there[number] = there[number][0], TOLD

    async def give_up(self, shard: int, number: int, failure: str) -> None:
        there = self._notices.get(shard, {})
        if number in there:
            there[number] = replace(there[number][0], failure=failure), GIVEN_UP

    async def given_up(self, shard: int, limit: int) -> list[Posted]:
        return [one for one, state in self._notices.get(shard, {}).values() if state == GIVEN_UP][:limit]

    async def tell_again(self, shard: int) -> int:
        there = self._notices.get(shard, {})
        again = await self.given_up(shard, len(there))
        for one in again:
            there[one.number] = replace(one, failure=None), PENDING
        return len(again)

    async def trim(self, shard: int, keep: int) -> None:
        there = self._notices.get(shard, {})
        for state in (TOLD, GIVEN_UP):
            numbers = [number for number, (_, one) in there.items() if one == state]
            for number in numbers[: max(len(numbers) - keep, 0)]:
                del there[number]
