"""Several nodes of one app on one store in virtual time, each of which a test can kill, freeze and cut off."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from perdure import App
from perdure.actors.pulse import LoopPulse
from perdure.clock import SECOND
from perdure.codec import encode
from perdure.engine.engine import Engine
from perdure.errors import StoreUnavailable
from perdure.history.state import InstanceState
from perdure.history.work import StartOptions
from perdure.sdk.worker import Worker
from perdure.stores.contract import Wait
from perdure.stores.memory import MemoryStore
from perdure.testing.loop import Process, SimClock, SimLoop

T = TypeVar("T")
LEASE_SECONDS = 3.0
SHARDS = 8
ROUND_TRIP_SECONDS = 0.001


class Line:
    """A node's connection: each call takes a round trip and is counted, and it can be cut."""

    def __init__(self, store: MemoryStore) -> None:
        self.calls: Counter[str] = Counter()
        self.is_cut = False
        self.loses_hints = False
        self.before: Callable[[str], Awaitable[None]] | None = None
        self._store = store

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            if self.before is not None:
                await self.before(name)
            await asyncio.sleep(ROUND_TRIP_SECONDS)
            if self.is_cut:
                raise StoreUnavailable("the line is cut")
            return await found(*args, **kwargs)

        return call

    def heart(self) -> Any:
        return self

    async def watch(self) -> Any:
        async for hint in self._store.watch():
            if not self.loses_hints:
                yield hint


class Node:
    """One process with an engine."""

    def __init__(self, world: World, name: str, app: App, **settings: Any) -> None:
        self.name = name
        self.world = world
        self.line = Line(world.store)
        self.process = Process(name)
        self.app = app
        self._settings = settings

    async def open(self) -> None:
        async def opened() -> Engine:
            settings = {"quarantine_deaths": None, "drain_seconds": 0.0, **self._settings}
            worker = settings.pop("executor", None) or Worker("shop", self.app.definitions)
            line: Any = self.line
            pulse, clock = LoopPulse(), self.world.clock
            engine = Engine("shop", line, worker, owner=self.name, clock=clock, pulse=pulse, **settings)
            if isinstance(worker, Worker):
                worker.read_with(engine.operations.events)
            await engine.open()
            return engine

        self.engine = await self.run(opened())

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """In this node's process."""
        return await self.world.loop.create_task(work, context=self.process.context)  # type: ignore[no-any-return]

    async def start(self, name: str, *args: Any, id: str = "order") -> None:
        (argument,) = args
        await self.run(self.engine.operations.start(name, encode(argument), StartOptions(id=id)))

    async def outcome(self, id: str = "order", seconds: float = 300.0) -> InstanceState:
        return await self.run(self.engine.operations.outcome(id, None, seconds))

    @property
    def claimer(self) -> Any:
        return self.engine._claimer


class World:
    """The store and the nodes; `ran` tells which nodes made attempts of what."""

    def __init__(self) -> None:
        self.loop = SimLoop(random.Random(0), seconds_max=3_000.0)
        self.clock = SimClock(self.loop, random.Random(1))
        self.store = MemoryStore(SHARDS, LEASE_SECONDS, self.clock.now)
        self.nodes: list[Node] = []

    async def node(self, name: str, app: App, **settings: Any) -> Node:
        node = Node(self, name, app, **settings)
        self.nodes.append(node)
        await node.open()
        return node

    async def waits(self, id: str = "order") -> list[Wait]:
        for shard in await self.store.shards("shop"):
            found = await self.store.waits(shard, id)
            if found:
                return found
        return []

    async def until(self, condition: Callable[[], Awaitable[bool]], seconds: float = 60.0) -> None:
        async with asyncio.timeout(seconds):
            while not await condition():
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        for node in self.nodes:
            if node.process.alive:
                await node.run(node.engine.close())

    @property
    def seconds(self) -> float:
        return self.clock.now() / SECOND


def in_world(scenario: Callable[[World], Coroutine[Any, Any, T]]) -> T:
    """Run the scenario, and close the nodes that live."""
    world = World()

    async def whole() -> T:
        try:
            return await scenario(world)
        finally:
            await world.close()

    try:
        result = world.loop.run(whole())
    finally:
        for node in world.nodes:
            node.process.bury()
    assert world.loop.failures == []
    return result
