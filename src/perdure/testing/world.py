"""One simulated world: it keeps nodes running, does them harm, and judges what is left at the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from perdure.engine.attempts import idempotency_key
from perdure.engine.shard import Shard
from perdure.engine.standstill import QUARANTINED
from perdure.errors import Fenced, StoreUnavailable
from perdure.history.entities import is_entity
from perdure.history.events import RunResumed
from perdure.history.slots import is_door
from perdure.history.state import InstanceState
from perdure.history.topic_log import decode_log
from perdure.history.topics import is_topic
from perdure.sdk.client import Client
from perdure.sdk.definitions import Definitions
from perdure.stores.contract import FINISHED, EngineStore, Head, shard_number
from perdure.testing.actor_laws import ActorLaws
from perdure.testing.backends import Backend, MemoryBackend, SqliteBackend, every_head, immediately
from perdure.testing.cables import Cables
from perdure.testing.clients import PATIENCE_SECONDS, Clients
from perdure.testing.faults import Plan, put_idle_away
from perdure.testing.ledger import Ledger
from perdure.testing.loop import PROCESS, Deadlock, Livelock, SimLoop, Spin
from perdure.testing.nodes import EngineNode, Node, NodeDied
from perdure.testing.repertoire import STAGE
from perdure.testing.scenario import APP, KILLER, Report, Scenario
from perdure.testing.tape import Tape
from perdure.testing.topic_laws import TopicLaws
from perdure.testing.witness import Witness

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


class World:
    """Runs one scenario to its end, and judges it."""

    fault_seconds = FAULT_SECONDS
    restart_seconds = 0.01
    """After which a node that is missing is started."""

    def __init__(self, tape: Tape, scenario: Scenario, plan: Plan, *, traced: bool = False) -> None:
        self.tape = tape
        self.scenario = scenario
        self.plan = plan
        self.loop = SimLoop(tape.stream("schedule"), scenario.disorder, seconds_max=SECONDS_MAX, steps_max=STEPS_MAX)
        self.backend = self._new_backend()
        self.witness = self._new_witness()
        self.cables = self._new_cables()
        is_packed = scenario.codec is not None
        self.ledger = Ledger(self.witness, self._runs_on_owner, self._made_by, self.loop.time, is_packed=is_packed)
        self.topics = TopicLaws(self.witness)
        self.actors = ActorLaws(self.witness, self._shard_here)
        if not is_packed:
            self.witness.follows += [self.topics.turn, self.actors.turn]
        self.nodes: list[Node] = []
        self._alive: list[Node] = []
        self.states: dict[str, InstanceState] = {}
        self.trace: list[str] = []
        self._traced = traced
        self._chance = tape.stream("world")
        self.kills = 0
        self._repaired = False
        self._healed = False
        self._shards: dict[int, Any] = {}
        self.clients = Clients(self)

    # -- what it is made of ---------------------------------------------------------------------------------

    def _new_backend(self) -> Backend:
        return SqliteBackend() if self.scenario.sqlite else MemoryBackend()

    def _new_witness(self) -> Witness:
        return Witness()

    def _new_cables(self) -> Cables | None:
        """None: nodes and their store are on one machine."""
        return None

    def shard_of(self, instance: str) -> int:
        """The id of the shard that an instance belongs to."""
        shards = immediately(self.backend.look().shards(APP))
        return shards[shard_number(instance, len(shards))]

    def run(self, inspect: Callable[[World, EngineStore], None]) -> Report:
        """`inspect` looks at what is left in the store before the purge."""
        STAGE.ledger, STAGE.topics, STAGE.actors = self.ledger, self.topics, self.actors
        STAGE.end_node, STAGE.here = self._end_node, self._client_here
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
        clients = [self.loop.create_task(self.clients.drive(role), name=role.id) for role in self.scenario.roles]
        _, pending = await asyncio.wait(clients, timeout=self.fault_seconds)
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
        while left := self._unfinished():
            if self.loop.time() > ends:
                self.witness.accuse("; ".join(f"{id} did not finish: {self._stuck(id)}" for id in left))
                return
            await asyncio.sleep(0.5)
        inspect(self, raw)
        if self.scenario.purges:
            await self._purge(raw)

    def _unfinished(self) -> list[str]:
        """Ids of what has not come to rest."""
        return [head.id for head in every_head(self.backend.look()) if self._has_work(head)]

    async def _purge(self, raw: EngineStore) -> None:
        for head in every_head(raw):
            if is_door(head.id):
                await raw.purge(self.shard_of(head.id), [head.id])  # as who cleans entities does
            elif head.id in self.witness.tracks:  # because its parent may have taken it along
                await self.clients.purge(head.id)
        left = self.backend.rows_left()
        if left:
            self.witness.accuse(f"a purge of everything left {left}")

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
            f"{head.id}: {self._stuck(head.id)}" for head in every_head(self.backend.look()) if self._has_work(head)
        ]
        nodes = [f"{node.name} is {'open' if node.is_open else 'not open'}" for node in self.alive]
        parts = {"asked for": sorted(+self.clients.asking), "unfinished": left, "nodes": nodes}
        return "; ".join(f"{what}: {', '.join(texts) or 'none'}" for what, texts in parts.items())

    def _has_work(self, head: Head) -> bool:
        """Whether an instance is still to end, somebody waits at a door or has not left its slot, an actor has
        something to do, or a group of a topic has messages left."""
        if not is_entity(head.id):
            return head.status not in FINISHED
        (found,) = immediately(self.backend.look().load(self.shard_of(head.id), [head.id]))
        left = decode_log(head.custom_status).groups.values() if is_topic(head.id) else ()
        return bool(found.waits or found.mail or any(group.left for group in left))

    def _stuck(self, id: str) -> str:
        raw = self.backend.look()
        found = immediately(raw.load(self.shard_of(id), [id]))
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
            alive, wanted = self.alive, self._nodes_wanted()
            if len(alive) < wanted:
                await self._open_node()
            for node in alive:
                self._harvest(node)
            await asyncio.sleep(self.restart_seconds if len(alive) < wanted else 0.25)

    def _nodes_wanted(self) -> int:
        """How many nodes there should be."""
        return 1 if self._healed else self.scenario.nodes

    async def _open_node(self) -> None:
        node = self._new_node(len(self.nodes) + 1)
        self.nodes.append(node)
        self._alive.append(node)
        try:
            await node.open()
        except (StoreUnavailable, Fenced, NodeDied) as error:
            self.log(f"{node.name} could not open: {error!r}")
            node.kill()

    def _new_node(self, number: int) -> Node:
        definitions = self._code_of(f"node-{number}")
        return EngineNode(self, number, definitions)

    def _code_of(self, name: str) -> Definitions:
        """What a process that is about to start has: it may be bad while faults last."""
        good = self._healed or self.scenario.bad is None or self._chance.random() < 0.5
        definitions = self.scenario.good if good else self.scenario.bad
        assert definitions is not None
        if not good:
            self.witness.probes["worker without the code"] += 1
        self.log(f"{name} starts{'' if good else ' with bad code'}")
        return definitions

    def _heal(self) -> None:
        """No more faults, and good code everywhere."""
        self.log("faults stop")
        self.plan.stop()
        self._healed = True
        if self.scenario.bad is not None or len(self.alive) > 1:
            for node in self.alive:
                node.kill()

    def _harvest(self, node: Node) -> None:
        for shard in node.shards:
            self._shards[id(shard)] = shard

    async def _do_mischief(self) -> None:
        for at, what in self.scenario.mischief:
            await asyncio.sleep(max(0.0, at - self.loop.time()))
            alive = [node for node in self.alive if node.is_open]
            owners = [node for node in alive if node.is_owner]
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
                self.backend.take_from_owner(node.backend, node.name)

    async def _close(self, node: Node) -> None:
        """An orderly end, as far as the store lets it."""
        node.is_open = False
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await node.close()
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
        event, key = RunResumed(at=self.clients.keys.now()), self.clients.keys.token()
        await self.clients.ask(f"the resume of {id}", lambda node: node.gateway.command(id, None, event, key))

    def _evict(self) -> None:
        """Put an idle activation away, between any two steps of the loop."""
        if not self.plan.happens("evict"):
            return
        for node in self._alive:
            if node.alive:
                evicted = sum(put_idle_away(engine) for engine in node.engines)
                self.witness.probes["eviction between turns"] += evicted

    def _runs_on_owner(self, instance: str) -> bool:
        """Whether the node whose code runs now holds the newest lease of the instance's shard."""
        shard = self._here().shard_of(instance)
        return shard is not None and self.witness.is_newest(shard.lease)

    def _made_by(self, instance: str, key: str) -> Shard | None:
        """The shard for which the node whose code runs now makes the attempt; None for one that it has claimed."""
        shard = self._here().shard_of(instance)
        return shard if shard is not None and _makes(shard, key) else None

    def _shard_here(self, id: str) -> Shard | None:
        """The shard of an instance, as the node whose code runs has taken it up."""
        return self._here().shard_of(id)

    def _client_here(self) -> Client:
        node = self._here()
        return Client(node.gateway, node.clock)

    def _here(self) -> Node:
        """The node whose code runs now."""
        process = PROCESS.get()
        return next(node for node in self.nodes if node.process is process)

    def __repr__(self) -> str:
        return f"<World of {self.tape!r}: {len(self.nodes)} nodes, {self.loop!r}>"


def _makes(shard: Shard, key: str) -> bool:
    """Whether the shard itself has an attempt of the call under way."""
    return any(idempotency_key(address) == key for address, running in shard.attempts._calls.items() if running.task)


_COUNTS = {"stale": "stale dropped", "duplicate": "duplicate dropped", "late": "late dropped"}
