"""The app of a test as a supervisor runs it: one process after another on one store, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextvars import Context, copy_context
from typing import Any, TypeVar

from perdure.clock import Clock
from perdure.codec import PLAIN, Codec
from perdure.engine.engine import Engine
from perdure.engine.operations import Operations
from perdure.engine.shard import Shard
from perdure.errors import BlobMissing, Fenced, NothingMoves, StoreUnavailable
from perdure.sdk.definitions import Definitions
from perdure.sdk.gateway import Gateway
from perdure.sdk.packing.gateway import PackingGateway
from perdure.sdk.packing.worker import PackingWorker
from perdure.stores.contract import (
    Append,
    Creation,
    Delivery,
    EngineStore,
    Head,
    Lease,
    Mail,
    Outcome,
    Report,
    Transactions,
    Turn,
)
from perdure.telemetry.metrics import Metrics
from perdure.testing.backends import MemoryBackend, SqliteBackend, immediately
from perdure.testing.exact import ExactRun
from perdure.testing.faults import FaultyStore, FaultyTransactions, put_idle_away
from perdure.testing.loop import Process, SimClock
from perdure.testing.nodes import NodeDied, SimWorker
from perdure.testing.tape import Tape
from perdure.testing.trial import Trial
from perdure.testing.virtual import UNHURRIED, VirtualLoop
from perdure.testing.witness import Witness

T = TypeVar("T")
TRIES_MAX = 50
"""Processes that one request may outlive before its test is told that nobody answers."""
SETTINGS = ("slots", "activations_max", "history_events_max", "quarantine_deaths")
"""Settings of the app that its processes have in a test too."""
AGAIN_SECONDS = 0.01
"""Virtual time after which a request is tried again, and after which a killed process is followed by the next."""


class Worker(SimWorker):
    """Holds the code of an app to what it asked for before."""

    run_type = ExactRun


class Changes(Witness):
    """Notices commits, and knows which instances there are; the engine's laws are the simulator's affair."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[asyncio.Future[None]] = []

    async def next(self) -> None:
        """Wait for a commit."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def acquired(self, leases: Sequence[Lease]) -> None:
        """Whose lease is the newest is nothing to a test."""

    def purged(self, ids: Sequence[str]) -> None:
        for id in ids:
            self.tracks.pop(id, None)

    def appended(self, lease: Lease, appends: Sequence[Append], outcomes: Sequence[Outcome]) -> None:
        self._tell()

    def committed(self, lease: Lease, turns: Sequence[Turn], outcomes: Sequence[Outcome]) -> None:
        for turn, outcome in zip(turns, outcomes, strict=True):
            if outcome == Outcome.COMMITTED:
                if turn.expected is None:
                    self._begin(turn)
                for creation in turn.created:
                    self.created(creation)
        self._tell()

    def created(self, creation: Creation) -> None:
        super().created(creation)
        self._tell()

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


class HintingStore(FaultyStore):
    """A store that hints at what is delivered through it, because a file's hints are polled for, without end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._hint = asyncio.Event()

    async def create(self, shard: int, creation: Creation) -> None:
        await super().create(shard, creation)
        self._hint.set()

    async def deliver(self, shard: int, mail: Sequence[Mail]) -> list[Delivery]:
        delivered = await super().deliver(shard, mail)
        self._hint.set()
        return delivered

    async def report(self, shard: int, reports: Sequence[Report]) -> list[Outcome]:
        outcomes = await super().report(shard, reports)
        self._hint.set()
        return outcomes

    async def _deliver_again(self, shard: int, mail: Sequence[Mail]) -> None:
        await super()._deliver_again(shard, mail)
        self._hint.set()

    async def watch(self) -> AsyncIterator[None]:
        while True:
            await self._hint.wait()
            self._hint.clear()
            yield


class HintingTransactions(HintingStore, FaultyTransactions):
    """The same of a store that carries steps."""


class MemoryBlobs:
    """Where a test's offloaded payloads lie, for all of its processes."""

    def __init__(self) -> None:
        self._held: dict[str, bytes] = {}

    async def write(self, name: str, data: bytes) -> None:
        self._held[name] = data

    async def read(self, name: str) -> bytes:
        if name not in self._held:
            raise BlobMissing(f"no payload {name!r} was offloaded in this test")
        return self._held[name]

    async def delete(self, name: str) -> None:
        self._held.pop(name, None)

    async def names(self) -> AsyncIterator[str]:
        for name in list(self._held):
            yield name


