"""The processes of a simulated app: they open, close, are killed, and run an engine on a store with faults."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from perdure.actors.pulse import LoopPulse
from perdure.blocks.actors.stage import Stage as Actors
from perdure.codec import PLAIN, Codec
from perdure.engine.engine import Engine
from perdure.engine.shard import Shard
from perdure.engine.surroundings import Surroundings
from perdure.history.work import Identity, Stall
from perdure.sdk.definitions import Definitions
from perdure.sdk.gateway import Gateway
from perdure.sdk.packing.gateway import PackingGateway
from perdure.sdk.packing.worker import PackingWorker
from perdure.sdk.worker import LiveRun, Worker
from perdure.sdk.workflow import Workflow
from perdure.stores.contract import Lease, Transactions
from perdure.testing.faults import FaultyStore, FaultyTransactions
from perdure.testing.loop import Process, SimClock
from perdure.testing.scenario import APP

if TYPE_CHECKING:
    from perdure.testing.world import World

T = TypeVar("T")


class NodeDied(Exception):
    """The node that was asked is gone; whether it did what it was asked is not known."""


class Node:
    """One process of the app."""

    gateway: Gateway

    def __init__(self, world: World, number: int) -> None:
        self.name = f"node-{number}"
        self.process = Process(self.name)
        self.died: asyncio.Future[None] = world.loop.create_future()
        self.backend = world.backend.connect()
        self.is_open = False
        self.harmed_at = 0.0
        self._world = world
        self._store = (FaultyTransactions if isinstance(self.backend, Transactions) else FaultyStore)(
            self.backend,
            world.plan,
            world.witness,
            world.tape,
            crash=self._crash,
            usurp=self._usurp,
            log=world.log,
            name=self.name,
            cables=world.cables,
            harmed=self._harmed,
            gave_back=self._gave_back,
        )
        self._chance = world.tape.stream(f"tokens of {self.name}")
        skew = round((self._chance.random() - 0.5) * 2 * world.scenario.skew)
        self.clock = SimClock(world.loop, self._chance, skew)

    @property
    def alive(self) -> bool:
        return self.process.alive

    @property
    def engines(self) -> list[Engine]:
        """Those that are open, or about to be."""
        raise NotImplementedError

    @property
    def is_owner(self) -> bool:
        return any(engine.is_owner for engine in self.engines)

    @property
    def shards(self) -> list[Shard]:
        """Those that it owns, or believes to, or is just handing over."""
        return [
            shard
            for engine in self.engines
            for shard in (*engine.owned.values(), *engine._ownership._handing_over.values())
        ]

    def shard_of(self, instance: str) -> Shard | None:
        """That of an instance, if the node owns it, or believes to, or is just handing it over."""
        return next((shard for shard in self.shards if shard.shard == self._world.shard_of(instance)), None)

    async def open(self) -> None:
        await self.call(self._open())
        self.is_open = True

    async def close(self) -> None:
        """An orderly end."""
        await self.call(self._close())

    async def _open(self) -> None:
        raise NotImplementedError

    async def _close(self) -> None:
        raise NotImplementedError

    async def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something inside the node. Raises NodeDied if it dies meanwhile."""
        if not self.alive:
            work.close()
            raise NodeDied
        task: asyncio.Task[T] = self._world.loop.create_task(work, name="call", context=self.process.context.copy())
        await asyncio.wait((task, self.died), return_when=asyncio.FIRST_COMPLETED)
        if not task.done() or task.cancelled():
            raise NodeDied
        return task.result()

    def kill(self) -> None:
        """Everything of the node stops at once, and what it held in the store falls free."""
        if self.alive:
            self.is_open = False
            self.process.kill()
            self._world.backend.release(self.backend, self.name)
            if not self.died.done():
                self.died.set_result(None)

    def _crash(self, operation: str) -> None:
        if not self.is_open:
            self._world.witness.probes["crash while opening"] += 1
        self.kill()

    def _usurp(self) -> None:
        self._world.witness.probes["lease lost with an answer"] += 1
        self._world.backend.take_from_owner(self.backend, self.name)

    def _gave_back(self, leases: Sequence[Lease]) -> None:
        """Shards that are handed over, and not lost, are given back in good order."""
        for engine in self.engines:
            for shard in engine._ownership._handing_over.values():
                if shard.lease in leases and self._world.witness.is_kept(shard.lease):
                    self._world.ledger.handed_over(shard, self.harmed_at)
                    self._world.witness.probes["shard handed over in good order"] += 1

    def _harmed(self, seconds: float) -> None:
        self.harmed_at = max(self.harmed_at, self._world.loop.time() + seconds)

    def bury(self) -> None:
        self.process.bury()


class EngineNode(Node):
    """A process that runs the app's code itself."""

    def __init__(self, world: World, number: int, definitions: Definitions) -> None:
        super().__init__(world, number)
        scenario = world.scenario
        codec = scenario.codec
        self.worker = SimWorker(APP, definitions, codec)
        self._subscriptions = tuple(definitions.subscriptions.values())
        self.engine = Engine(
            APP,
            self._store,
            PackingWorker(self.worker, codec) if codec is not None else self.worker,
            clock=self.clock,
            owner=self.name,
            slots=scenario.slots,
            activations_max=scenario.activations_max,
            quarantine_deaths=scenario.quarantine_deaths,
            drain_seconds=self._chance.choice((0.0, 0.5)),
            pulse=LoopPulse(),
        )
        # notices are written and nobody tells them, because what a herald does touches no run
        self.engine.announces = True
        operations = self.engine.operations
        self.gateway = PackingGateway(operations, codec) if codec is not None else operations
        self.worker.read_with(self.gateway.events)
        if definitions.actors:
            self.worker.operator = Actors(definitions.actors, codec.writer if codec is not None else PLAIN, self.clock)

    @property
    def engines(self) -> list[Engine]:
        return [self.engine]

    async def _open(self) -> None:
        await self.engine.open()
        around = Surroundings(self.engine, PLAIN, self.worker.in_thread)
        for declared in self._subscriptions:
            await self.engine.operations.join(declared.topic, declared.group, declared.options)
        for declared in self._subscriptions:
            self.engine.consumers.add(declared.topic, declared.group, declared.receiver(around))

    async def _close(self) -> None:
        await self.engine.close()

    def bury(self) -> None:
        self.worker.bury()
        super().bury()


class SimWorker(Worker):
    """A worker that remembers the code it opened, so that a killed node's can be taken apart at the end."""

    def __init__(self, app: str, definitions: Definitions, codec: Codec | None = None) -> None:
        super().__init__(app, definitions, writer=codec.writer if codec is not None else PLAIN)
        self.opened: list[LiveRun] = []

    def open(self, identity: Identity, is_new: bool) -> LiveRun | Stall:
        live = super().open(identity, is_new)
        if not isinstance(live, Stall):
            self.opened.append(live)
        return live

    def workflow(self, name: str) -> Workflow[..., Any] | None:
        """The code of a workflow."""
        return self._workflow(name, None, is_new=True)

    def bury(self) -> None:
        """Take the code apart. Its world must be over."""
        for live in self.opened:
            live.close()
