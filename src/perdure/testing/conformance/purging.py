"""What goes for good."""

from __future__ import annotations

from msgspec import Raw
from msgspec.structs import replace

from perdure.codec import Payload
from perdure.stores.contract import ENTITY, Delivery, Loaded, Wait
from perdure.testing.conformance.scene import Scene, a_head
from perdure.testing.conformance.stage import Stage, scenario


class Purging(Stage):
    @scenario
    async def test_purge_leaves_no_row_of_a_finished_run(self, scene: Scene) -> None:
        await scene.rich("a")
        await scene.start("b")
        assert await scene.store.purge(scene.shard("a"), ["a"]) == []
        await scene.finish("a")
        assert await scene.store.purge(scene.shard("a"), ["nobody", "a", "b", "a"]) == ["a"]
        shard = scene.shard("a")
        assert await scene.store.load(shard, ["a"]) == []
        assert await scene.store.history(shard, "a") == []
        assert await scene.store.waits(shard, "a") == []
        assert await scene.find(tags={"k": "v"}) == []
        await scene.start("a")
        assert await scene.load("a") == Loaded(a_head("a", sequence=1), [], [], [], [])
        assert await scene.deliver("a", "mail", "seen") == [Delivery.DELIVERED] * 2

    @scenario
    async def test_purge_takes_an_entity_that_keeps_nothing(self, scene: Scene) -> None:
        entity, state = a_head("@a@1", kind=ENTITY), Payload("json", None, Raw(b"1"))
        shard = scene.shard("@a@1")
        await scene.start("@a@1", replace(entity, custom_status=state), opened=[Wait(1, "entity", "lock", 5)])
        assert await scene.store.purge(shard, ["@a@1"]) == [], "it has a state and a wait"
        await scene.committed(scene.turn("@a@1", 1, head=replace(entity, sequence=2)))
        assert await scene.store.purge(shard, ["@a@1"]) == [], "it has a wait"
        await scene.deliver("@a@1", "mail")
        await scene.committed(scene.turn("@a@1", 2, closed=[1]))
        assert await scene.store.purge(shard, ["@a@1"]) == [], "it has mail"
        await scene.committed(scene.turn("@a@1", 3, consumed=["mail"]))
        await scene.start("b")
        assert await scene.store.purge(shard, ["@a@1"]) == ["@a@1"]
        assert await scene.store.purge(scene.shard("b"), ["b"]) == [], "it is no entity"
        assert await scene.store.load(shard, ["@a@1"]) == []
