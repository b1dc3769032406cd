"""How much waits and how much there is, for scaling and for people."""

from __future__ import annotations

from perdure.stores.contract import (
    ANSWERED,
    ENTITY,
    FORMAT,
    OFFERED,
    QUEUED,
    Backlog,
    Census,
    Halt,
    Inspected,
    Status,
    Wait,
    WaitKind,
)
from perdure.testing.conformance.scene import APP, OWNER, Scene, a_call, a_head
from perdure.testing.conformance.stage import Stage, scenario


class Counting(Stage):
    @scenario
    async def test_the_backlog_counts_what_waits_for_a_slot(self, scene: Scene) -> None:
        assert await scene.store.backlog(APP) == Backlog(0, 0, None, 0)
        await scene.start("a", opened=[a_call(n, state=OFFERED, since=100 - n) for n in range(1, 4)])
        await scene.start("b", opened=[a_call(1)])
        await scene.start("c")
        await scene.finish("c")
        await scene.store.claim(APP, "node", "t", ["charge"], 1, 60.0)
        assert await scene.store.backlog(APP) == Backlog(2, 2, 98, 1, calls=1)

    @scenario
    async def test_the_backlog_counts_turns_that_an_owner_has_to_take(self, scene: Scene) -> None:
        await scene.start("sleeps", opened=[Wait(1, "timer", "", 5, due=2_000)])
        await scene.start("waits", opened=[Wait(1, "event", "approved", 5)])
        await scene.start("retries", opened=[a_call(1, due=2_000), a_call(2, state=ANSWERED)])
        assert await scene.store.backlog(APP, 1_999) == Backlog(3, 0, None, 0)
        assert await scene.store.backlog(APP, 2_000) == Backlog(3, 0, None, 0, ready=1, since=2_000, calls=1)
        await scene.deliver("sleeps", "m")
        await scene.deliver("waits", "m")
        await scene.deliver("waits", "n")
        assert await scene.store.backlog(APP, 2_000) == Backlog(3, 0, None, 0, ready=2, since=1_000, calls=1)
        for id, state in (("later", "held"), ("in line", QUEUED)):
            wait = Wait(0, WaitKind.START, "", 5, due=None if state == QUEUED else 3_000, state=state)
            await scene.start(id, a_head(id, status=Status.PENDING), opened=[wait])
            await scene.deliver(id, "m")
        assert await scene.store.backlog(APP, 2_999) == Backlog(5, 0, None, 0, ready=2, since=1_000, calls=2)
        assert await scene.store.backlog(APP, 3_000) == Backlog(5, 0, None, 0, ready=3, since=1_000, calls=2)
        assert await scene.store.backlog("bank", 3_000) == Backlog(0, 0, None, 0)

    @scenario
    async def test_what_stands_still_is_no_backlog(self, scene: Scene) -> None:
        halt = Halt("x", 1)
        for id, changes in (("a", {"suspended": halt}), ("b", {"stalled": halt}), ("c", {})):
            await scene.start(id, a_head(id, **changes), opened=[Wait(1, "timer", "", 5, due=6), a_call(2)])
            await scene.deliver(id, "m")
        await scene.finish("c")
        assert await scene.store.backlog(APP, 2_000) == Backlog(2, 0, None, 0)
        await scene.start("e", a_head("e", kind=ENTITY))
        await scene.deliver("e", "m")
        assert await scene.store.backlog(APP, 2_000) == Backlog(2, 0, None, 0, ready=1, since=1_000)

    @scenario
    async def test_the_census_counts_rows(self, scene: Scene) -> None:
        if not isinstance(store := scene.store, Inspected):
            return
        found = await store.census(APP)
        assert found == Census({}, 0, {}, 0, 0), found
        await scene.start("a", segment=b"[1]", opened=[a_call(1), a_call(2, state=OFFERED), Wait(3, "timer", "", 5)])
        await scene.start("b", segment=b"[1]")
        await scene.finish("b", segment=b"[2]")
        await scene.start("e", a_head("e", kind=ENTITY))
        await scene.deliver("a", "m", "n")
        assert await store.census(APP) == Census({"running": 1, "completed": 1}, 1, {"held": 1, "offered": 1}, 2, 3)
        assert await store.counts(APP) == {"running": 1, "completed": 1}
        states = await store.shard_states(APP)
        assert [(one.shard, one.number) for one in states] == [
            (id, n) for n, id in enumerate(await scene.store.shards(APP))
        ]
        assert {(one.owner, one.epoch) for one in states} == {(OWNER, scene.lease().epoch)}
        assert {one.until is None for one in states} == {scene.store.lease_seconds is None}
        size = await store.size()
        assert size is None or size > 0
        checkup = await store.check()
        assert (checkup.format, checkup.wrong, checkup.durability[0] in "ABC") == (FORMAT, [], True)
