"""A world whose nodes are servers: the app's code is with workers that come, go and fail as they please."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from functools import cached_property
from typing import Any

from perdure.engine.attempts import idempotency_key
from perdure.engine.engine import Engine
from perdure.engine.shard import Shard
from perdure.remote.attributes import Attributes
from perdure.remote.dispatch.attempt import AttemptWork
from perdure.remote.dispatch.dispatcher import Dispatcher
from perdure.remote.dispatch.stream import IN_FLIGHT_MAX, IN_FLIGHT_OWN_MAX, WorkerStream
from perdure.remote.dispatch.turn import TurnWork
from perdure.remote.dispatch.work import Kind, Work
from perdure.remote.hosted import Hosted
from perdure.remote.native.calls import ANSWER_PATH
from perdure.remote.native.envelope import TURN_ANSWER, read_batch
from perdure.remote.native.worker import Names, NativeWorker
from perdure.remote.requests import Capability, Flavour, OpenStream
from perdure.remote.rpc.caller import NATIVE_AGENT, Caller
from perdure.remote.rpc.calls import Unary
from perdure.remote.rpc.table import Runtime, Table, table_of
from perdure.remote.rpc.workers import Bounds
from perdure.remote.settings import ITEMS_PER_STREAM_MAX, STREAMS_MAX
from perdure.remote.wire.addresses import read_activity_address, read_turn_address
from perdure.sdk.gateway import Gateway
from perdure.sdk.scheduling import BUILT_IN
from perdure.stores.contract import EngineStore
from perdure.testing.faults import Plan
from perdure.testing.loop import Process
from perdure.testing.network import (
    ACTIVITY_LEASE_SECONDS,
    ANSWERS,
    NOTICE_SECONDS,
    TURN_DONE,
    TURN_LEASE_SECONDS,
    Manners,
    Server,
    SimChannel,
)
from perdure.testing.nodes import Node, SimWorker
from perdure.testing.scenario import APP, Scenario
from perdure.testing.strangers import AGENTS, Stranger
from perdure.testing.tape import Tape
from perdure.testing.world import World

TROUBLES = ("worker killed", "worker leaves", "stream cut", "no worker for a while")
"""What happens to workers, besides what the network does."""
OPEN_SECONDS = 10.0
ABSENT_SECONDS = (0.5, 2.0, 6.0)


class ServerNode(Server):
    """A server: an engine whose executor hands work to workers."""

    def __init__(self, world: ServersWorld, number: int) -> None:
        super().__init__(world, number)
        self.hosted = Hosted(self._store, owner=self.name, clock=self.clock, lifecycle=True)
        self.hosted.dispatcher = self.dispatcher = WatchedDispatcher(world, self)
        self._count = world.count
        self.in_time: set[str] = set()

    @cached_property
    def table(self) -> Table:  # type: ignore[override]
        """Its calls; made when the first one comes, because many servers die before."""
        runtime = Runtime("simulated", lambda _: Attributes(), lambda: None)
        table = table_of(self.hosted, runtime, Bounds(STREAMS_MAX, ITEMS_PER_STREAM_MAX))
        for path in ANSWERS:
            table.unary[path] = self._watched(table.unary[path], path)
        return table

    @property
    def engines(self) -> list[Engine]:
        engine = self.hosted._engines.get(APP)
        return [engine] if engine is not None else []

    @property
    def gateway(self) -> Gateway:  # type: ignore[override]
        operations = self.hosted.operations_of(APP)
        assert operations is not None
        return operations

    async def _open(self) -> None:
        await self.hosted.open([APP])
        for engine in self.engines:
            engine._room.total = self._world.scenario.activations_max

    async def _close(self) -> None:
        self.hosted.end_streams()
        await self.hosted.close()

    def _watched(self, handler: Unary, path: str) -> Unary:
        """A handler for answers, and a count of what becomes of them."""

        async def handle(data: bytes, caller: Caller) -> bytes:
            for what, token in _tokens(path, data):
                fate = "is out" if self.dispatcher.peek(token) else "is not out" if self.is_owner else "is another's"
                self._count(f"answer to {what} that {fate}")
                self.dispatcher.answering.add(token)
                if fate == "is out":
                    self.in_time.add(token)
            return await handler(data, caller)

        return handle


def _tokens(path: str, data: bytes) -> Iterator[tuple[str, str]]:
    """Whether each answer in a call is to a turn or to an attempt, and under which token."""
    for kind, answer in read_batch(data) if path == ANSWER_PATH else [(path, data)]:
        if kind in (TURN_ANSWER, TURN_DONE):
            yield "turn", read_turn_address(answer).token
        else:
            yield "attempt", read_activity_address(answer).token


class WatchedDispatcher(Dispatcher):
    """A dispatcher that is held to its laws, and says what it had to do."""

    def __init__(self, world: ServersWorld, node: ServerNode) -> None:
        super().__init__(world.loop.time, node.clock.token, self._told, leases=LEASES)
        self.answering: set[str] = set()
        self._world = world
        self._node = node

    def _told(self, app: str, is_ready: bool) -> None:
        self._world.count("workers are there again" if is_ready else "nobody is there to take work")
        self._node.hosted._readiness(app, is_ready)

    def disconnect(self, stream: WorkerStream) -> None:
        if stream in self.streams:
            self._world.count("work of a worker that is gone", stream.load)
        super().disconnect(stream)

    def withdraw(self, work: Work, *, tells: bool = False) -> None:
        if isinstance(work, TurnWork):
            self._world.count("turn taken back" if work.token in self._out else "turn taken back before it was out")
        super().withdraw(work, tells=tells)

    def answered(self, token: str) -> Work | None:
        if token in self._out and token not in self.answering:
            self._world.count("answer by way of another server")
        return super().answered(token)

    def tick(self) -> None:
        before = set(self._out)
        super().tick()
        self._world.count("lease of work ran out", len(before - self._out.keys()))

    def _give(self, work: Work, stream: WorkerStream) -> None:
        super()._give(work, stream)
        if work.token in self._out and not stream.is_relay:
            self._judge(work, stream)

    def _judge(self, work: Work, stream: WorkerStream) -> None:
        world, kind = self._world, work.need.kind
        in_hand = sum(one.need.kind == kind for one in stream.in_flight.values())
        if in_hand > world.bound_of(stream, kind):
            world.accuse(f"{stream!r} has {in_hand} pieces of work of kind {kind}")
        if isinstance(work, TurnWork):
            self._count_turns(work.instance)
        if isinstance(work, AttemptWork):
            attempt = work.attempt
            key = idempotency_key((attempt.instance, attempt.execution, attempt.generation, attempt.number))
            if key in world.ended and world.is_newest(self._node):
                world.accuse(f"{key} was handed out after its end was acknowledged")

    def _count_turns(self, instance: str) -> None:
        out = [
            work
            for stream in self.streams
            for work in stream.in_flight.values()
            if isinstance(work, TurnWork) and work.instance == instance
        ]
        if len(out) > 1:
            self._world.accuse(f"{len(out)} turns of {instance} are out at once")


LEASES = {Kind.TURN: TURN_LEASE_SECONDS, Kind.ACTIVITY: ACTIVITY_LEASE_SECONDS}


class Hand:
    """One process of a worker."""

    def __init__(self, world: ServersWorld, name: str, agent: str) -> None:
        self.name = name
        self.process = Process(name)
        self.channel = SimChannel(world, agent)
        self.definitions = world.code_of(name)
        self.code = SimWorker(APP, self.definitions)
        self._loop = world.loop

    @property
    def alive(self) -> bool:
        return self.process.alive

    def open(self) -> None:
        """Begin to serve."""
        self.run(self._serve(), "perdure-serve")

    async def leave(self) -> None:
        """An orderly end."""
        await self.run(self._close(), "leave")

    async def _serve(self) -> None:
        raise NotImplementedError

    async def _close(self) -> None:
        """Some SDKs just go."""

    def run(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Do it inside the process."""
        task: asyncio.Task[None] = self._loop.create_task(work, name=name, context=self.process.context.copy())
        return task

    def kill(self, notice_seconds: float) -> None:
        """All of it stops at once; its server notices after so many seconds."""
        if self.alive:
            self.process.kill()
            self.channel.cut(notice_seconds)

    def faults(self) -> list[str]:
        """What its server did that it may not do."""
        return []

    def bury(self) -> None:
        self.code.bury()
        self.process.bury()


