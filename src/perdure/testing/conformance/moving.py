"""Apps that are kept for a move, and instances that go into another app, for stores that can."""

from __future__ import annotations

from msgspec import Raw
from msgspec.structs import replace

from perdure.codec import Payload
from perdure.errors import AppReserved, StoreOwned
from perdure.stores.contract import (
    ENTITY,
    OFFERED,
    Append,
    Batch,
    Claim,
    Delivery,
    Halt,
    Holder,
    Inspected,
    Member,
    Movable,
    Outcome,
    Permit,
    Place,
    Published,
    Report,
    Segment,
    Side,
    Turn,
    Wait,
    Whole,
    shard_number,
)
from perdure.testing.conformance.scene import APP, KEPT, OWNER, Scene, a_call, a_creation, a_head, a_mail
from perdure.testing.conformance.stage import Stage, raised, scenario


class Moving(Stage):
    @scenario
    async def test_an_app_that_somebody_owns_cannot_be_kept(self, scene: Scene) -> None:
        if isinstance(store := scene.store, Movable):
            await raised(StoreOwned, store.reserve(APP, KEPT))
            assert await store.reserved(APP) is None
            await scene.release()
            if scene.store.lease_seconds is not None:
                await scene.store.beat(APP, Member("lives"), [])
                await raised(StoreOwned, store.reserve(APP, KEPT))
                await scene.store.leave(APP, "lives")
            await store.reserve(APP, KEPT)
            assert await store.reserved(APP) == KEPT
            assert await store.reserved("bank") is None

    @scenario
    async def test_nobody_runs_an_app_that_is_kept_nor_writes_to_it(self, scene: Scene) -> None:
        if not isinstance(store := scene.store, Movable):
            return
        await scene.start("a", opened=[a_call(1, state=OFFERED), a_call(2)])
        await scene.start("b")
        await scene.finish("b")
        await scene.release()
        await store.reserve(APP, KEPT)
        shard, was = scene.shard("a"), await scene.load("a")
        creation = a_creation("c")
        holder = Holder("a", "e1", 1, 1_000)
        for refused in (
            lambda: scene.store.acquire(APP, OWNER),
            lambda: scene.store.create(scene.shard("c"), creation),
            lambda: scene.store.renew(shard, holder, a_mail("a", "m"), a_call(2), 5),
            lambda: scene.store.deliver(shard, [a_mail("a", "m")]),
            lambda: scene.store.report(shard, [Report(2, 1, a_mail("a", "m", execution="e1", generation=1))]),
            lambda: scene.store.claim(APP, "node", "t", ["charge"], 9, 60.0),
            lambda: scene.store.purge(scene.shard("b"), ["b"]),
        ):
            assert "perdure move" in str(await raised(AppReserved, refused()))
        assert await scene.load("a") == was
        assert await scene.find() == ["b", "a"]
        assert len(await scene.store.acquire("bank", OWNER)) == len(await scene.store.shards("bank"))
        await store.free(APP, "another")
        await raised(AppReserved, scene.store.acquire(APP, OWNER))
        await store.free(APP, KEPT.by)
        assert len(await scene.store.acquire(APP, OWNER)) == len(await scene.store.shards(APP))
        assert await scene.deliver("a", "m") == [Delivery.DELIVERED]

    @scenario
    async def test_a_kept_app_is_no_other_moves_and_a_sealed_one_for_ever_nobodys(self, scene: Scene) -> None:
        if not isinstance(store := scene.store, Movable):
            return
        before = scene.lease().epoch
        await scene.release()
        for ends in (replace(KEPT, is_sealed=True), replace(KEPT, is_aborted=True)):
            await raised(AppReserved, store.reserve(APP, ends))
        await store.reserve(APP, KEPT)
        for other in (replace(KEPT, by="n"), replace(KEPT, side=Side.TARGET)):
            await raised(AppReserved, store.reserve(APP, other))
        await store.reserve(APP, replace(KEPT, is_aborted=True))
        for goes_on in (KEPT, replace(KEPT, is_sealed=True)):
            await raised(AppReserved, store.reserve(APP, goes_on))
        await store.free(APP, KEPT.by)
        await store.reserve(APP, KEPT)
        sealed = replace(KEPT, is_sealed=True)
        await store.reserve(APP, sealed)
        await raised(AppReserved, store.reserve(APP, sealed))
        await raised(AppReserved, store.reserve(APP, replace(KEPT, is_aborted=True)))
        await store.free(APP, KEPT.by)
        assert await store.reserved(APP) == sealed
        heir = await self.succeed(scene.store)
        await heir.open()
        assert "memory:there" in str(await raised(AppReserved, heir.acquire(APP, OWNER)))
        if isinstance(heir, Inspected):
            assert {shard.epoch for shard in await heir.shard_states(APP)} == {before + 1}
        await heir.close()

    @scenario
    async def test_whole_instances_go_into_another_app_as_they_are(self, scene: Scene) -> None:
        if not isinstance(store := scene.store, Movable):
            return
        wholes = await self._whole(scene, store)
        by, target = "m", replace(KEPT, side=Side.TARGET)
        await raised(AppReserved, store.take_in("bank", by, wholes))
        await store.reserve("bank", target)
        await raised(AppReserved, store.take_in("bank", "n", wholes))
        assert await store.take_in("bank", by, wholes[:1]) == []
        assert await store.take_in("bank", by, wholes) == [], "what is there by execution is left alone"
        other = replace(wholes[0], head=replace(wholes[0].head, execution="other"), segments=[])
        assert await store.take_in("bank", by, [other]) == [other.head.id]
        shards = await scene.store.shards("bank")
        for whole in wholes:
            assert await store.export(shards[shard_number(whole.head.id, len(shards))], [whole.head.id]) == [whole]
        roll = await store.roll("bank")
        assert sorted(place.id for _, place in roll) == sorted(whole.head.id for whole in wholes)
        paged: list[tuple[int, Place]] = []
        while page := await store.roll("bank", (paged[-1][0], paged[-1][1].id) if paged else (0, ""), 1):
            paged += page
        assert paged == roll
        await store.reserve("bank", replace(target, is_aborted=True))
        await raised(AppReserved, store.take_in("bank", by, wholes))
        places = [place for _, place in roll]
        await store.discard("bank", by, [replace(places[0], execution="other"), *places[1:]])
        assert [place for _, place in await store.roll("bank")] == places[:1]

    @scenario
    async def test_what_was_taken_in_goes_on_in_its_new_app(self, scene: Scene) -> None:
        if not isinstance(store := scene.store, Movable):
            return
        wholes = await self._whole(scene, store)
        await store.reserve("bank", replace(KEPT, side=Side.TARGET))
        assert await store.take_in("bank", KEPT.by, wholes) == []
        (shard, *_) = shards = await scene.store.shards("bank")
        permits = [Permit("q", 5, 2**60), Permit("r", 6, 2**60)]
        for _ in range(2):
            await store.recount("bank", KEPT.by, shard, permits)
        await store.recount("bank", KEPT.by, shard, [Permit("r", 7, 2**60)])
        assert await scene.store.permits(shard, 0) == [permits[0], Permit("r", 7, 2**60)]
        await store.free("bank", KEPT.by)
        await raised(AppReserved, store.recount("bank", KEPT.by, shard, []))
        leases = {lease.shard: lease for lease in await scene.store.acquire("bank", OWNER)}
        home = shards[shard_number("a", len(shards))]
        (loaded,) = await scene.store.load(home, ["a"])
        assert loaded.seen == ["s2", "s1"]
        keys = await scene.store.deliver(home, [a_mail("a", key) for key in ("s1", "m1", "new")])
        assert keys == [Delivery.DUPLICATE, Delivery.DUPLICATE, Delivery.DELIVERED]
        append = Append(home, "a", "e1", 1, 1, 1, 2, 9, [Payload("json", None, Raw(b"3"))])
        turn = Turn(
            home, "a", "e1", 1, loaded.head.sequence, 9, consumed=["m2"], published=[Published("new", b"4", True)]
        )
        assert await scene.store.commit([Batch(leases[home], [turn], [append])], "t") == [Outcome.COMMITTED] * 2
        (loaded,) = await scene.store.load(home, ["a"])
        assert [mail.key for mail in loaded.mail] == ["m1", "new"]
        (whole,) = await store.export(home, ["a"])
        assert [one.name for one in whole.published] == ["plain", "z", "y", "new"]
        assert [item.offset for item in whole.tracks[0].items] == [1, 2, 3]

    async def _whole(self, scene: Scene, store: Movable) -> list[Whole]:
        """A run with rows of every sort, an instance that holds a claim, an entity, and one that is finished."""
        halted = a_head("a", tags={"k": "v", "l": "w"}, suspended=Halt("x", 1), more={"later": [1]}, parent="p")
        published = [Published("z", b"1", True), Published("plain", b"2"), Published("y", b"3", True)]
        waits = [
            a_call(1, details=Payload("json", None, Raw(b"5")), options=b"{}", failure=b"{}", line="f:1"),
            Wait(2, "timer", "", 5, due=6),
            Wait(3, "child", "pack", 5, on="kid"),
        ]
        await scene.start("a", halted, segment=b"[1]", opened=waits, seen=["s1", "s2"], published=published)
        await scene.committed(scene.turn("a", 1, segment=b"[2]"))
        assert await scene.appended(scene.append("a", 0, 1, 2)) == [Outcome.COMMITTED]
        await scene.deliver("a", "m1", "m2")
        parented = a_creation("b", parent_call="p 1 1", claim=Claim("b", 2**60))
        assert await scene.store.create(scene.shard("b"), parented) is None
        await scene.start("e", a_head("e", kind=ENTITY))
        await scene.start("f")
        await scene.finish("f", segment=b"[3]")
        found = [whole for id in "abef" for whole in await store.export(scene.shard(id), [id, "none", id])]
        assert [whole.head.id for whole in found] == list("abef")
        whole = found[0]
        assert (whole.segments, whole.seen) == ([Segment(1, b"[1]"), Segment(2, b"[2]")], ["s1", "s2"])
        assert whole.published == [published[1], published[0], published[2]]
        assert ([mail.key for mail in whole.mail], whole.waits) == (["m1", "m2"], waits)
        assert [(track.number, track.name, len(track.items)) for track in whole.tracks] == [(1, "charge", 2)]
        assert (found[1].parent_call, found[1].claims) == ("p 1 1", [Claim("b", 2**60)])
        places = [place for _, place in await store.roll(APP)]
        assert sorted((place.id, place.is_finished) for place in places) == [
            ("a", False),
            ("b", False),
            ("e", False),
            ("f", True),
        ]
        assert {place.id: (place.execution, place.generation, place.sequence) for place in places}["a"] == ("e1", 1, 2)
        return [replace(whole, head=replace(whole.head, app="bank")) for whole in found]
