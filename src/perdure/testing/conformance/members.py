"""Which nodes live and what they hold."""

from __future__ import annotations

from perdure.stores.contract import Member
from perdure.testing.conformance.scene import APP, OWNER, Scene
from perdure.testing.conformance.stage import Stage, scenario


class Members(Stage):
    @scenario
    async def test_what_a_beat_keeps_holds_and_what_was_taken_does_not(self, scene: Scene) -> None:
        leases = await scene.store.acquire(APP, OWNER)
        beat = await scene.store.beat(APP, Member(OWNER, slots=7), leases)
        assert {(lease.shard, lease.epoch) for lease in beat.held} == {(lease.shard, lease.epoch) for lease in leases}
        assert [member.owner for member in beat.members] == [OWNER]
        await scene.store.release(leases[:1])
        again = await scene.store.beat(APP, Member(OWNER), leases)
        assert {lease.shard for lease in again.held} == {lease.shard for lease in leases[1:]}

    @scenario
    async def test_who_leaves_is_no_member(self, scene: Scene) -> None:
        if scene.store.lease_seconds is None:
            return  # because its holder's lock says who lives
        for owner in ("b", "a"):
            await scene.store.beat(APP, Member(owner, has_code=owner == "a", slots=3, busy=2), [])
        members = await scene.store.members(APP)
        assert [(one.owner, one.has_code, one.slots, one.busy) for one in members] == [
            ("a", True, 3, 2),
            ("b", False, 3, 2),
        ]
        await scene.store.leave(APP, "b")
        assert [one.owner for one in await scene.store.members(APP)] == ["a"]
        assert await scene.store.members("bank") == []

    @scenario
    async def test_a_member_is_shown_with_what_it_told_last(self, scene: Scene) -> None:
        store = scene.store
        if store.lease_seconds is None:
            await store.acquire(APP, OWNER)
            await store.tell(APP, OWNER, b'{"pid":1}')
            await store.tell(APP, OWNER, b'{"pid":2}')
            # a store whose leases do not run out may know no members
            assert [one.about for one in await store.members(APP)] in ([], [b'{"pid":2}'])
            return
        for owner in ("a", "b"):
            await store.beat(APP, Member(owner), [])
        await store.tell(APP, "a", b'{"pid":1}')
        await store.tell(APP, "b", '{"host":"Zürich"}'.encode())
        await store.tell(APP, "a", b'{"pid":2}')
        await store.tell(APP, "nobody", b'{"pid":3}')
        told = {one.owner: one.about for one in await store.members(APP)}
        assert told == {"a": b'{"pid":2}', "b": '{"host":"Zürich"}'.encode()}
        heard = await store.beat(APP, Member("a", slots=3), [])
        assert [one.about for one in heard.members] == [None, None]  # because a beat is heard often
        assert {one.owner: one.about for one in await store.members(APP)} == told
        await store.leave(APP, "a")
        await store.beat(APP, Member("a"), [])
        assert [one.about for one in await store.members(APP)] == [None, told["b"]]