class OwnHand(Hand):
    """Perdure's own worker."""

    def __init__(self, world: ServersWorld, name: str) -> None:
        super().__init__(world, name, f"{NATIVE_AGENT}simulated")
        chance = world.tape.stream(f"worker {name}")
        self._worker = NativeWorker(
            self.channel,
            self.code,
            Names(frozenset((*self.definitions.workflows, *BUILT_IN)), frozenset(self.definitions.activities)),
            id=name,
            slots=world.scenario.slots,
            drain_seconds=chance.choice((0.0, 0.5)),
            runs_max=chance.choice((1, 2, 2_000)),
            chance=chance.random,
        )

    async def _serve(self) -> None:
        await self._worker.open(OPEN_SECONDS)

    async def _close(self) -> None:
        await self._worker.close()


class StrangeHand(Hand):
    """A worker of a public SDK."""

    def __init__(self, world: ServersWorld, name: str) -> None:
        super().__init__(world, name, AGENTS[world.flavour])
        chance = world.tape.stream(f"worker {name}")
        is_stateful = world.flavour is Flavour.DAPR and chance.random() < 0.5
        opened = OpenStream(
            turns_max=world.turns_max,
            activities_max=world.scenario.slots,
            worker=name,
            capabilities=frozenset((Capability.STATEFUL_HISTORY,) if is_stateful else ()),
        )
        self._stranger = Stranger(
            self.channel, world.manners, world.flavour, self.code, opened, chance.choice((1, 2, 1_000))
        )

    async def _serve(self) -> None:
        await self._stranger.serve()

    def faults(self) -> list[str]:
        return self._stranger.broken


