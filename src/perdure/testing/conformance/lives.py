"""Which instances are suspected when an owner dies."""

from __future__ import annotations

from msgspec.structs import replace

from perdure.errors import Fenced
from perdure.stores.contract import ENTITY, Halt, Wait
from perdure.testing.conformance.scene import Scene, a_creation, a_head
from perdure.testing.conformance.stage import Stage, raised, scenario


class Lives(Stage):
    @scenario
    async def test_a_death_is_counted_for_each_that_could_have_been_running(self, scene: Scene) -> None:
        call, timer = Wait(1, "activity", "f", 5), Wait(1, "timer", "", 5)
        running = {
            "call": [call],
            "retry due": [replace(call, due=90)],
            "timer due": [replace(timer, due=100)],
            "timeout due": [replace(call, due=900), Wait(-2, "timeout", "", 5, due=100)],
        }
        resting = {
            "nothing": [],
            "retry later": [replace(call, due=101)],
            "answered": [replace(call, state="answered")],
            "timer later": [replace(timer, due=101)],
            "event": [Wait(1, "event", "go", 5)],
        }
        for id, waits in (running | resting).items():
            await scene.start(id, opened=waits)
        for id, waits in (("suspended", [call]), ("suspended, due", [replace(timer, due=1)])):
            await scene.start(id, a_head(id, suspended=Halt("x", 1)), opened=waits)
        await scene.start("finished", opened=[call])
        await scene.finish("finished")
        await scene.create(a_creation("pending"))
        later = Wait(-1, "start", "", 5, due=101)
        await scene.create(a_creation("starts later", waits=(later,)))
        await scene.create(a_creation("starts now", waits=(replace(later, due=100),)))
        delayed = Wait(1, "entity", "signal", 5)
        for id, due in (("@delayed@1", 6), ("@mail@1", 101), ("@later@1", 101)):
            await scene.start(id, a_head(id, kind=ENTITY), opened=[replace(delayed, due=due)])
        await scene.deliver("@mail@1", "mail")
        second = await self.lived(scene)
        assert await second.suspects() == {}, "the first owner was not said to live"
        third = await self.died(second)
        could = {*running, "suspended, due", "pending", "starts now", "@delayed@1", "@mail@1"}
        assert await third.suspects() == dict.fromkeys(could, 1)
        await third.store.close()

    @scenario
    async def test_deaths_are_counted_in_a_row_and_forgotten_when_idle(self, scene: Scene) -> None:
        call = Wait(1, "activity", "f", 5)
        for id in ("a", "b"):
            await scene.start(id, opened=[call])
        scene = await self.died(await self.died(await self.lived(scene)))
        assert await scene.suspects() == {"a": 2, "b": 2}
        await scene.committed(scene.turn("b", 1, closed=[1]))
        scene = await self.died(scene)
        assert await scene.suspects() == {"a": 3}
        await scene.committed(scene.turn("b", 2, opened=[call]))
        scene = await self.died(scene)
        assert await scene.suspects() == {"a": 4, "b": 1}
        await scene.store.close()

    @scenario
    async def test_a_life_that_ends_in_good_order_leaves_no_suspect(self, scene: Scene) -> None:
        await scene.start("a", opened=[Wait(1, "activity", "f", 5)])
        scene = await self.died(await self.lived(scene))
        await scene.accuse("a")
        await scene.release()
        assert await scene.suspects() == {}
        scene = await self.died(scene)
        assert await scene.suspects() == {}
        scene = await self.died(scene)
        assert await scene.suspects() == {"a": 1}
        assert await scene.accused() == []
        await scene.store.close()

    @scenario
    async def test_an_owner_that_runs_no_code_neither_lives_nor_dies(self, scene: Scene) -> None:
        await scene.start("a", opened=[Wait(1, "activity", "f", 5)])
        scene = await self.died(await self.lived(scene))
        for _ in range(2):
            scene = await Scene.of(await self.succeed(scene.store), "caretaker", arrived=self.arrived)
            assert await scene.suspects() == {"a": 1}
        await scene.release()
        scene = await self.died(scene)
        assert await scene.suspects() == {"a": 2}
        await scene.store.close()

    @scenario
    async def test_accusations_are_told_to_the_heirs_until_one_of_them_accuses(self, scene: Scene) -> None:
        ids = sorted([id for id in (f"i{n}" for n in range(200)) if scene.shard(id) == scene.shard("i0")][:4])
        for id in ids:
            await scene.start(id, opened=[Wait(1, "activity", "f", 5)])
        scene = await self.died(await self.lived(scene))
        for place, id in enumerate((*reversed(ids[:3]), "nobody"), 1):
            await scene.store.accuse(scene.lease(ids[0]), id, place)
        assert await scene.accused() == [], "nobody was when the last owner died"
        await scene.store.acquit(scene.lease(ids[0]), [ids[2], "nobody"])
        scene = await self.died(scene)
        assert await scene.suspects() == {ids[0]: 2, ids[1]: 2, ids[2]: 1, ids[3]: 2}
        assert await scene.accused() == [ids[1], ids[0]]
        scene = await self.died(scene)
        assert await scene.accused() == [ids[1], ids[0]], "its owner has accused nobody"
        await scene.accuse(ids[1])
        await scene.accuse(ids[3], 2)
        await scene.committed(scene.turn(ids[3], 1, closed=[1]))
        scene = await self.died(scene)
        assert await scene.suspects() == {ids[0]: 4, ids[1]: 4, ids[2]: 3}
        assert await scene.accused() == [ids[1]]
        await scene.store.acquit(scene.lease(ids[0]), [ids[1]])
        assert await scene.accused() == []
        scene = await self.died(scene)
        assert await scene.suspects() == {ids[0]: 5, ids[1]: 1, ids[2]: 4}
        assert await scene.accused() == []
        await scene.store.close()

    @scenario
    async def test_an_owner_that_lost_its_lease_neither_accuses_nor_acquits(self, scene: Scene) -> None:
        await scene.start("a", opened=[Wait(1, "activity", "f", 5)])
        scene = await self.died(await self.lived(scene))
        zombie = scene.lease("a")
        heir = await self.died(scene)
        await raised(Fenced, heir.store.accuse(zombie, "a", 1))
        await raised(Fenced, heir.store.acquit(zombie, ["a"]))
        assert await heir.suspects() == {"a": 2}
        assert await heir.accused() == []
        await heir.store.close()

    @scenario
    async def test_a_suspect_is_forgotten_with_its_instance(self, scene: Scene) -> None:
        ids = ("purged", "started again", "created again")
        for id in ids:
            await scene.start(id, opened=[Wait(1, "activity", "f", 5)])
        scene = await self.died(await self.lived(scene))
        assert await scene.suspects() == dict.fromkeys(ids, 1)
        for id in ids:
            await scene.finish(id)
        await scene.store.purge(scene.shard("purged"), ["purged"])
        await scene.start("started again", a_head("started again", execution="e2"))
        await scene.create(a_creation("created again", execution="e2"))
        assert await scene.suspects() == {}
        await scene.store.close()

    async def lived(self, scene: Scene) -> Scene:
        """The same store under an owner that lives, after one that ran no code."""
        return await Scene.of(await self.succeed(scene.store), "lives", 100, self.arrived)

    async def died(self, scene: Scene) -> Scene:
        """The store after its owner's death, under the next one."""
        return await Scene.of(await self.succeed(scene.store), "lives again", 100, self.arrived)
