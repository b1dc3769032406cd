"""What an owner finds to do in its shards: open calls, due times, mail, and what nothing would wake."""

from __future__ import annotations

from perdure.stores.contract import ANSWERED, ENTITY, Halt, Wait, WaitKind
from perdure.testing.conformance.scene import Scene, a_creation, a_head, a_mail
from perdure.testing.conformance.stage import Stage, scenario


class Waking(Stage):
    @scenario
    async def test_recover_pages_open_calls_between_instances(self, scene: Scene) -> None:
        ids = sorted(scene.neighbours(5))
        waits = [Wait(3, "activity", "f", 5), Wait(1, "activity", "g", 5), Wait(2, "timer", "", 5, due=7)]
        for id in ids:
            await scene.start(id, opened=waits)
        await scene.finish(ids[4])
        lease = scene.lease(ids[0])
        found = await scene.store.recover(lease)
        assert [(c.instance, c.wait.number) for c in found] == [(id, n) for id in ids[:4] for n in (1, 3)]
        assert (found[0].shard, found[0].execution, found[0].generation) == (lease.shard, "e1", 1)
        assert found[0].wait == waits[1]
        page = await scene.store.recover(lease, limit=3)
        assert [c.instance for c in page] == [ids[0], ids[0], ids[1], ids[1]]
        assert [c.instance for c in await scene.store.recover(lease, ids[1], 1)] == [ids[2]] * 2
        assert await scene.store.recover(lease, ids[3]) == []

    @scenario
    async def test_recover_leaves_calls_of_suspended_runs_alone(self, scene: Scene) -> None:
        await scene.start("a", a_head("a", suspended=Halt("by hand", 1)), opened=[Wait(1, "activity", "f", 5)])
        assert await scene.store.recover(scene.lease("a")) == []

    @scenario
    async def test_stranded_are_those_that_nothing_would_wake(self, scene: Scene) -> None:
        sound = [
            Wait(1, "activity", "f", 5),
            Wait(2, "child", "f", 5, on="c"),
            Wait(3, "timer", "", 5, due=7),
            Wait(-10, "event", "e", 5),
        ]
        endless = [
            Wait(1, "none", "f", 5),
            Wait(1, "activity", "f", 5, state="none"),
            Wait(1, "activity", "f", 5, state=ANSWERED),
            Wait(2, "child", "f", 5),
            Wait(3, "timer", "", 5),
        ]
        ids = sorted(scene.neighbours(14))
        for id, wait in zip(ids, (*sound, *endless), strict=False):
            await scene.start(id, opened=[wait])
        alone, mailed, finished, suspended, stalled = ids[9:]
        for id in (alone, mailed, finished):
            await scene.start(id)
        await scene.store.deliver(scene.shard(), [a_mail(mailed, "m")])
        await scene.finish(finished)
        await scene.start(suspended, a_head(suspended, suspended=Halt("by hand", 1)))
        await scene.start(stalled, a_head(stalled, stalled=Halt("non-determinism", 1)))
        lease = scene.lease(ids[0])
        assert await scene.store.stranded(lease) == [*ids[4:9], alone]
        assert await scene.store.stranded(lease, ids[4], 2) == ids[5:7]
        await scene.store.deliver(scene.shard(), [a_mail(ids[6], "m")])
        assert await scene.store.stranded(lease, ids[4], 2) == [ids[5], ids[7]]

    @scenario
    async def test_an_entity_is_neither_found_nor_stranded(self, scene: Scene) -> None:
        await scene.start("@a@1", a_head("@a@1", kind=ENTITY))
        await scene.start("b", opened=[Wait(1, "event", "go", 5)])
        assert await scene.find() == ["b"]
        assert await scene.find(kind=ENTITY) == ["@a@1"]
        assert await scene.find(kind=None) == ["b", "@a@1"]
        assert await scene.store.stranded(scene.lease("@a@1")) == []

    @scenario
    async def test_due_is_paged_by_time_instance_and_number(self, scene: Scene) -> None:
        ids = sorted(scene.neighbours(3))
        for id in ids:
            dues = ((1, 50), (2, 40), (3, 50), (4, None), (5, 0))
            await scene.start(id, opened=[Wait(n, "timer", "", 5, due=due) for n, due in dues])
        await scene.finish(ids[2])
        lease = scene.lease(ids[0])
        expected = [(0, ids[0], 5), (0, ids[1], 5), (40, ids[0], 2), (40, ids[1], 2)]
        expected += [(50, id, n) for id in ids[:2] for n in (1, 3)]
        found = await scene.store.due([lease], 50)
        assert [(d.due, d.instance, d.number) for d in found] == expected
        assert {(d.shard, d.kind) for d in found} == {(lease.shard, "timer")}
        assert len(await scene.store.due([lease], 49)) == 4
        paged = []
        after = (-1, 0, "", 0)
        while page := await scene.store.due([lease], 50, 3, after):
            paged += [(d.due, d.instance, d.number) for d in page]
            after = (page[-1].due, lease.shard, *paged[-1][1:])
        assert paged == expected

    @scenario
    async def test_mail_is_there_until_consumed_and_paged_between_instances(self, scene: Scene) -> None:
        ids = sorted(scene.neighbours(4))
        for id in ids:
            await scene.start(id)
            await scene.deliver(id, "z", "a", "m")
        await scene.finish(ids[3])
        lease = scene.lease(ids[0])
        for _ in range(2):
            found = await scene.store.mail([lease])
            assert [(m.instance, m.key) for _, m, _ in found] == [(id, key) for id in ids[:3] for key in "zam"]
            assert {letter.shard for letter in found} == {lease.shard}
        assert [m.instance for _, m, _ in await scene.store.mail([lease], 2)] == [ids[0]] * 3
        after = (lease.shard, ids[0])
        assert [m.instance for _, m, _ in await scene.store.mail([lease], 4, after)] == [ids[1]] * 3 + [ids[2]] * 3
        assert await scene.store.mail([lease], 4, (lease.shard, ids[2])) == []
        await scene.committed(scene.turn(ids[0], 1, consumed=["z", "m"]))
        assert [m.key for _, m, _ in await scene.store.mail([lease], 1)] == ["a"]

    @scenario
    async def test_mail_tells_which_instances_are_new_and_nothing_more(self, scene: Scene) -> None:
        plain = a_creation("plain")
        later = a_creation("later", waits=(Wait(0, WaitKind.START, "start", 5, due=99),))
        for creation in (plain, later, a_creation("begun")):
            await scene.store.create(scene.shard(creation.head.id), creation)
            await scene.deliver(creation.head.id, "more")
        await scene.committed(scene.turn("begun", 0, segment=b"[]"))
        ids = ("plain", "later", "begun")
        leases = {scene.shard(id): scene.lease(id) for id in ids}
        page = await scene.store.mail(list(leases.values()))
        assert sorted(mail.instance for _, mail, _ in page) == sorted([*ids, *ids])
        told = [new for _, mail, new in page if mail.instance == "plain"]
        assert told in ([plain.head, None], [plain.head, plain.head], [None, None])  # because a store may leave it out
        assert {new for _, mail, new in page if mail.instance != "plain"} == {None}

    @scenario
    async def test_mail_and_due_times_of_several_shards_come_in_one_order(self, scene: Scene) -> None:
        ids = [f"i{n}" for n in range(12)]
        for number, id in enumerate(ids):
            await scene.start(id, opened=[Wait(1, "timer", "", 5, due=10 + number % 3)])
            await scene.deliver(id, "m")
        leases = [scene.lease(id) for id in {scene.shard(id): id for id in ids}.values()]
        everything = sorted((scene.shard(id), id) for id in ids)
        assert [(shard, mail.instance) for shard, mail, _ in await scene.store.mail(leases)] == everything
        paged: list[tuple[int, str]] = []
        after = (0, "")
        while page := await scene.store.mail(leases, 1, after):
            paged += [(shard, mail.instance) for shard, mail, _ in page]
            after = paged[-1]
        assert paged == everything
        dues = sorted((10 + number % 3, scene.shard(id), id, 1) for number, id in enumerate(ids))
        found: list[tuple[int, int, str, int]] = []
        last = (-1, 0, "", 0)
        while some := await scene.store.due(leases, 12, 5, last):
            found += [(due.due, due.shard, due.instance, due.number) for due in some]
            last = found[-1]
        assert found == dues
