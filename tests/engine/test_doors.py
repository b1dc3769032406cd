"""Queues of an app with several shards: their limits hold over all of them, whichever nodes die, leave or pause."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from perdure import App, Queue, Rate, Retry, activity_context
from perdure.codec import encode
from perdure.errors import StoreUnavailable
from perdure.history.events import RunResumed, RunSuspended, RunTerminated
from perdure.history.options import Limits, Place
from perdure.history.slots import DOOR, door_of
from perdure.history.work import Stall, StartOptions
from perdure.stores.contract import ADMITTED, ANSWERED, LOCKED, QUEUED, Query
from tests.engine.cluster import LEASE_SECONDS, Node, World, in_world

NARROW = Queue("narrow", concurrency=3)
FAIR = Queue("fair", concurrency=6, per_key=2)
RATED = Queue("rated", rate=Rate(5, per=10.0))
REPORTS = Queue("reports", concurrency=2)


class Bank:
    """An app whose activities note how many run at once, by key."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.begun: list[tuple[float, str]] = []
        self.on: Counter[str] = Counter()

    def app(self, node: str) -> App:
        app = App("shop", store="memory:")

        async def hold(what: str, seconds: float) -> None:
            self.running[what] += 1
            self.most[what] = max(self.most[what], self.running[what])
            self.begun.append((self.world.loop.time(), what))
            self.on[node] += 1
            try:
                await asyncio.sleep(seconds)
            finally:
                self.running[what] -= 1

        @app.activity(queue=NARROW)
        async def transfer(seconds: float) -> None:
            await hold("all", seconds)

        @app.activity(queue=FAIR)
        async def mail(key: str) -> None:
            await hold(key, 1.0)

        @app.activity(queue=RATED)
        async def ask(_: int) -> None:
            await hold("ask", 0.01)

        @app.activity(queue=NARROW, retry=Retry(max_attempts=2, initial_interval=30.0, jitter=0.0))
        async def flaky(_: int) -> None:
            await hold("all", 1.0)
            if activity_context().attempt == 1:
                raise ValueError("once")

        @app.workflow
        async def transfers(count: int) -> int:
            return len(await asyncio.gather(*(transfer(1.0) for _ in range(count))))

        @app.workflow
        async def long_transfers(count: int) -> int:
            return len(await asyncio.gather(*(transfer(20.0) for _ in range(count))))

        @app.workflow
        async def mails(key: str) -> int:
            return len(await asyncio.gather(*(mail.with_options(key=key)(key) for _ in range(3))))

        @app.workflow
        async def asks(count: int) -> int:
            return len(await asyncio.gather(*(ask(number) for number in range(count))))

        @app.workflow
        async def flakes(count: int) -> int:
            return len(await asyncio.gather(*(flaky(number) for number in range(count))))

        @app.workflow
        async def report(seconds: float) -> str:
            await hold_report(seconds)
            return "done"

        @app.activity
        async def hold_report(seconds: float) -> None:
            await hold("report", seconds)

        return app


async def nodes(world: World, bank: Bank, count: int) -> list[Node]:
    found = [await world.node(f"node-{number}", bank.app(f"node-{number}")) for number in range(count)]
    await asyncio.sleep(2 * LEASE_SECONDS)
    return found


async def finished(found: list[Node], ids: list[str], seconds: float = 600.0) -> None:
    node = next(node for node in found if node.process.alive)
    states = await asyncio.gather(*(node.outcome(id, seconds) for id in ids))
    assert {state.status for state in states} == {"completed"}


async def slots_held(world: World, queue: str) -> int:
    """How many slots the door of a queue has given."""
    return sum(wait.state == LOCKED for wait in await world.waits(door_of(queue)))


def home(found: list[Node], queue: str) -> Node:
    return next(node for node in found if node.engine.owner_of(door_of(queue)) is not None)


def test_no_more_run_at_once_than_the_queue_allows_over_all_nodes_and_all_of_them_run() -> None:
    async def scenario(world: World) -> None:
        bank = Bank(world)
        found = await nodes(world, bank, 4)
        ids = [f"order-{number}" for number in range(20)]
        for number, id in enumerate(ids):
            await found[number % 4].start("transfers", 3, id=id)
        begun = world.loop.time()
        await finished(found, ids)
        assert bank.most == {"all": 3}
        assert len(bank.begun) == 60
        assert len(bank.on) == 4
        assert world.loop.time() - begun < 60 / 3 * 1.3 + 1
        await asyncio.sleep(2.0)
        assert await world.waits(door_of("narrow")) == []

    in_world(scenario)


