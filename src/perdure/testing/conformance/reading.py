"""What is read of an instance: its rows as of one moment, its history and its end."""

from __future__ import annotations

from msgspec import Raw

from perdure.codec import Payload
from perdure.stores.contract import Awaited, Delivery, End, Halt, Loaded, Segment, Wait
from perdure.testing.conformance.scene import ODD_IDS, Scene, a_creation, a_head, a_mail
from perdure.testing.conformance.stage import Stage, scenario


class Reading(Stage):
    @scenario
    async def test_load_gives_those_that_exist_in_the_order_asked(self, scene: Scene) -> None:
        ids = [id for id in "fedcba" if scene.shard(id) == scene.shard("a")]
        for id in reversed(ids):
            await scene.start(id)
        asked = [ids[0], "nobody", *ids]
        assert [loaded.head.id for loaded in await scene.store.load(scene.shard("a"), asked)] == ids
        assert [head.id for head in await scene.store.heads([(scene.shard("a"), id) for id in asked])] == ids
        assert await scene.store.head(scene.shard("nobody"), "nobody") is None

    @scenario
    async def test_ends_tells_what_has_become_of_runs_that_do_not_go_on(self, scene: Scene) -> None:
        for id in ("ended", "short", "goes on"):
            await scene.start(id, segment=b"[1]")
        await scene.committed(scene.turn("ended", 1, segment=b"[2]"))
        await scene.finish("ended", 2, segment=b"[3]")
        await scene.finish("short")
        await scene.store.create(scene.shard("new"), a_creation("new"))
        awaited = [
            *(Awaited(scene.shard(id), id, "e1") for id in ("goes on", "ended", "new", "nobody", "short")),
            *(Awaited(scene.shard(id), id) for id in ("goes on", "ended", "nobody")),
            *(Awaited(scene.shard(id), id, "e0") for id in ("goes on", "ended", "nobody")),
        ]
        ended, gone = End(await scene.head("ended"), b"[1]", b"[3]"), End()
        short, replaced = End(await scene.head("short"), b"[1]", b"[1]"), End(await scene.head("goes on"))
        expected = [None, ended, None, gone, short, None, ended, gone, replaced, ended, gone]
        assert await scene.store.ends(awaited) == expected
        for run, end in zip(awaited, expected, strict=True):
            assert await scene.store.ends([run]) == [end], run
        assert await scene.store.ends(awaited[:5]) == expected[:5]
        assert await scene.store.ends([]) == []

    @scenario
    async def test_ends_tells_of_a_run_that_ended_without_a_segment(self, scene: Scene) -> None:
        await scene.start("a")
        await scene.finish("a")
        for id in ODD_IDS:
            await scene.start(id, segment=b"[1]")
            await scene.finish(id)
        (bare, *odd) = await scene.store.ends([Awaited(scene.shard(id), id, "e1") for id in ("a", *ODD_IDS)])
        assert bare == End(await scene.head("a"))
        assert odd == [End(await scene.head(id), b"[1]", b"[1]") for id in ODD_IDS]

    @scenario
    async def test_history_is_paged_by_sequence(self, scene: Scene) -> None:
        await scene.start("a", segment=b"[1]")
        for number in range(1, 5):
            await scene.committed(scene.turn("a", number, segment=b"[%d]" % (number + 1)))
        shard = scene.shard("a")
        assert await scene.store.history(shard, "a", 0, 2) == [Segment(1, b"[1]"), Segment(2, b"[2]")]
        assert [s.sequence for s in await scene.store.history(shard, "a", 2)] == [3, 4, 5]
        assert await scene.store.last_segment(shard, "a") == Segment(5, b"[5]")
        assert await scene.store.history(shard, "nobody") == []
        assert await scene.store.last_segment(shard, "nobody") is None

    @scenario
    async def test_every_field_comes_back_as_it_was(self, scene: Scene) -> None:
        text = '{"b": [1,  2.50, "\\u00e9é"],"a":\t1e400}'
        payload = Payload("json", "key-7", Raw(text.encode()))
        halt = Halt("non-determinism", 5, "other code", "me", "f1", "shop.py:7")
        head = a_head(
            "a",
            finished=7,
            parent="p",
            tags={"k": "v", "ü": ""},
            custom_status=payload,
            suspended=halt,
            stalled=Halt("x", 2**53),
            version="v2",
            more={"of a newer version": {"n": [1, None, 2.5]}},
            created=2**62,
            sequence=1,
        )
        wait = Wait(
            3,
            "activity",
            "charge",
            4,
            2**62,
            "bank",
            "shop.py:8",
            2,
            "claimed",
            "t",
            "node",
            9,
            payload,
            payload,
            b'{"retry": 1}',
            '{"type":"É"}'.encode(),
        )
        segment = '[{"type":"RunStarted", "name":"ü"}]'.encode()
        await scene.start("a", head, segment=segment, opened=[wait, Wait(1, "timer", "", 5)], seen=["s"])
        mail = a_mail("a", "m", execution="e9", generation=4, at=2**62, event='{"ü":  1}'.encode())
        await scene.store.deliver(scene.shard("a"), [mail])
        loaded = await scene.load("a")
        assert loaded == Loaded(head, [Segment(1, segment)], [mail], [Wait(1, "timer", "", 5), wait], ["s"])
        assert loaded.head.custom_status is not None
        assert bytes(loaded.head.custom_status.data) == text.encode()
        assert await scene.store.waits(scene.shard("a"), "a") == loaded.waits

    @scenario
    async def test_odd_ids_are_ids(self, scene: Scene) -> None:
        for id in ODD_IDS:
            await scene.start(id, a_head(id, parent=id, tags={id: id}), opened=[Wait(1, "timer", id, 1, due=5)])
            assert await scene.deliver(id, id) == [Delivery.DELIVERED]
            await scene.committed(scene.turn(id, 1, consumed=[id], seen=[id], closed=[1]))
            assert await scene.deliver(id, id) == [Delivery.DUPLICATE]
            assert (await scene.load(id)).head.id == id
            assert await scene.find(tags={id: id}) == [id]
            assert await scene.find(parent=id) == [id]
            assert id in await scene.find(text=id)
        assert set(await scene.find()) == set(ODD_IDS)
