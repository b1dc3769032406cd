"""Notices for the lifecycle feed, for stores that keep them."""

from __future__ import annotations

from msgspec.structs import replace

from perdure.stores.contract import Batch, Notice, Notices, Outcome, Status, Turn
from perdure.testing.conformance.scene import Scene
from perdure.testing.conformance.stage import Stage, scenario


class Noticing(Stage):
    @scenario
    async def test_notices_come_with_their_turn_or_not_at_all(self, scene: Scene) -> None:
        store = scene.store
        if not isinstance(store, Notices):
            return  # because it keeps none, and its app has no lifecycle feed
        await scene.start("a")
        shard, lease = scene.shard("a"), scene.lease("a")
        told = [Notice("a", '{"n":"é"}'.encode()), Notice("a", b'{"n":2}')]
        head = await scene.head("a")
        good = Turn(shard, "a", head.execution, head.generation, head.sequence, 9, notices=told)
        stale = Turn(shard, "a", head.execution, head.generation, 77, 9, notices=[Notice("a", b'{"n":"never"}')])
        assert await store.commit([Batch(lease, [good, stale])], "t1") == [Outcome.COMMITTED, Outcome.CONFLICT]
        fenced = replace(lease, epoch=lease.epoch - 1)
        late = replace(good, expected=head.sequence + 1)
        assert await store.commit([Batch(fenced, [late])], "t2") == [Outcome.FENCED]
        found = await store.notices(shard, 0, 10, pending=True)
        assert [(one.instance, one.event) for one in found] == [(one.instance, one.event) for one in told]
        first, second = (one.number for one in found)
        assert 0 < first < second == await store.newest_notice(shard)
        assert await store.notices(shard, first, 1) == found[1:]

    @scenario
    async def test_a_notice_is_pending_until_it_is_told_or_given_up(self, scene: Scene) -> None:
        store = scene.store
        if not isinstance(store, Notices):
            return
        await scene.start("a")
        shard, head = scene.shard("a"), await scene.head("a")
        assert (await store.newest_notice(shard), await store.notices(shard, 0, 10)) == (0, [])
        notices = [Notice("a", f'{{"n":{n}}}'.encode()) for n in range(6)]
        turn = Turn(shard, "a", head.execution, head.generation, head.sequence, 9, notices=notices)
        assert await store.commit([Batch(scene.lease("a"), [turn])], "t") == [Outcome.COMMITTED]
        posted = await store.notices(shard, 0, 10)
        await store.told(shard, [posted[1].number, posted[0].number, 1_000_000])
        await store.give_up(shard, posted[2].number, "nobody is there")
        assert await store.notices(shard, 0, 10, pending=True) == posted[3:]
        assert await store.given_up(shard, 5) == [replace(posted[2], failure="nobody is there")]
        assert [one.number for one in await store.notices(shard, 0, 10)] == [one.number for one in posted]
        await store.trim(shard, 1)
        assert [one.number for one in await store.notices(shard, 0, 10)] == [one.number for one in posted[1:]]
        assert await store.tell_again(shard) == 1
        assert await store.notices(shard, 0, 10, pending=True) == posted[2:]
        assert await store.given_up(shard, 5) == []
        await store.trim(shard, 0)
        assert await store.notices(shard, 0, 10) == posted[2:]

    @scenario
    async def test_a_purge_that_is_told_keeps_a_notice_of_what_is_gone(self, scene: Scene) -> None:
        store = scene.store
        if not isinstance(store, Notices):
            return
        for id in ("a", "b"):
            await scene.start(id)
        shard, head = scene.shard("a"), await scene.head("a")
        ended = replace(head, status=Status.COMPLETED, finished=9, sequence=head.sequence + 1)
        turn = Turn(shard, "a", head.execution, head.generation, head.sequence, 9, ended)
        assert await store.commit([Batch(scene.lease("a"), [turn])], "t") == [Outcome.COMMITTED]
        assert await store.purge_told(shard, [Notice("a", b'{"n":1}')]) == ["a"]
        assert await store.purge_told(shard, [Notice("a", b'{"n":2}')]) == []
        assert await store.purge_told(scene.shard("b"), [Notice("b", b'{"n":3}')]) == []
        assert [one.event for one in await store.notices(shard, 0, 10)] == [b'{"n":1}']
        assert await store.head(shard, "a") is None