def test_the_limit_of_a_key_and_the_rate_hold_over_all_shards() -> None:
    async def scenario(world: World) -> None:
        bank = Bank(world)
        found = await nodes(world, bank, 3)
        ids = [f"mails-{number}" for number in range(12)]
        for number, id in enumerate(ids):
            await found[number % 3].start("mails", f"key-{number % 4}", id=id)
        await finished(found, ids)
        assert {bank.most[f"key-{number}"] for number in range(4)} == {2}
        asks = [f"asks-{number}" for number in range(6)]
        for number, id in enumerate(asks):
            await found[number % 3].start("asks", 4, id=id)
        await finished(found, asks)
        times = sorted(at for at, what in bank.begun if what == "ask")
        assert len(times) == 24
        assert all(later - earlier >= 9.5 for earlier, later in zip(times, times[5:], strict=False))

    in_world(scenario)


def test_the_next_owner_of_a_door_goes_on_counting_the_starts_of_the_one_that_died() -> None:
    async def scenario(world: World) -> None:
        bank = Bank(world)
        found = await nodes(world, bank, 3)
        door = home(found, "rated")
        other = next(node for node in found if node is not door)
        id = next(f"o-{number}" for number in range(300) if other.engine.owner_of(f"o-{number}") is not None)
        await other.start("asks", 12, id=id)
        await asyncio.sleep(1.0)
        door.process.kill()
        await finished(found, [id])
        times = sorted(at for at, _ in bank.begun)
        assert len(times) == 12
        assert all(later - earlier >= 9.5 for earlier, later in zip(times, times[5:], strict=False))

    in_world(scenario)


def test_workflows_in_a_queue_wait_for_slots_wherever_they_are() -> None:
    async def scenario(world: World) -> None:
        bank = Bank(world)
        found = await nodes(world, bank, 3)
        ids = [f"report-{number}" for number in range(10)]
        for number, id in enumerate(ids):
            options = StartOptions(id=id, place=Place("reports", Limits(concurrency=2)))
            node = found[number % 3]
            await node.run(node.engine.operations.start("report", encode(2.0), options))
        await finished(found, ids)
        assert bank.most == {"report": 2}
        assert len(bank.begun) == 10
        await asyncio.sleep(2.0)
        assert await slots_held(world, "reports") == 0

    in_world(scenario)


def test_the_node_of_the_door_is_killed_and_the_next_one_gives_no_slot_twice() -> None:
    async def scenario(world: World) -> None:
        bank = Bank(world)
        found = await nodes(world, bank, 3)
        door = home(found, "narrow")
        ids = [f"order-{number}" for number in range(300) if door.engine.owner_of(f"order-{number}") is None][:10]
        for id in ids:
            await next(node for node in found if node is not door).start("transfers", 3, id=id)
        await asyncio.sleep(2.5)
        door.process.kill()
        await finished(found, ids)
        assert bank.most == {"all": 3}
        assert len(bank.begun) == 30

    in_world(scenario)


def test_slots_of_a_killed_node_come_back_with_its_runs() -> None:
    async def scenario(world: World) -> None:
        bank = Bank(world)
        found = await nodes(world, bank, 3)
        door = home(found, "narrow")
        victim = next(node for node in found if node is not door)
        ids = [f"order-{number}" for number in range(300) if victim.engine.owner_of(f"order-{number}") is not None][:3]
        for id in ids:
            await victim.start("long_transfers", 2, id=id)
        await asyncio.sleep(5.0)
        assert await slots_held(world, "narrow") == 3
        victim.process.kill()
        bank.running.clear()
        bank.most.clear()
        await finished(found, ids)
        assert bank.most == {"all": 3}
        await asyncio.sleep(2.0)
        assert await slots_held(world, "narrow") == 0

    in_world(scenario)


def test_a_door_whose_node_pauses_gives_no_slot_under_its_old_lease() -> None:
    async def scenario(world: World) -> None:
        bank = Bank(world)
        found = await nodes(world, bank, 3)
        door = home(found, "narrow")
        ids = [f"order-{number}" for number in range(300) if door.engine.owner_of(f"order-{number}") is None][:10]
        other = next(node for node in found if node is not door)
        for id in ids:
            await other.start("transfers", 3, id=id)
        await asyncio.sleep(1.5)
        door.process.frozen_until = world.loop.time() + 3 * LEASE_SECONDS
        await finished([other], ids)
        assert bank.most == {"all": 3}
        assert len(bank.begun) == 30

    in_world(scenario)


def test_a_terminated_run_and_a_call_that_is_tried_again_leave_their_slots() -> None:
    async def scenario(world: World) -> None:
        bank = Bank(world)
        found = await nodes(world, bank, 2)
        await found[0].start("long_transfers", 9, id="long")
        await asyncio.sleep(2.0)
        owner = next(node for node in found if node.engine.owner_of("long") is not None)
        await owner.run(owner.engine.operations.command("long", None, RunTerminated(at=1), "key"))
        await asyncio.sleep(2.0)
        assert await world.waits(door_of("narrow")) == []
        bank.most.clear()
        await found[0].start("flakes", 3, id="flakes")
        await asyncio.sleep(5.0)
        assert await slots_held(world, "narrow") == 0
        begun = world.loop.time()
        await found[0].start("transfers", 6, id="transfers")
        await finished(found, ["transfers"])
        assert world.loop.time() - begun < 5
        await finished(found, ["flakes"])
        assert bank.most == {"all": 3}

    in_world(scenario)