class Life:
    """One process of the app, from its start to its death."""

    def __init__(self, lives: Lives, number: int) -> None:
        self.name = f"life-{number}"
        self.process = Process(self.name)
        self.died: asyncio.Future[None] = lives.loop.create_future()
        self.backend = lives.backend.connect()
        self.worker = Worker(lives.app, lives.definitions, lives.codec)
        if lives.definitions.actors:
            from perdure.blocks.actors.stage import Stage  # because most apps have no actors

            self.worker.operator = Stage(
                lives.definitions.actors, lives.codec.writer if lives.codec is not None else PLAIN
            )
        store = (HintingTransactions if isinstance(self.backend, Transactions) else HintingStore)(
            self.backend,
            lives.trial,
            lives.changes,
            lives.tape,
            crash=lambda _: lives.kill(),
            usurp=lambda: None,  # because a test has one process at a time
            log=lives.trial.log,
        )
        self.engine = Engine(
            lives.app,
            store,
            # all is read, because a test compares inputs too
            PackingWorker(self.worker, lives.codec, unread=()) if lives.codec is not None else self.worker,
            clock=lives.clock,
            owner=self.name,
            drain_seconds=0.0,
            pace=UNHURRIED,
            **lives.settings,
        )
        self.gateway = lives.packing(self.engine.operations)
        self.worker.read_with(self.gateway.events)
        self._loop = lives.loop

    async def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something inside the process. Raises NodeDied if it dies meanwhile."""
        if not self.process.alive:
            work.close()
            raise NodeDied
        task: asyncio.Task[T] = self._loop.create_task(work, name="call", context=self.process.context.copy())
        try:
            await asyncio.wait((task, self.died), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not task.done() or task.cancelled():
            raise NodeDied
        return task.result()

    def bury(self) -> None:
        for live in self.worker.opened:
            live.close()
        self.process.bury()


class Lives:
    """Keeps the app alive: when a process is killed the next one takes up its work."""

    def __init__(
        self,
        app: str,
        definitions: Definitions,
        settings: Mapping[str, Any],
        loop: VirtualLoop,
        clock: SimClock,
        trial: Trial,
        *,
        sqlite: bool,
        codec: Codec | None = None,
    ) -> None:
        self.app = app
        self.codec = codec.with_blobs(MemoryBlobs()) if codec is not None and codec.blobs is not None else codec
        self.settings = {name: settings[name] for name in SETTINGS}
        self.definitions = definitions
        self.loop = loop
        self.clock = clock
        self.trial = trial
        self.tape = Tape(trial.seed)
        self.backend = SqliteBackend() if sqlite else MemoryBackend(app)
        self.changes = Changes()
        self._sight = View(app, self.backend.look(), clock)
        self.view = self.packing(Operations(self._sight))
        self._context = copy_context()
        self._life: Life | None = None
        self._past: list[Life] = []
        self._opening: asyncio.Task[None] | None = None
        if trial.evicts:
            loop.after_step = self._evict

    async def open(self) -> None:
        """Start the first process."""
        await self._begin()

    async def close(self) -> None:
        """End the last process in good order."""
        life, self._life = self._life, None
        if self._opening is not None:
            self._opening.cancel()
        if life is not None:
            await life.call(life.engine.close())
            life.process.kill()
            self._past.append(life)

    def bury(self) -> None:
        """Take apart what killed processes left, once the loop does not run any more."""
        for life in self._past:
            life.bury()
        self.backend.close()

    def kill(self) -> None:
        """The process that runs now is gone at once: no `finally` of it runs, and its lease falls free."""
        life, self._life = self._life, None
        if life is None:
            return
        self._past.append(life)
        life.process.kill()
        self.backend.release(life.backend, life.name)
        life.died.set_result(None)
        self._opening = self.loop.create_task(self._follow(), name="supervisor", context=self.context())

    def packing(self, operations: Operations) -> Gateway:
        """The port to clients, with the app's codec in it if it has one."""
        return operations if self.codec is None else PackingGateway(operations, self.codec)

    async def ask(self, what: Callable[[Gateway], Coroutine[Any, Any, T]]) -> T:
        """Ask the process that lives until one has answered. Raises NothingMoves if none does."""
        for _ in range(TRIES_MAX):
            life = await self._living()
            try:
                return await life.call(what(life.gateway))
            except (NodeDied, StoreUnavailable, Fenced):
                await asyncio.sleep(AGAIN_SECONDS)
        raise NothingMoves(f"{TRIES_MAX} processes of app {self.app!r} did not answer; this is a defect of Perdure")

    def context(self) -> Context:
        """For tasks that outlive every process."""
        return self._context.copy()

    async def head(self, id: str) -> Head | None:
        """What the store holds of an instance now, past all faults."""
        return await self._sight.store.head(self._sight.shard_of(id), id)

    async def _living(self) -> Life:
        while self._life is None:
            if self._opening is None:
                raise NothingMoves(f"no process of app {self.app!r} runs; open the environment first")
            await asyncio.wait((self._opening,))
            self._opening.result()
        return self._life

    async def _follow(self) -> None:
        await asyncio.sleep(AGAIN_SECONDS)
        await self._begin()

    async def _begin(self) -> None:
        for _ in range(TRIES_MAX):
            life = Life(self, len(self._past) + 1)
            self._life = life
            try:
                await life.call(life.engine.open())
                return
            except NodeDied:
                return  # because whoever killed it has called the next one
            except (StoreUnavailable, Fenced):
                self._life = None
                life.process.kill()
                self._past.append(life)
                self.backend.release(life.backend, life.name)
                await asyncio.sleep(AGAIN_SECONDS)

    def _evict(self) -> None:
        if self._life is not None:
            put_idle_away(self._life.engine)


class View:
    """A node that owns nothing, through which a test looks at the store without being seen by its faults."""

    is_remote = False
    leads = False
    refusal = None
    metrics: Metrics | None = None
    announces = False

    def __init__(self, app: str, store: EngineStore, clock: SimClock) -> None:
        self.app = app
        self.store = store
        self.clock: Clock = clock
        self.owned: dict[int, Shard] = {}

    def shard_of(self, id: str) -> int:
        (shard,) = immediately(self.store.shards(self.app))
        return shard

    def owner_of(self, id: str) -> None:
        return None

    def runs(self, id: str, execution: str | None) -> bool:
        return False
