"""Who may write: owners whose lease holds, of one shard and of several."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from perdure.errors import Fenced, StoreRolledBack
from perdure.stores.contract import Batch, Member, Outcome
from perdure.testing.conformance.scene import APP, OWNER, Scene, a_head
from perdure.testing.conformance.stage import Stage, raised, scenario


class Fences(Stage):
    @scenario
    async def test_an_owner_that_lost_its_lease_writes_nothing(self, scene: Scene) -> None:
        await scene.start("a")
        zombie = scene.lease("a")
        heir = await self.heir(scene)
        assert heir.lease("a").epoch > zombie.epoch
        turns = [heir.turn("a", 1), heir.turn("a", None, head=a_head("a"))]
        for turn in turns:
            assert await heir.store.commit([Batch(zombie, [turn])], "zombie") == [Outcome.FENCED]
        await raised(Fenced, heir.store.settle_unknown(zombie, "zombie"))
        assert (await heir.head("a")).sequence == 1
        await heir.committed(turns[0])
        await heir.store.close()

    @scenario
    async def test_an_owner_that_released_its_lease_writes_nothing(self, scene: Scene) -> None:
        await scene.start("a")
        await scene.store.release([scene.lease("a")])
        assert await scene.commit(scene.turn("a", 1)) == [Outcome.FENCED]
        await raised(Fenced, scene.store.settle_unknown(scene.lease("a"), "commit"))
        leases = await scene.store.acquire(APP, "other")
        assert {lease.owner for lease in leases} == {"other"}
        assert all(lease.epoch > scene.lease("a").epoch for lease in leases if lease.shard == scene.shard("a"))
        await scene.store.release([scene.lease("a")])
        assert await scene.store.holder(APP) is not None

    @scenario
    async def test_an_epoch_that_went_backwards_is_told(self, scene: Scene) -> None:
        await scene.start("a")
        newer = replace(scene.lease("a"), epoch=scene.lease("a").epoch + 1)
        await raised(StoreRolledBack, scene.store.commit([Batch(newer, [scene.turn("a", 1)])], "commit"))
        assert (await scene.head("a")).sequence == 1

    @scenario
    async def test_what_an_owner_holds_nobody_else_gets(self, scene: Scene) -> None:
        assert await scene.store.acquire(APP, "other") == []
        again = await scene.store.acquire(APP, OWNER)
        assert [lease.epoch for lease in again] == [scene.lease("a").epoch] * len(again)
        assert [lease.number for lease in again] == list(range(len(again)))
        assert [lease.shard for lease in again] == await scene.store.shards(APP)
        assert OWNER in str(await scene.store.holder(APP))
        await scene.store.release(again)
        assert await scene.store.holder(APP) is None

    @scenario
    async def test_the_newest_token_settles_an_unknown_commit(self, scene: Scene) -> None:
        await scene.start("a")
        await scene.commit(scene.turn("a", 1), commit_id="one")
        lease = scene.lease("a")
        assert await scene.store.settle_unknown(lease, "one")
        assert not await scene.store.settle_unknown(lease, "two")
        await scene.commit(scene.turn("a", 2), commit_id="two")
        assert await scene.store.settle_unknown(lease, "two")
        assert not await scene.store.settle_unknown(lease, "one")

    @scenario
    async def test_a_commit_writes_under_several_leases(self, scene: Scene) -> None:
        here, there = self.ids_apart(scene)
        if scene.shard(here) == scene.shard(there):
            return  # because this store has one shard
        await scene.start(there)
        turns = [scene.turn(id, None, head=a_head(id, sequence=1)) for id in (here, there)]
        batches = [Batch(scene.lease(turn.id), [turn]) for turn in turns]
        assert await scene.store.commit(batches, "both") == [Outcome.COMMITTED, Outcome.EXISTS]
        assert await scene.store.settle_unknown(scene.lease(here), "both")
        assert (await scene.head(here)).sequence == 1

    @scenario
    async def test_a_lease_that_is_lost_fences_its_own_batch_alone(self, scene: Scene) -> None:
        here, there = self.ids_apart(scene)
        if scene.shard(here) == scene.shard(there):
            return  # because this store has one shard
        for id in (here, there):
            await scene.start(id)
        await scene.store.release([scene.lease(there)])
        turns = [scene.turn(id, 1, segment=b"[]") for id in (there, here)]
        batches = [Batch(scene.lease(turn.id), [turn]) for turn in turns]
        assert await scene.store.commit(batches, "both") == [Outcome.FENCED, Outcome.COMMITTED]
        assert [(await scene.head(id)).sequence for id in (there, here)] == [1, 2]

    @scenario
    async def test_a_lease_that_ran_out_goes_to_who_asks_and_its_old_holder_is_fenced(self, scene: Scene) -> None:
        seconds = scene.store.lease_seconds
        if seconds is None:
            return  # because its leases do not run out
        await scene.start("a")
        old = scene.lease("a")
        assert await scene.store.acquire(APP, "other") == []
        await asyncio.sleep(seconds)
        await scene.committed(scene.turn("a", 1))
        count = len(await scene.store.shards(APP))
        taken = await scene.store.acquire(APP, "other", limit=1)
        taken += await scene.store.acquire(APP, "other", limit=count)
        by_shard = {lease.shard: lease for lease in taken}
        assert len(by_shard) == count
        assert by_shard[old.shard].epoch > old.epoch
        assert await scene.commit(scene.turn("a", 2)) == [Outcome.FENCED]
        assert (await scene.store.beat(APP, Member(OWNER), [old])).held == []

    @scenario
    async def test_a_limit_bounds_what_is_taken(self, scene: Scene) -> None:
        await scene.release()
        count = len(await scene.store.shards(APP))
        assert await scene.store.acquire(APP, OWNER, limit=0) == []
        assert len(await scene.store.acquire(APP, OWNER, limit=1)) == 1
        assert len(await scene.store.acquire(APP, OWNER, limit=count)) == count

    def ids_apart(self, scene: Scene) -> list[str]:
        """Ids of two shards, or of one where there is only one."""
        first = scene.shard("a")
        other = next((id for n in range(200) if scene.shard(id := f"i{n}") != first), "b")
        return ["a", other]