def test_a_suspended_run_keeps_nobody_from_the_slots_that_it_cannot_use() -> None:
    async def scenario(world: World) -> None:
        bank = Bank(world)
        found = await nodes(world, bank, 2)
        await found[0].start("long_transfers", 3, id="long")
        await asyncio.sleep(2.0)
        await found[0].start("transfers", 6, id="suspended")
        await asyncio.sleep(1.0)
        await found[0].run(found[0].engine.operations.command("suspended", None, RunSuspended(at=1), "key"))
        await found[0].start("transfers", 6, id="other")
        await finished(found, ["long", "other"])
        waits = await world.waits("suspended")
        assert {wait.state for wait in waits} == {QUEUED}
        await asyncio.sleep(1.0)
        assert await slots_held(world, "narrow") == 0
        await found[0].run(found[0].engine.operations.command("suspended", None, RunResumed(at=1), "again"))
        await finished(found, ["suspended"])
        assert bank.most == {"all": 3}

    in_world(scenario)


def test_calls_of_a_run_whose_code_stands_still_take_their_slots() -> None:
    async def scenario(world: World) -> None:
        bank = Bank(world)
        found = await nodes(world, bank, 2)
        await found[0].start("long_transfers", 3, id="long")
        await found[0].start("transfers", 3, id="stalled")
        await asyncio.sleep(2.0)
        owner = next(node for node in found if node.engine.owner_of("stalled") is not None)
        await owner.run(_stall(owner, "stalled"))
        await finished(found, ["long"])
        await asyncio.sleep(5.0)
        assert {wait.state for wait in await world.waits("stalled")} == {ANSWERED}
        assert await slots_held(world, "narrow") == 0
        await owner.run(owner.engine.operations.command("stalled", None, RunResumed(at=1), "key"))
        await finished(found, ["stalled"])

    in_world(scenario)


async def _stall(node: Node, id: str) -> None:
    """Let a run stand still, as for code that cannot take its turn."""
    shard = node.engine.owner_of(id)
    assert shard is not None
    actor: Any = shard.host.get(id)
    actor._busy, actor._at = True, node.world.clock.now()
    actor._hold([], Stall("refused", "a test says so"))


def test_who_asks_while_the_store_does_not_answer_asks_again() -> None:
    async def scenario(world: World) -> None:
        bank = Bank(world)
        found = await nodes(world, bank, 2)
        failures = Counter({"deliver": 3, "create": 2})

        async def fails(name: str) -> None:
            if failures[name] > 0:
                failures[name] -= 1
                raise StoreUnavailable("not now")

        door = home(found, "narrow")
        other = next(node for node in found if node is not door)
        id = next(f"o-{number}" for number in range(300) if other.engine.owner_of(f"o-{number}") is not None)
        other.line.before = fails
        await other.start("transfers", 6, id=id)
        await finished(found, [id])
        assert failures["deliver"] == 0
        assert bank.most == {"all": 3}

    in_world(scenario)


def test_a_slot_that_nobody_holds_any_more_is_found_free() -> None:
    async def scenario(world: World) -> None:
        bank = Bank(world)
        found = await nodes(world, bank, 2)
        await found[0].start("long_transfers", 3, id="long")
        await asyncio.sleep(2.0)
        for shard in await world.store.shards("shop"):
            world.store._instances[shard].pop("long", None)  # as an operator might
        assert await slots_held(world, "narrow") == 3
        await found[0].start("transfers", 3, id="order")
        await finished(found, ["order"], 60.0)

    in_world(scenario)


def test_doors_are_among_no_workflows_and_explain_tells_the_place_in_the_whole_line() -> None:
    async def scenario(world: World) -> None:
        bank = Bank(world)
        found = await nodes(world, bank, 2)
        ids = [f"order-{number}" for number in range(6)]
        for id in ids:
            await found[0].start("long_transfers", 1, id=id)
            await asyncio.sleep(0.1)
        await asyncio.sleep(1.0)
        operations: Any = found[0].engine.operations
        told = await found[0].run(operations.explain(ids[5]))
        assert "in queue narrow, number 3 of 3 (3 at once)" in told.sentence
        assert "slots are held by" in told.sentence
        (state,) = await found[0].run(operations.queues())
        assert (state.name, state.waiting, state.running) == ("narrow", 3, 3)
        assert await found[0].run(operations.entities.find()) == ([], None)
        heads = (await world.store.find(Query(app="shop"))).heads
        assert not [head for head in heads if head.id.startswith(DOOR)]
        waits = [wait for id in ids for wait in await world.waits(id)]
        assert sum(wait.state == ADMITTED for wait in waits) == 3

    in_world(scenario)
