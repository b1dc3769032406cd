"""Calls that wait in line, permits of rates, and names that one instance claims."""

from __future__ import annotations

from msgspec.structs import replace

from perdure.stores.contract import ADMITTED, QUEUED, Claim, Outcome, Permit, Wait, WaitKind
from perdure.testing.conformance.scene import Scene, a_creation
from perdure.testing.conformance.stage import Stage, scenario


class Queues(Stage):
    @scenario
    async def test_waits_in_queues_are_those_queued_or_admitted_of_unfinished_runs(self, scene: Scene) -> None:
        held = Wait(1, WaitKind.ACTIVITY, "send", 1_000)
        waits = [held, replace(held, number=2, state=QUEUED), replace(held, number=3, state=ADMITTED)]
        for id in ("a", "b", "done"):
            await scene.start(id, opened=waits)
        await scene.finish("done")
        found = await scene.store.queued(scene.shard("a"))
        assert [(call.instance, call.wait.number, call.wait.state) for call in found if call.instance == "a"] == [
            ("a", 2, QUEUED),
            ("a", 3, ADMITTED),
        ]
        assert "done" not in {call.instance for call in found}
        assert {call.instance for call in await scene.store.queued(scene.shard("b"), "a")} <= {"b"}

    @scenario
    async def test_permits_are_kept_with_their_turn_until_their_time_is_over(self, scene: Scene) -> None:
        await scene.start("a")
        shard = scene.shard("a")
        first = [Permit("q", 10, 1_500), Permit("q", 20, 9_000), Permit("r", 5, 1_400)]
        await scene.committed(scene.turn("a", 1, permits=first))
        assert await scene.store.permits(shard, 0) == first
        assert await scene.store.permits(shard, 1_500) == [Permit("q", 20, 9_000)]
        assert await scene.commit(scene.turn("a", 1, permits=[Permit("q", 30, 9_000)])) == [Outcome.CONFLICT]
        await scene.committed(replace(scene.turn("a", 2, permits=[Permit("q", 30, 9_000)]), at=2_000))
        assert await scene.store.permits(shard, 0) == [Permit("q", 20, 9_000), Permit("q", 30, 9_000), first[2]]

    @scenario
    async def test_a_claim_is_held_until_its_time_or_its_instance_is_gone(self, scene: Scene) -> None:
        shard = scene.shard("a")
        claim = Claim("name", until=2_000)
        first = replace(a_creation("a", execution="1"), claim=claim)
        assert await scene.store.create(shard, first) is None
        assert await scene.store.create(shard, first) is None, "a repetition is a success"
        other = replace(a_creation("a2", execution="2"), claim=claim)
        held = await scene.store.create(shard, other)
        assert held is not None
        assert (held.id, held.execution, held.sequence) == ("a", "1", 0)
        assert await scene.store.head(shard, "a2") is None
        late = replace(other, mail=replace(other.mail, at=2_000))
        assert await scene.store.create(shard, late) is None
        again = replace(a_creation("a3", execution="3"), claim=claim)
        assert (await scene.store.create(shard, again)) is not None

    @scenario
    async def test_a_pending_instance_that_holds_a_claim_may_begin_otherwise(self, scene: Scene) -> None:
        shard = scene.shard("a")
        start = Wait(-1, WaitKind.START, "start", 1_000, 5_000)
        claim = Claim("name", while_pending=True)
        await scene.store.create(shard, replace(a_creation("a", execution="1"), claim=claim, waits=(start,)))
        holder = await scene.store.create(shard, replace(a_creation("a2", execution="2"), claim=claim))
        assert holder is not None
        (loaded,) = await scene.store.load(shard, ["a"])
        mail = replace(loaded.mail[0], event=b'{"new":1}', at=1_100)
        assert await scene.store.renew(shard, holder, mail, replace(start, due=7_000), 1_100)
        (after,) = await scene.store.load(shard, ["a"])
        assert (after.mail, [wait.due for wait in after.waits]) == ([mail], [7_000])
        assert (after.head.sequence, after.head.updated, after.head.execution) == (1, 1_100, "1")
        assert not await scene.store.renew(shard, holder, mail, start, 1_200), "it has changed since"
        assert await scene.commit(scene.turn("a", 0, execution="1")) == [Outcome.CONFLICT]
