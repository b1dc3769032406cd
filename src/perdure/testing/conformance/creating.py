"""How a store is opened, and how instances come into it."""

from __future__ import annotations

from perdure.errors import InstanceExists
from perdure.stores.contract import Loaded, Wait
from perdure.testing.conformance.scene import APP, Scene, a_creation
from perdure.testing.conformance.stage import Stage, raised, scenario


class Creating(Stage):
    @scenario
    async def test_shards_are_the_same_for_ever(self, scene: Scene) -> None:
        shards = await scene.store.shards(APP)
        others = await scene.store.shards("bank")
        assert shards == await scene.store.shards(APP)
        assert len(set(shards + others)) == len(shards) + len(others)
        assert await scene.store.apps() == ["bank", "shop"]
        heir = await self.heir(scene)
        assert await heir.store.shards(APP) == shards
        assert await heir.store.shards("bank") == others
        await heir.store.close()

    @scenario
    async def test_close_may_be_called_twice_and_open_again(self, scene: Scene) -> None:
        await scene.start("a")
        await scene.store.close()
        await scene.store.close()
        await scene.store.open()
        assert (await scene.head("a")).sequence == 1

    @scenario
    async def test_create_inserts_head_mail_and_waits(self, scene: Scene) -> None:
        creation = a_creation("a", waits=(Wait(1, "start", "", 1_000, due=9_000),), tags={"k": "v"})
        await scene.store.create(scene.shard("a"), creation)
        assert await scene.load("a") == Loaded(creation.head, [], [creation.mail], list(creation.waits), [])
        assert await scene.find(tags={"k": "v"}) == ["a"]

    @scenario
    async def test_create_refuses_an_id_that_is_active(self, scene: Scene) -> None:
        await scene.start("a")
        error = await raised(InstanceExists, scene.store.create(scene.shard("a"), a_creation("a", execution="e2")))
        assert isinstance(error, InstanceExists)
        assert error.instance_id == "a"
        assert (await scene.head("a")).execution == "e1"
        assert await scene.keys("a") == []

    @scenario
    async def test_create_again_is_a_success_that_changes_nothing(self, scene: Scene) -> None:
        creation = a_creation("a", parent_call="p/1/7")
        await scene.store.create(scene.shard("a"), creation)
        await scene.committed(scene.turn("a", 0, consumed=["start e1"]))
        await scene.store.create(scene.shard("a"), creation)
        await scene.store.create(scene.shard("a"), a_creation("a", execution="e2", parent_call="p/1/7"))
        assert await scene.keys("a") == []
        await scene.finish("a")
        await scene.store.create(scene.shard("a"), a_creation("a", execution="e2", parent_call="p/1/7"))
        assert (await scene.head("a")).execution == "e1"

    @scenario
    async def test_create_replaces_a_finished_run_and_all_its_rows(self, scene: Scene) -> None:
        await scene.rich("a")
        await scene.finish("a", 1)
        creation = a_creation("a", execution="e2", name="other")
        await scene.store.create(scene.shard("a"), creation)
        assert await scene.load("a") == Loaded(creation.head, [], [creation.mail], [], [])
        assert await scene.find(tags={"k": "v"}) == []
        assert await scene.find(name="other") == ["a"]

    @scenario
    async def test_create_unique_refuses_a_finished_run_too(self, scene: Scene) -> None:
        await scene.start("a")
        await scene.finish("a")
        creation = a_creation("a", execution="e2", unique=True)
        await raised(InstanceExists, scene.store.create(scene.shard("a"), creation))
        assert (await scene.head("a")).execution == "e1"
