"""An instance in memory: what comes for it while a start is refused, or a stall is found again, is not lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from perdure import App, wait_for_event
from perdure.actors.message import Message
from perdure.clock import SECOND, SystemClock
from perdure.codec import encode_arguments
from perdure.engine.engine import Engine
from perdure.engine.instance import Instance
from perdure.history.events import EventRaised, RunStarted, encode_segment
from perdure.history.work import Stall, StartOptions
from perdure.sdk.worker import Worker
from perdure.stores.contract import Batch, Halt, Head, Loaded, Outcome, Segment, Status
from perdure.stores.memory import MemoryStore
from perdure.stores.sql.runner import ThreadRunner
from perdure.stores.sql.sqlite import SqliteDatabase
from perdure.stores.sql.store import SqlStore

IDS = [f"nap-{number}" for number in range(5)]
NAP_SECONDS = 0.2


def napping(store: str) -> tuple[App, Any]:
    app = App("naps", store=store)

    @app.workflow
    async def nap() -> str:
        await asyncio.sleep(NAP_SECONDS)
        return "rested"

    return app, nap


def test_a_timer_due_during_a_refused_start_fires(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'naps.db'}"

    async def scenario() -> list[str]:
        app, nap = napping(store)
        async with app:
            for id in IDS:
                await nap.with_options(id=id).start()
        await asyncio.sleep(NAP_SECONDS)
        app, nap = napping(store)
        async with app:
            again = [nap.with_options(id=id, if_exists="return").start() for id in IDS]
            return [await handle.result(30) for handle in await asyncio.gather(*again)]

    assert asyncio.run(scenario()) == ["rested"] * len(IDS)


def test_a_turn_that_the_store_cannot_take_stands_still_and_keeps_its_results(tmp_path: Path) -> None:
    """Three arguments that fit one by one, and a turn of all that does not: nothing is run twice, nothing is lost."""
    runs: list[str] = []
    app = App("wide", store=SqlStore(SqliteDatabase(tmp_path / "wide.db", row_bytes_max=1_200_000), ThreadRunner))

    @app.activity
    async def length(text: str) -> int:
        runs.append(text[:1])
        return len(text)

    @app.workflow
    async def both() -> int:
        first = await length("c")
        return first + sum(await asyncio.gather(*(length(letter * 1_000_000) for letter in "ab1")))

    async def stalled() -> str:
        async with app:
            handle = await both.with_options(id="both").start()
            while (state := await handle.state()).stalled is None:
                await asyncio.sleep(0.02)
            return str(state.stalled.reason)

    async def resumed() -> int:
        app._store = f"sqlite:///{tmp_path / 'wide.db'}"
        async with app:
            handle = app.client.get("both")
            await handle.resume()
            return int(await handle.result(30))

    assert asyncio.run(stalled()) == "turn-too-large"
    assert asyncio.run(resumed()) == 3_000_001
    assert sorted(runs) == ["1", "a", "b", "c"]


class Behind(SystemClock):
    """The machine's clock, until it is set back."""

    behind = 0

    def now(self) -> int:
        return super().now() - self.behind


class SettingBack(MemoryStore):
    """Sets a clock back when somebody is loaded who was due by it."""

    clock: Behind | None = None

    async def load(self, shard: int, ids: Sequence[str]) -> list[Loaded]:
        if self.clock is not None:
            self.clock.behind = SECOND // 2
        return await super().load(shard, ids)


def test_a_timer_that_was_due_before_the_clock_was_set_back_fires_when_it_is_due_again() -> None:
    app, _ = napping("memory:")
    store, clock = SettingBack(), Behind()

    def engine() -> Engine:
        return Engine("naps", store, Worker("naps", app.definitions), clock=clock, quarantine_deaths=None)

    async def scenario() -> Any:
        first = engine()
        await first.open()
        await first.operations.start("nap", encode_arguments((), {}), StartOptions(id="nap"))
        await first.close()
        second = engine()
        await second.open()
        store.clock = clock
        found = await second.operations.outcome("nap", None, 30.0)
        await second.close()
        assert clock.behind
        return found.status

    assert asyncio.run(scenario()) == Status.COMPLETED


