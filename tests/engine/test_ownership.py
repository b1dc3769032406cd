"""Several nodes on one store whose leases run out: shares, joining, leaving, dying, pausing. In virtual time, because
a machine that stands still for longer than a lease would lose it as well."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NoReturn, TypeVar

import pytest

from perdure import App
from perdure.actors.pulse import Hears, LoopPulse, Pulse, Told
from perdure.clock import SECOND
from perdure.codec import encode
from perdure.engine.engine import Engine
from perdure.errors import StoreUnavailable
from perdure.history.events import RunTerminated
from perdure.history.work import StartOptions
from perdure.sdk.worker import Worker
from perdure.stores.contract import Beat, Heart, Lease, Loaded, Member, OpenCall, Page, Query
from perdure.stores.memory import MemoryStore
from perdure.testing.faults import put_idle_away
from perdure.testing.loop import SimLoop

LEASE_SECONDS = 0.3
LOOK_SECONDS = 0.001
SHARDS = 8
START = 1_900_000_000_000_000
T = TypeVar("T")


def shop(attempts: Counter[int] | None = None) -> App:
    app = App("shop", store="memory:")
    made = Counter() if attempts is None else attempts

    @app.activity
    async def double(number: int) -> int:
        await asyncio.sleep(0.02)
        return 2 * number

    @app.activity
    async def bake(number: int) -> int:
        made[number] += 1
        await asyncio.sleep(2 * LEASE_SECONDS)
        return number

    @app.workflow
    async def oven(number: int) -> int:
        return await bake(number)

    @app.workflow
    async def inner(number: int) -> int:
        return await double(number)

    @app.workflow
    async def outer(number: int) -> int:
        return sum(await asyncio.gather(*(inner(number + place) for place in range(4))))

    @app.workflow
    async def sleeper(number: int) -> int:
        await asyncio.sleep(3_600)
        return number

    return app


class LoopClock:
    """The time of the loop that runs."""

    def now(self) -> int:
        return START + round(asyncio.get_running_loop().time() * SECOND)

    def token(self) -> str:
        return secrets.token_hex(16)


CLOCK = LoopClock()


def in_virtual_time(scenario: Callable[[], Awaitable[T]]) -> T:
    async def within() -> T:
        return await scenario()

    return SimLoop(random.Random(0), seconds_max=3_000.0).run(within())


def a_store() -> MemoryStore:
    return MemoryStore(SHARDS, LEASE_SECONDS, CLOCK.now)


@asynccontextmanager
async def node(
    store: MemoryStore,
    owner: str,
    pulse: Pulse | None = None,
    *,
    attempts: Counter[int] | None = None,
    drain_seconds: float = 0.0,
) -> AsyncIterator[Engine]:
    engine = Engine(
        "shop",
        store,
        Worker("shop", shop(attempts).definitions),
        clock=CLOCK,
        owner=owner,
        quarantine_deaths=None,
        drain_seconds=drain_seconds,
        pulse=pulse or LoopPulse(),
    )
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


class Silent(LoopPulse):
    """A pulse that a test stops, as a long pause of the process does."""

    is_silent = False

    def start(self, heart: Heart, app: str, told: Told, hears: Hears, seconds: float) -> None:
        super().start(Mute(heart, self), app, told, hears, seconds)


class Mute:
    def __init__(self, heart: Heart, pulse: Silent) -> None:
        self._heart = heart
        self._pulse = pulse

    async def beat(self, app: str, member: Member, leases: Sequence[Lease]) -> Beat:
        while self._pulse.is_silent:
            await asyncio.sleep(0.01)
        return await self._heart.beat(app, member, leases)

    async def close(self) -> None:
        await self._heart.close()


async def until_owned(*expected: tuple[Engine, int]) -> None:
    async with asyncio.timeout(30):
        while any(len(engine.owned) != count for engine, count in expected):
            await asyncio.sleep(0.01)


async def started(engine: Engine, count: int, workflow: str = "outer") -> list[str]:
    ids = [f"order-{number}" for number in range(count)]
    for number, id in enumerate(ids):
        await engine.operations.start(workflow, encode(number), StartOptions(id=id))
    return ids


def test_nodes_divide_the_shards_as_they_come_and_go() -> None:
    async def scenario() -> None:
        store = a_store()
        async with node(store, "a") as first:
            assert len(first.owned) == SHARDS
            async with node(store, "b") as second, node(store, "c") as third:
                await until_owned((first, 3), (second, 3), (third, 2))
                assert len({*first.owned, *second.owned, *third.owned}) == SHARDS
            await until_owned((first, SHARDS))

    in_virtual_time(scenario)


def test_workflows_with_children_on_all_shards_finish_while_nodes_come_and_go() -> None:
    async def scenario() -> None:
        store = a_store()
        async with node(store, "a") as first:
            ids = await started(first, 40)
            async with node(store, "b") as second:
                await until_owned((first, 4), (second, 4))
                outcomes = [await second.operations.outcome(id, None, 20) for id in ids]
        assert {state.status for state in outcomes} == {"completed"}

    in_virtual_time(scenario)


def test_a_node_that_does_not_beat_any_more_loses_its_shards_and_writes_nothing_under_its_old_leases() -> None:
    async def scenario() -> None:
        store = a_store()
        silent = Silent()
        async with node(store, "a", silent) as first:
            ids = await started(first, 40)
            silent.is_silent = True
            async with node(store, "b") as second:
                await until_owned((second, SHARDS))
                outcomes = [await second.operations.outcome(id, None, 20) for id in ids]
                silent.is_silent = False
                await until_owned((first, SHARDS // 2), (second, SHARDS // 2))
                assert not first.owned.keys() & second.owned.keys()
        assert {state.status for state in outcomes} == {"completed"}

    in_virtual_time(scenario)


def test_a_command_to_a_shard_that_leaves_at_that_moment_arrives() -> None:
    async def scenario() -> None:
        store = a_store()
        async with node(store, "a") as first:
            await first.operations.start("sleeper", encode(0), StartOptions(id="sleeper"))
            shard = first.owner_of("sleeper")
            assert shard is not None
            shard.host.drop(shard.host.get("sleeper"))
            command = asyncio.ensure_future(first.operations.command("sleeper", None, RunTerminated(at=1), "key"))
            await asyncio.sleep(0)
            first._ownership.lost(shard, "a test says so")
            await command
            state = await first.operations.outcome("sleeper", None, 10)
        assert state.status == "terminated"

    in_virtual_time(scenario)


def test_a_shard_that_is_handed_over_is_kept_until_its_attempts_have_ended() -> None:
    async def scenario() -> None:
        store, attempts = a_store(), Counter[int]()
        async with node(store, "a", attempts=attempts) as first:
            ids = await started(first, 2 * SHARDS, "oven")
            async with node(store, "b", attempts=attempts) as second:
                await until_owned((first, SHARDS // 2), (second, SHARDS // 2))
                outcomes = [await second.operations.outcome(id, None, 10) for id in ids]
        assert {state.status for state in outcomes} == {"completed"}
        assert set(attempts.values()) == {1}

    in_virtual_time(scenario)


def test_a_node_that_closes_keeps_its_shards_until_its_attempts_have_ended() -> None:
    async def scenario() -> None:
        store, attempts = a_store(), Counter[int]()
        async with node(store, "a", attempts=attempts) as first:
            async with node(store, "b", attempts=attempts, drain_seconds=10.0) as second:
                await until_owned((first, SHARDS // 2), (second, SHARDS // 2))
                ids = await started(second, 2 * SHARDS, "oven")
            outcomes = [await first.operations.outcome(id, None, 10) for id in ids]
        assert {state.status for state in outcomes} == {"completed"}
        assert set(attempts.values()) == {1}

    in_virtual_time(scenario)


def test_what_an_attempt_gave_is_written_before_its_shard_leaves_though_its_run_is_not_in_memory() -> None:
    async def scenario() -> None:
        store, attempts = Slow(SHARDS, LEASE_SECONDS, CLOCK.now), Counter[int]()
        async with node(store, "a", attempts=attempts, drain_seconds=10.0) as first:
            ids = await started(first, SHARDS, "oven")
            while attempts.total() < SHARDS:
                await asyncio.sleep(0.01)
            assert sum(map(put_idle_away, [first])) == SHARDS
        async with node(store, "b", attempts=attempts) as second:
            outcomes = [await second.operations.outcome(id, None, 10) for id in ids]
        assert {state.status for state in outcomes} == {"completed"}
        assert set(attempts.values()) == {1}

    in_virtual_time(scenario)


class Slow(MemoryStore):
    """A store that takes its time to load instances, and to tell of calls in flight, so that no shard is opened at
    once."""

    async def load(self, shard: int, ids: Sequence[str]) -> list[Loaded]:
        await asyncio.sleep(LEASE_SECONDS / 4)
        return await super().load(shard, ids)

    async def recover(self, lease: Lease, after: str = "", limit: int = 500) -> list[OpenCall]:
        await asyncio.sleep(1.5 * LEASE_SECONDS)
        return await super().recover(lease, after, limit)


def test_leases_hold_while_shards_are_opened_for_longer_than_a_lease() -> None:
    async def scenario() -> None:
        store = Slow(SHARDS, LEASE_SECONDS, CLOCK.now)
        stolen: list[Lease] = []

        async def steal() -> None:
            while await store.holder("shop") is None:
                await asyncio.sleep(LOOK_SECONDS)
            while True:
                stolen.extend(await store.acquire("shop", "thief"))
                await asyncio.sleep(LEASE_SECONDS / 10)

        thief = asyncio.ensure_future(steal())
        async with node(store, "a") as first:
            assert len(first.owned) == SHARDS
            thief.cancel()
        assert not stolen

    in_virtual_time(scenario)


def test_a_shard_that_is_lost_while_it_is_opened_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        store = Slow(1, LEASE_SECONDS, CLOCK.now)
        async with node(store, "a") as first:
            (shard,) = first.owned.values()
            first._ownership.lost(shard, "a test says so")
            while not first.owned:
                await asyncio.sleep(LOOK_SECONDS)
            (again,) = first.owned.values()
            store.expire("shop")
            (stolen,) = await store.acquire("shop", "thief")
            first._ownership.lost(again, "a test says so, before it is open")
            store.lease_seconds = None  # so that the thief keeps it
            await store.beat("shop", Member("thief"), [stolen])
            await asyncio.sleep(LEASE_SECONDS)
            names = {task.get_name() for task in asyncio.all_tasks()}
            assert not first._feed._listeners
            assert not names & {"perdure-examiner", "perdure-queues", "perdure-loader"}

    in_virtual_time(scenario)


class Broken(MemoryStore):
    """A store that fails at one shard as soon as somebody loads an instance of another one."""

    broken: int | None = None
    loads: asyncio.Event

    async def load(self, shard: int, ids: Sequence[str]) -> list[Loaded]:
        self.loads.set()
        await asyncio.sleep(LEASE_SECONDS / 4)
        return await super().load(shard, ids)

    async def queued(self, shard: int, after: str = "", limit: int = 1000) -> list[OpenCall]:
        if shard == self.broken:
            await self.loads.wait()
            raise StoreUnavailable("it fails")
        return await super().queued(shard, after, limit)


def test_a_node_that_fails_to_open_writes_what_has_ended_on_the_shards_that_it_had_opened() -> None:
    async def scenario() -> None:
        store, attempts = Broken(SHARDS, LEASE_SECONDS, CLOCK.now), Counter[int]()
        store.loads = asyncio.Event()
        async with node(store, "a", attempts=attempts) as first:
            (id,) = await started(first, 1, "oven")
            home = first.shard_of(id)
            while not attempts.total():
                await asyncio.sleep(LOOK_SECONDS)
        store.loads.clear()
        store.broken = next(shard for shard in await store.shards("shop") if shard != home)
        with pytest.raises(StoreUnavailable, match="it fails"):
            async with node(store, "b", attempts=attempts):
                raise AssertionError("it is open")
        assert attempts.total() == 2, "of the first node's attempt nothing was left"
        store.broken = None
        async with node(store, "c", attempts=attempts) as third:
            assert (await third.operations.outcome(id, None, 10)).status == "completed"
        assert attempts.total() == 2

    in_virtual_time(scenario)


class Away(MemoryStore):
    """A store whose server is away when somebody opens it, or gives something back."""

    async def open(self) -> None:
        raise StoreUnavailable("it is away")

    async def release(self, leases: Sequence[Lease]) -> None:
        raise StoreUnavailable("it is away")

    async def leave(self, app: str, owner: str) -> NoReturn:
        raise AssertionError("one who was never a member has nothing to say")


class AwayLater(Away):
    async def open(self) -> None:
        await MemoryStore.open(self)

    async def leave(self, app: str, owner: str) -> NoReturn:
        raise StoreUnavailable("it is away")


def test_a_node_leaves_a_store_that_is_away_and_lets_its_leases_run_out(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with node(AwayLater(SHARDS, LEASE_SECONDS, CLOCK.now), "a") as first:
            assert len(first.owned) == SHARDS

    in_virtual_time(scenario)
    assert "a leaves without a word, and its leases run out: it is away" in caplog.text


def test_a_node_that_cannot_open_its_store_says_so_and_nothing_else() -> None:
    async def scenario() -> None:
        async with node(Away(SHARDS, LEASE_SECONDS, CLOCK.now), "a"):
            raise AssertionError("it is open")

    with pytest.raises(StoreUnavailable, match="it is away"):
        in_virtual_time(scenario)


class Far(MemoryStore):
    """A store whose answers take a while; counts who waits for one at once."""

    waiting = waiting_max = 0

    async def find(self, query: Query, cursor: str | None = None, limit: int = 100) -> Page:
        self.waiting += 1
        self.waiting_max = max(self.waiting, self.waiting_max)
        await asyncio.sleep(0.01)
        self.waiting -= 1
        return await super().find(query, cursor, limit)


def test_shards_that_are_taken_together_do_not_wait_for_each_other() -> None:
    async def scenario() -> int:
        store = Far(SHARDS, LEASE_SECONDS, CLOCK.now)
        async with node(store, "a"):
            return store.waiting_max

    assert in_virtual_time(scenario) == SHARDS