class ServersWorld(World):
    """Servers on one store, and a crew of workers."""

    fault_seconds = 15.0
    restart_seconds = 0.1

    def __init__(
        self,
        tape: Tape,
        scenario: Scenario,
        plan: Plan,
        *,
        flavour: Flavour = Flavour.PERDURE,
        traced: bool = False,
    ) -> None:
        super().__init__(tape, scenario, plan, traced=traced)
        self.flavour = flavour
        chance = self._crew = tape.stream("crew")
        self.manners = Manners(tape, self.count)
        self.is_balanced = chance.random() < 0.4
        self.turns_max = chance.choice((0, 1, 2)) if flavour is Flavour.MICROSOFT else 0
        self.ended: set[str] = set()
        self.hands: list[Hand] = []
        self._wanted = chance.choice((1, 1, 2, 3))
        self._troubles = chance.sample(TROUBLES, chance.choice((0, 1, 2, 4)))
        self._pauses: tuple[float, ...] = chance.choice(((0.05, 0.6), (0.3, 1.0, 4.0)))
        self._absent_until = 0.0

    # -- what the network and the dispatchers ask -----------------------------------------------------------------

    def count(self, what: str, times: int = 1) -> None:
        self.witness.probes[what] += times

    def accuse(self, text: str) -> None:
        self.log(f"VIOLATION {text}")
        self.witness.accuse(text)

    def some_server(self) -> Server | None:
        servers = [node for node in self.alive if node.is_open and isinstance(node, Server)]
        return self._crew.choice(servers) if servers else None

    def code_of(self, name: str) -> Any:
        return self._code_of(name)

    def bound_of(self, stream: WorkerStream, kind: Kind) -> int:
        """How many pieces of work of a kind a worker may have in hand."""
        if self.flavour is Flavour.DAPR:
            return IN_FLIGHT_MAX
        most = IN_FLIGHT_MAX if self.flavour is Flavour.MICROSOFT else IN_FLIGHT_OWN_MAX
        asked = self.scenario.slots if kind is Kind.ACTIVITY else self.turns_max
        return min(asked or most, most)

    def acknowledged(self, data: bytes, at: Server) -> None:
        """The end of an attempt is durable from now on. Of one at another server the owner may not have heard yet, and
        one that came too late ends when the attempt that is out now is called off."""
        address = read_activity_address(data)
        if isinstance(at, ServerNode) and address.token in at.in_time and self.is_newest(at):
            execution, generation, *_ = address.token.split(".")
            self.ended.add(idempotency_key((address.instance, execution, int(generation), address.number)))

    def is_newest(self, node: Node) -> bool:
        """Whether nobody has taken its shards since."""
        return any(self.witness.is_newest(shard.lease) for shard in node.shards)

    # -- the story ------------------------------------------------------------------------------------------------

    async def _main(self, inspect: Callable[[World, EngineStore], None]) -> None:
        helpers = [self._helper(self._staff(), "crew"), self._helper(self._trouble(), "troubles")]
        await super()._main(inspect)
        for helper in helpers:
            helper.cancel()

    def _new_node(self, number: int) -> Node:
        self.log(f"node-{number} starts")
        return ServerNode(self, number)

    def _runs_on_owner(self, instance: str) -> bool:
        return False  # because a worker may begin what its server has just taken back

    def _made_by(self, instance: str, key: str) -> Shard | None:
        return None  # for the same reason

    def _heal(self) -> None:
        super()._heal()
        self.manners.stop()
        self._absent_until = 0.0
        if self.scenario.bad is not None:
            for hand in self._alive_hands():
                hand.kill(0.0)

    def _alive_hands(self) -> list[Hand]:
        return [hand for hand in self.hands if hand.alive]

    async def _staff(self) -> None:
        """Start workers for those that are gone."""
        while True:
            if self.loop.time() >= self._absent_until:
                for _ in range(self._wanted - len(self._alive_hands())):
                    name = f"worker-{len(self.hands) + 1}"
                    hand = OwnHand(self, name) if self.flavour is Flavour.PERDURE else StrangeHand(self, name)
                    self.hands.append(hand)
                    hand.open()
            await asyncio.sleep(0.05)

    async def _trouble(self) -> None:
        while self._troubles and not self._healed:
            await asyncio.sleep(self._crew.choice(self._pauses))
            hands = self._alive_hands()
            if hands and not self._healed:
                await self._strike(self._crew.choice(hands), self._crew.choice(self._troubles))

    async def _strike(self, hand: Hand, what: str) -> None:
        self.count(what)
        self.log(f"{what}: {hand.name}")
        notice = self._crew.choice(NOTICE_SECONDS)
        match what:
            case "worker killed":
                hand.kill(notice)
            case "worker leaves":
                self._spawn_leave(hand)
            case "stream cut":
                hand.channel.cut(notice)
            case "no worker for a while":
                self._absent_until = self.loop.time() + self._crew.choice(ABSENT_SECONDS)
                for other in self._alive_hands():
                    other.kill(notice)

    def _spawn_leave(self, hand: Hand) -> None:
        async def leave() -> None:
            await hand.leave()
            hand.kill(0.0)

        self._helper(leave(), "leaving worker")

    def _end(self) -> None:
        for hand in self.hands:
            hand.process.kill()
            for fault in hand.faults():
                self.accuse(fault)
        super()._end()
        for hand in self.hands:
            hand.bury()
