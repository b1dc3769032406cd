"""One simulated world: nodes of one app on one store, the clients that use them, and what happens to them."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from perdure.codec import Codec, Payload, decode
from perdure.engine.engine import Engine
from perdure.engine.standstill import QUARANTINED
from perdure.errors import Fenced, InstanceNotFound, StoreUnavailable
from perdure.history.events import RunResumed, UpdateRequested
from perdure.history.state import InstanceState
from perdure.history.work import Identity, Stall, StartOptions
from perdure.sdk.client import Gateway
from perdure.sdk.definitions import Definitions
from perdure.sdk.packing.gateway import PackingGateway
from perdure.sdk.packing.worker import PackingWorker
from perdure.sdk.worker import LiveRun, Worker
from perdure.stores.contract import FINISHED, EngineStore, Head, Query, Status
from perdure.stores.memory import MemoryStore
from perdure.stores.sql.runner import InlineRunner
from perdure.stores.sql.sqlite import SqliteDatabase
from perdure.stores.sql.store import SqlStore
from perdure.testing.faults import FaultyStore, Plan, put_idle_away
from perdure.testing.ledger import Ledger
from perdure.testing.loop import PROCESS, Deadlock, Livelock, Process, SimClock, SimLoop, Spin
from perdure.testing.repertoire import STAGE
from perdure.testing.tape import Tape
from perdure.testing.witness import Witness

T = TypeVar("T")
APP = "simulated"
KILLER = "killer"
"""Name of the workflow that ends its node."""
OPERATOR_SECONDS = 1.0
FAULT_SECONDS = 30.0
"""Virtual time for which faults happen."""
LIVENESS_SECONDS = 900.0
"""Virtual time within which everything must finish once faults have stopped."""
SECONDS_MAX = 3_600.0
"""Virtual time of a whole world: all bounds above, and the purge."""
STEPS_MAX = 1_000_000
"""Callbacks of a whole world; most take some thousands."""
KILLS_MAX = 100
"""How often an instance may end its node in all: less than for ever, with any other trouble in between."""
PATIENCE_SECONDS = 60.0
"""How long a client waits for one answer before it asks again, as a client with a timeout does."""


class NodeDied(Exception):
    """The node that was asked is gone; whether it did what it was asked is not known."""


@dataclass(frozen=True)
class Command:
    """What a client sends `at` seconds after the start, and not before the effect `after` has begun or all is over."""

    at: float
    event: Callable[[int], Any]
    after: int | None = None


@dataclass(frozen=True)
class Role:
    """One instance that clients start, what they send to it, and the right outcomes: value by status."""

    id: str
    workflow: str
    input: Payload
    outcomes: Mapping[Status, Any]
    commands: tuple[Command, ...] = ()
    starts: float = 0.0
    judged: bool = True
    """Whether the value matters, besides the completion."""
    run_timeout: float | None = None
    """Seconds that the run may take."""
    purged: bool = False
    """Whether its client purges it as soon as it has finished, while others go on."""


@dataclass(frozen=True)
class Scenario:
    """What is the same for all nodes of a world. `mischief` are things done to nodes, by time."""

    roles: tuple[Role, ...]
    good: Definitions
    bad: Definitions | None = None
    sqlite: bool = False
    nodes: int = 1
    slots: int = 1_000
    activations_max: int = 2_000
    quarantine_deaths: int | None = None
    disorder: float = 0.0
    skew: int = 0
    mischief: tuple[tuple[float, str], ...] = ()
    purges: bool = False
    codec: Codec | None = None


@dataclass
class Report:
    """How a world ended."""

    violations: list[str]
    probes: Counter[str]
    digest: int
    trace: list[str]
    steps: int
    seconds: float


class Node:
    """One process of the app."""

    def __init__(self, world: World, number: int, definitions: Definitions) -> None:
        scenario = world.scenario
        self.name = f"node-{number}"
        self.process = Process(self.name)
        self.died: asyncio.Future[None] = world.loop.create_future()
        self.backend = world.backend.connect()
        self.worker = SimWorker(APP, definitions)
        store = FaultyStore(
            self.backend,
            world.plan,
            world.witness,
            world.tape,
            crash=self._crash,
            usurp=self._usurp,
            log=world.log,
        )
        chance = world.tape.stream(f"tokens of {self.name}")
        skew = round((chance.random() - 0.5) * 2 * scenario.skew)
        codec = scenario.codec
        self.engine = Engine(
            APP,
            store,
            PackingWorker(self.worker, codec) if codec is not None else self.worker,
            clock=SimClock(world.loop, chance, skew),
            owner=self.name,
            slots=scenario.slots,
            activations_max=scenario.activations_max,
            quarantine_deaths=scenario.quarantine_deaths,
            drain_seconds=chance.choice((0.0, 0.5)),
        )
        operations = self.engine.operations
        self.gateway: Gateway = PackingGateway(operations, codec) if codec is not None else operations
        self.is_open = False
        self._world = world

    @property
    def alive(self) -> bool:
        return self.process.alive

    async def open(self) -> None:
        await self.call(self.engine.open())
        self.is_open = True

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
        self._world.backend.take_from_owner(self.backend)

    def bury(self) -> None:
        for live in self.worker.opened:
            live.close()
        self.process.bury()


class SimWorker(Worker):
    """A worker that remembers the code it opened, so that a killed node's can be taken apart at the end."""

    def __init__(self, app: str, definitions: Definitions) -> None:
        super().__init__(app, definitions)
        self.opened: list[LiveRun] = []

    def open(self, identity: Identity, is_new: bool) -> LiveRun | Stall:
        live = super().open(identity, is_new)
        if not isinstance(live, Stall):
            self.opened.append(live)
        return live