class OnceRefusing(MemoryStore):
    """Refuses the next turn, as for another sequence, once it is armed."""

    armed = False

    async def commit(self, batches: Sequence[Batch], token: str) -> list[Outcome]:
        if not self.armed:
            return await super().commit(batches, token)
        self.armed = False
        return [Outcome.CONFLICT for batch in batches for _ in batch.turns]


def spinning(store: Any, *, is_right: bool) -> App:
    app = App("spinning", store=store)

    async def wrong() -> int:
        found = await wait_for_event("n", int)
        while found:
            await asyncio.sleep(0)
        return found

    async def right() -> int:
        return await wait_for_event("n", int)

    app.workflow(name="main")(right if is_right else wrong)
    return app


async def stall(store: Any, ids: Sequence[str]) -> None:
    async with spinning(store, is_right=False) as app:
        for id in ids:
            handle = await app.client.workflow("main").with_options(id=id).start()
            await handle.raise_event("n", 7)
        while len([state async for state in app.client.list(stalled=True)]) < len(ids):
            await asyncio.sleep(0.01)


def test_a_retry_of_a_stall_that_meets_a_refused_start_reaches_the_stalled_instance(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'spinning.db'}"

    async def scenario() -> list[int]:
        await stall(store, IDS)
        async with asyncio.timeout(30), spinning(store, is_right=True) as app:
            main = app.client.workflow("main")
            again = [main.with_options(id=id, if_exists="return").start() for id in IDS]
            return [await handle.result() for handle in await asyncio.gather(*again)]

    assert asyncio.run(scenario()) == [7] * len(IDS)


def test_a_retry_of_a_stall_whose_turn_is_refused_is_made_again() -> None:
    async def scenario() -> int:
        store = OnceRefusing()
        await stall(store, ["x"])
        store.armed = True
        async with asyncio.timeout(30), spinning(store, is_right=True) as app:
            found: int = await app.client.get("x").result()
            assert not store.armed
            return found

    assert asyncio.run(scenario()) == 7


def test_a_resume_whose_turn_is_refused_is_made_again() -> None:
    async def scenario() -> int:
        store = OnceRefusing()
        await stall(store, ["x"])
        async with asyncio.timeout(30), spinning(store, is_right=False) as app:
            app.definitions.versions.clear()
            app.definitions.include(spinning(store, is_right=True).definitions)
            store.armed = True
            await app.client.get("x").resume()
            found: int = await app.client.get("x").result()
            assert not store.armed
            return found

    assert asyncio.run(scenario()) == 7


class Code:
    """Code elsewhere: it has a turn until it is told what to answer."""

    is_remote = is_ready = True

    def __init__(self) -> None:
        self.answer: Callable[[Any], None] | None = None

    def open(self, identity: Any, *, is_new: bool) -> Code:
        return self

    def gate(self) -> Any:
        return SimpleNamespace(pass_through=lambda events: events)

    def replay(self, history: Any, gate: Any) -> None: ...
    def close(self) -> None: ...

    def expects(self, token: str) -> bool:
        return False

    def advance(self, at: int, events: Sequence[Any], done: Callable[[Any], None]) -> None:
        self.answer = done


def test_what_comes_while_the_same_stall_is_found_again_is_told_to_whoever_is_loaded_next():
    stall = Stall("non-determinism", "as before", "f1")
    head = Head(
        "a", "shop", "main", "running", "e", 1, 1, 1, 1, stalled=Halt("non-determinism", 1, "as before", None, "f1")
    )
    started = Segment(1, encode_segment([RunStarted(at=1, name="main", execution="e")]))
    code, told, dropped = Code(), [], []
    services: Any = SimpleNamespace(
        shard=1,
        clock=SimpleNamespace(now=lambda: 2),
        executor=code,
        history_events_max=100,
        commands_only=False,
        lacks_code=False,
        limits_workflows=False,
        has_doors=False,
        metrics=None,
        tracing=None,
        drop=dropped.append,
        tell=lambda id, message: told.append((id, message.key)),
    )
    instance = Instance.restore(services, Loaded(head, [started], [], [], []))
    instance.tell(Message(EventRaised(name="first"), "first", stored=True))
    instance.unstall()
    assert code.answer is not None
    instance.tell(Message(EventRaised(name="meanwhile"), "meanwhile"))
    code.answer(stall)
    assert (told, dropped) == ([("a", "meanwhile")], [instance])
    assert instance.untaken() == ["first"]