class MemoryBackend:
    """One store in memory, which all nodes of the app share."""

    def __init__(self, app: str = APP) -> None:
        self._store = MemoryStore()
        self._app = app

    def connect(self) -> EngineStore:
        return self._store

    def look(self) -> EngineStore:
        return self._store

    def release(self, store: EngineStore, owner: str) -> None:
        if immediately(self._store.holder(self._app)) == owner:
            self._store.expire(self._app)

    def take_from_owner(self, store: EngineStore) -> None:
        """Let another node have the shards while this one still believes in its lease."""
        self._store.expire(self._app)

    def rows_left(self) -> list[str]:
        return [f"instance {head.id}" for head in every_head(self._store)]

    def close(self) -> None:
        """Nothing of it outlives the object."""


class SqliteBackend:
    """One SQLite file; each node has connections and a lock of its own."""

    def __init__(self) -> None:
        place = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a directory of its own is made in it
        self._directory = tempfile.mkdtemp(prefix="perdure-simulation-", dir=place)
        self._path = Path(self._directory) / "store.db"
        self._databases: dict[int, SqliteDatabase] = {}
        self._view: EngineStore | None = None

    def connect(self) -> EngineStore:
        database = SqliteDatabase(self._path, "off")  # because nobody pulls this machine's plug
        store = SqlStore(database, InlineRunner)
        self._databases[id(store)] = database
        return store

    def look(self) -> EngineStore:
        """A view of what is stored, apart from all nodes."""
        if self._view is None:
            self._view = self.connect()
            immediately(self._view.open())
        return self._view

    def release(self, store: EngineStore, owner: str) -> None:
        immediately(store.close())

    def take_from_owner(self, store: EngineStore) -> None:
        """Let another node have the lock while this one still believes in its lease."""
        self._databases[id(store)].disown()

    def rows_left(self) -> list[str]:
        connection = SqliteDatabase(self._path, "off").connect(write=False)
        try:
            tables = [name for (name,) in connection.rows("select name from sqlite_master where type = 'table'")]
            kept = {"perdure_meta", "perdure_shard", "perdure_permit"}
            counts = {
                name: connection.row(f"select count(*) from {name}")  # noqa: S608 - the names are the schema's
                for name in tables
                if name not in kept
            }
            return [f"{count[0]} rows of {name}" for name, count in counts.items() if count and count[0]]
        finally:
            connection.close()

    def close(self) -> None:
        if self._view is not None:
            immediately(self._view.close())
        shutil.rmtree(self._directory, ignore_errors=True)


class World:
    """Runs one scenario to its end, and judges it."""

    def __init__(self, tape: Tape, scenario: Scenario, plan: Plan, *, traced: bool = False) -> None:
        self.tape = tape
        self.scenario = scenario
        self.plan = plan
        self.loop = SimLoop(tape.stream("schedule"), scenario.disorder, seconds_max=SECONDS_MAX, steps_max=STEPS_MAX)
        self.backend = SqliteBackend() if scenario.sqlite else MemoryBackend()
        self.witness = Witness()
        self.ledger = Ledger(self.witness, self._runs_on_owner)
        self.nodes: list[Node] = []
        self._alive: list[Node] = []
        self.states: dict[str, InstanceState] = {}
        self.trace: list[str] = []
        self._traced = traced
        self._chance = tape.stream("world")
        self._keys = SimClock(self.loop, tape.stream("keys"))
        self.kills = 0
        self._repaired = False
        self._healed = False
        self._asking: Counter[str] = Counter()
        self._shards: dict[int, Any] = {}

    def run(self, inspect: Callable[[World, EngineStore], None]) -> Report:
        """`inspect` looks at what is left in the store before the purge."""
        STAGE.ledger, STAGE.end_node = self.ledger, self._end_node
        log = logging.getLogger("perdure")
        level = log.level
        log.setLevel(logging.CRITICAL)  # because a world is full of faults, and the trace tells them better
        accuse = self.witness.accuse
        try:
            self.loop.run(self._main(inspect))
        except (Deadlock, Spin, Livelock) as error:
            accuse(f"{type(error).__name__}: {error}; {self._unsettled()}")
        finally:
            log.setLevel(level)
            self._end()
        for failure in self.loop.failures:
            accuse(f"unhandled: {failure}")
        return Report(
            self.witness.violations,
            self.witness.probes,
            self.loop.digest,
            self.trace,
            self.loop.steps,
            self.loop.time(),
        )

    def log(self, text: str) -> None:
        process = PROCESS.get()
        text = f"{process.name if process else 'world':<8} {text}"
        self.loop.note(text)
        if self._traced:
            self.trace.append(f"{self.loop.time():10.3f} {text}")

    # -- the story ------------------------------------------------------------------------------------------

    async def _main(self, inspect: Callable[[World, EngineStore], None]) -> None:
        if self.plan.evicts:
            self.loop.after_step = self._evict
        keeper = self._helper(self._keep(), "keeper")
        mischief = self._helper(self._do_mischief(), "mischief")
        operator = self._helper(self._operate(), "operator")
        clients = [self.loop.create_task(self._drive(role), name=role.id) for role in self.scenario.roles]
        _, pending = await asyncio.wait(clients, timeout=FAULT_SECONDS)
        mischief.cancel()
        self._heal()
        if pending:
            _, pending = await asyncio.wait(pending, timeout=LIVENESS_SECONDS)
        for client in clients:
            if client in pending:
                self.witness.accuse(f"{client.get_name()} did not finish: {self._stuck(client.get_name())}")
            elif client.exception() is not None:
                self.witness.accuse(f"the client of {client.get_name()} met {client.exception()!r}")
        if not self.witness.violations:
            await self._settle(inspect)
        keeper.cancel()
        operator.cancel()

    def _helper(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """A task of the world itself, which is a violation if it dies of an error: nobody else would hear of it."""

        def look(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None:
                self.witness.accuse(f"the world's {name} died of {task.exception()!r}")

        task: asyncio.Task[None] = self.loop.create_task(work, name=name)
        task.add_done_callback(look)
        return task

    async def _settle(self, inspect: Callable[[World, EngineStore], None]) -> None:
        """Detached children and late mail come to rest; then what is stored is looked at, and purged."""
        raw = self.backend.look()
        ends = self.loop.time() + LIVENESS_SECONDS
        while left := [head.id for head in every_head(raw) if head.status not in FINISHED]:
            if self.loop.time() > ends:
                self.witness.accuse("; ".join(f"{id} did not finish: {self._stuck(id)}" for id in left))
                return
            await asyncio.sleep(0.5)
        inspect(self, raw)
        if self.scenario.purges:
            await self._purge(raw)

    async def _purge(self, raw: EngineStore) -> None:
        for head in every_head(raw):
            if head.id in self.witness.tracks:  # because its parent may have taken it along
                await self._purge_one(head.id)
        left = self.backend.rows_left()
        if left:
            self.witness.accuse(f"a purge of everything left {left}")

    async def _purge_one(self, id: str) -> None:
        try:
            await self._ask(f"purge {id}", lambda node: node.gateway.purge(id, None, True))
        except InstanceNotFound:
            return  # because a purge whose answer was lost has happened
        self.witness.probes["purged"] += 1

    def _end(self) -> None:
        for node in self.nodes:
            node.kill()
        for node in self.nodes:
            self._harvest(node)
            node.bury()
        for shard in self._shards.values():
            for name, count in shard.counts.items():
                self.witness.probes[_COUNTS.get(name, name.replace("stalled:", "stalled: "))] += count
            self.witness.probes["eviction by the host"] += shard.host.evictions
        self.backend.close()

    def _unsettled(self) -> str:
        """What keeps the world from its end, for people."""
        left = [
            f"{head.id}: {self._stuck(head.id)}"
            for head in every_head(self.backend.look())
            if head.status not in FINISHED
        ]
        nodes = [f"{node.name} is {'open' if node.is_open else 'not open'}" for node in self.alive]
        parts = {"asked for": sorted(+self._asking), "unfinished": left, "nodes": nodes}
        return "; ".join(f"{what}: {', '.join(texts) or 'none'}" for what, texts in parts.items())

    def _stuck(self, id: str) -> str:
        raw = self.backend.look()
        (shard,) = immediately(raw.shards(APP))
        found = immediately(raw.load(shard, [id]))
        if not found:
            return "it is not in the store"
        head, waits = found[0].head, found[0].waits
        mail = [one.event.decode()[:100] for one in found[0].mail]
        halts = f"suspended {head.suspended}, stalled {head.stalled}"
        place = f"{head.status} at turn {head.sequence} of run {head.generation}"
        return f"{place}, {halts}, waits {waits}, mail {mail}"

    # -- nodes ----------------------------------------------------------------------------------------------

    @property
    def alive(self) -> list[Node]:
        """The nodes that have not died, in the order of their starts; a world buries hundreds."""
        self._alive = [node for node in self._alive if node.alive]
        return self._alive

    async def _keep(self) -> None:
        """Start nodes for those that died, as a supervisor of processes does."""
        while True:
            alive = self.alive
            wanted = 1 if self._healed else self.scenario.nodes
            if len(alive) < wanted:
                await self._open_node()
            for node in alive:
                self._harvest(node)
            await asyncio.sleep(0.01 if len(alive) < wanted else 0.25)

    async def _open_node(self) -> None:
        good = self._healed or self.scenario.bad is None or self._chance.random() < 0.5
        definitions = self.scenario.good if good else self.scenario.bad
        assert definitions is not None
        if not good:
            self.witness.probes["worker without the code"] += 1
        node = Node(self, len(self.nodes) + 1, definitions)
        self.nodes.append(node)
        self._alive.append(node)
        self.log(f"{node.name} starts{'' if good else ' with bad code'}")
        try:
            await node.open()
        except (StoreUnavailable, Fenced, NodeDied) as error:
            self.log(f"{node.name} could not open: {error!r}")
            node.kill()

    def _heal(self) -> None:
        """No more faults, and good code everywhere."""
        self.log("faults stop")
        self.plan.stop()
        self._healed = True
        if self.scenario.bad is not None or len(self.alive) > 1:
            for node in self.alive:
                node.kill()

    def _harvest(self, node: Node) -> None:
        for shard in node.engine.owned.values():
            self._shards[id(shard)] = shard

    async def _do_mischief(self) -> None:
        for at, what in self.scenario.mischief:
            await asyncio.sleep(max(0.0, at - self.loop.time()))
            alive = [node for node in self.alive if node.is_open]
            owners = [node for node in alive if node.engine.is_owner]
            for node in (owners or alive)[:1]:
                await self._harm(node, what, len(alive))

    async def _harm(self, node: Node, what: str, alive: int) -> None:
        probes = self.witness.probes
        self._harvest(node)
        self.log(f"{what}: {node.name}")
        match what:
            case "crash":
                probes["crash on purpose"] += 1
                node.kill()
            case "close":
                await self._close(node)
            case "takeover" | "freeze" if alive > 1:
                probes["takeover from a living owner"] += 1
                if what == "freeze":
                    probes["owner frozen during a takeover"] += 1
                    node.process.frozen_until = self.loop.time() + self._chance.choice((0.3, 2.0, 8.0))
                self.backend.take_from_owner(node.backend)

    async def _close(self, node: Node) -> None:
        """An orderly end, as far as the store lets it."""
        node.is_open = False
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await node.call(node.engine.close())
        except (StoreUnavailable, Fenced, NodeDied, TimeoutError) as error:
            self.log(f"{node.name} could not close: {error!r}")
        finally:
            node.kill()  # also when the faults stop meanwhile, because nobody starts another while this one lives

    def _end_node(self) -> bool:
        """What a killer does to its node."""
        if self._repaired:
            return False
        self.kills += 1
        if self.kills > KILLS_MAX:
            self.witness.accuse(f"an instance ended its node {KILLS_MAX} times and still runs")
            self._repaired = True
            return False
        if any(head.name == KILLER and head.stalled is not None for head in every_head(self.backend.look())):
            self.witness.accuse("an instance ended its node while it stood still")
        node = self._here()
        self.log(f"{node.name} is ended by an instance")
        self.witness.probes["node ended by an instance"] += 1
        node.kill()
        return True

    async def _operate(self) -> None:
        """Repair and resume what is quarantined, as people do, who cannot know whether it was rightly accused."""
        while self.scenario.quarantine_deaths is not None:
            await asyncio.sleep(OPERATOR_SECONDS)
            for head in every_head(self.backend.look()):
                if head.stalled is not None and head.stalled.reason == QUARANTINED:
                    self._repaired = self._repaired or head.name == KILLER
                    self.log(f"{head.id} is resumed by the operator")
                    await self._resume(head.id)

    async def _resume(self, id: str) -> None:
        event, key = RunResumed(at=self._keys.now()), self._keys.token()
        await self._ask(f"the resume of {id}", lambda node: node.gateway.command(id, None, event, key))

    def _evict(self) -> None:
        """Put an idle activation away, between any two steps of the loop."""
        if not self.plan.happens("evict"):
            return
        for node in self._alive:
            if node.alive:
                self.witness.probes["eviction between turns"] += put_idle_away(node.engine)

    def _runs_on_owner(self) -> bool:
        return any(self.witness.is_newest(shard.lease) for shard in self._here().engine.owned.values())

    def _here(self) -> Node:
        """The node whose code runs now."""
        process = PROCESS.get()
        return next(node for node in self.nodes if node.process is process)

    # -- clients --------------------------------------------------------------------------------------------

    async def _drive(self, role: Role) -> None:
        await asyncio.sleep(role.starts)
        await self._start(role)
        for command in role.commands:
            await asyncio.sleep(max(0.0, role.starts + command.at - self.loop.time()))
            await self._see_begun(role, command.after)
            await self._command(role, command)
        state = await self._ask(
            f"the outcome of {role.id}", lambda node: node.gateway.outcome(role.id, None, PATIENCE_SECONDS)
        )
        self.states[role.id] = state
        status = Status(state.status)
        if status not in role.outcomes:
            failure = state.failure
            self.witness.accuse(
                f"{role.id} ended {state.status} ({failure and failure.type}: {failure and failure.message})"
            )
        elif role.judged and state.status == Status.COMPLETED and decode(state.output) != role.outcomes[status]:
            self.witness.accuse(f"{role.id} gave {decode(state.output)}, not {role.outcomes[status]}")
        if role.purged:
            await self._purge_one(role.id)

    async def _start(self, role: Role) -> None:
        tries = 0
        timeout = None if role.run_timeout is None else round(role.run_timeout * 1_000_000)
        options = StartOptions(id=role.id, run_timeout=timeout)

        async def start(gateway: Gateway) -> None:
            nonlocal tries
            tries += 1
            if tries > 1:
                self.witness.probes["start repeated"] += 1
                try:
                    await gateway.state(role.id, None)
                    return
                except InstanceNotFound:
                    pass  # because then nothing of the first try has reached the store
            await gateway.start(role.workflow, role.input, options)

        await self._ask(f"the start of {role.id}", lambda node: start(node.gateway))
        self.log(f"{role.id} is started")
        if role.id not in self.witness.tracks:
            self.witness.accuse(f"{role.id} was said to be started and is not stored")

    async def _see_begun(self, role: Role, mark: int | None) -> None:
        while (
            mark is not None
            and not self.ledger.begun_marks[role.id, mark]
            and not self.witness.tracks[role.id].finished
        ):
            await asyncio.sleep(0.005)

    async def _update(self, role: Role, event: UpdateRequested) -> None:
        """Ask until answered, as a careful client does: the desk doubles a number above 0 and refuses any other."""
        answer = await self._ask(
            f"an answer of {role.id}", lambda node: node.gateway.update(role.id, None, event, True)
        )
        number = decode(event.data)
        right = answer.refused if number <= 0 else answer.result is not None and decode(answer.result) == 2 * number
        if not right:
            self.witness.accuse(f"{role.id} was asked for {number} and answered {answer}")
        self.witness.probes["update refused" if answer.refused else "update answered"] += 1

    async def _command(self, role: Role, command: Command) -> None:
        event = command.event(self._keys.now())
        if isinstance(event, RunResumed):
            await self._ask(f"the suspension of {role.id}", lambda node: _suspended_or_over(node.gateway, role.id))
        key = self._keys.token()
        again = self.plan.happens("twice")
        for _ in range(1 + again):
            if isinstance(event, UpdateRequested):
                await self._update(role, event)
                continue
            await self._ask(
                f"{type(event).__name__} to {role.id}",
                lambda node: node.gateway.command(role.id, None, event, key),
            )
            self.log(f"{type(event).__name__} {getattr(event, 'name', '')} is sent to {role.id}")
        self.witness.probes["command repeated"] += again

    async def _ask(self, what: str, ask: Callable[[Node], Awaitable[T]]) -> T:
        """Ask some node until one answers."""
        self._asking[what] += 1
        try:
            while True:
                nodes = [node for node in self.alive if node.is_open]
                if not nodes:
                    await asyncio.sleep(0.02)
                    continue
                try:
                    node = self._chance.choice(nodes)
                    return await node.call(_asked(ask, node))
                except (StoreUnavailable, Fenced, NodeDied, TimeoutError):
                    await asyncio.sleep(0.05)
        finally:
            self._asking[what] -= 1

    def __repr__(self) -> str:
        return f"<World of {self.tape!r}: {len(self.nodes)} nodes, {self.loop!r}>"


async def _suspended_or_over(gateway: Gateway, id: str) -> None:
    """Wait until a suspension is seen, because a command may overtake one that went through another node."""
    while True:
        state = await gateway.state(id, None)
        if state.suspended is not None or state.is_finished:
            return
        await asyncio.sleep(0.1)


async def _asked(what: Callable[[Node], Awaitable[T]], node: Node) -> T:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await what(node)


_COUNTS = {"stale": "stale dropped", "duplicate": "duplicate dropped", "late": "late dropped"}


def immediately(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    work.close()
    raise AssertionError("the coroutine waits for something")


def every_head(store: EngineStore) -> list[Head]:
    """The heads of all instances."""
    heads: list[Head] = []
    cursor: str | None = None
    while True:
        page = immediately(store.find(Query(kind=None), cursor, 200))
        heads.extend(page.heads)
        cursor = page.cursor
        if cursor is None:
            return heads
