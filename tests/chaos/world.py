"""One run: a store, nodes that come and go, work for them, the nemesis, and the story of it all for the checker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from perdure import Client
from perdure.errors import StoreError
from perdure.events import EventRaised
from tests.chaos import ledger, nemesis
from tests.chaos.cable import Cable, Mode
from tests.chaos.checker import Fault, Run, Story
from tests.chaos.nemesis import Harm
from tests.chaos.program import EVENTS, KINDS, app, event_of, expected, instances_of
from tests.chaos.proxy import Proxy
from tests.chaos.stores import Store

OPEN_SECONDS_MAX = 60.0
LEAVE_SECONDS_MAX = 60.0
QUIET_SECONDS_MAX = 90.0
"""After the last harm, all work must be done within this time, where nothing else is said."""
AGAIN_SECONDS = 0.2
"""After which what the store did not take is asked again."""
FLAP_SECONDS = 0.3
LOOK_SECONDS = 0.05
ROOT = Path(__file__).resolve().parents[2]
T = TypeVar("T")
MakeCable = Callable[[int], Cable]
"""To the store at a port."""


class Node:
    """One process."""

    def __init__(self, name: str, cable: Cable, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.cable = cable
        self.process = process
        self.is_troubled = False
        """Whether a harm is being done to it, so that no other is."""

    def signal(self, number: int) -> None:
        # not by the process object, because that would look for its end itself and take it from the loop
        os.kill(self.process.pid, number)

    def __repr__(self) -> str:
        return f"<{self.name}, process {self.process.pid}>"


class World:
    """Nodes on one store, and what has been done to them. `folder` keeps ledgers and logs; the program says which
    `settings` it has."""

    def __init__(
        self, store: Store, folder: Path, lease_seconds: float, make_cable: MakeCable = Proxy, **settings: int | str
    ) -> None:
        self.store = store
        self.folder = folder
        self.lease_seconds = lease_seconds
        self._make_cable = make_cable
        self._environment = os.environ | {f"CHAOS_{name.upper()}": str(value) for name, value in settings.items()}
        self.nodes: list[Node] = []
        self.faults: list[Fault] = []
        self.done: Counter[str] = Counter()
        self.wanted: dict[str, int] = {}
        self.got: dict[str, int] = {}
        self.instances = 0
        self.errors: list[str] = []
        self._names = 0
        self._is_store_troubled = False
        self._cables: list[Cable] = []

    # -- nodes ----------------------------------------------------------------------------------------------------

    async def join(self) -> Node:
        """A new node, which has said that it is open."""
        self._names += 1
        name = f"node-{self._names}"
        cable = self._make_cable(self.store.port)
        await cable.start()
        self._cables.append(cable)
        with (self.folder / f"{name}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(*cable.prefix, sys.executable, "-m", "tests.chaos.program"),
                *(
                    self.store.url(cable.host, cable.port, self.lease_seconds),
                    str(self.folder / f"{name}.ledger"),
                    name,
                ),
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env=self._environment,
            )
        node = Node(name, cable, process)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(OPEN_SECONDS_MAX):
                line = await process.stdout.readline()
        except TimeoutError:
            node.signal(signal.SIGKILL)
            line = b""
        if line != b"open\n":
            # because the store may be away just then
            await process.wait()
            raise NotOpen(name)
        self.nodes.append(node)
        return node

    async def join_surely(self) -> Node:
        """As `join`, again if the node could not open its store. Raises NotOpen if that goes on."""
        while True:
            try:
                return await self.join()
            except NotOpen:
                self.done[NOT_OPEN] += 1
                if self.done[NOT_OPEN] >= NOT_OPEN_MAX:
                    raise

    async def kill(self, node: Node) -> None:
        """As a crash ends it."""
        self.nodes.remove(node)
        self.faults.append(Fault(nemesis.KILL, node.name, time.time()))
        node.signal(signal.SIGKILL)
        await node.process.wait()

    async def leave(self, node: Node) -> None:
        """Let it end in good order, which is no excuse for anything."""
        self.nodes.remove(node)
        node.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(LEAVE_SECONDS_MAX):
                code = await node.process.wait()
        except TimeoutError:
            code = None
            node.signal(signal.SIGKILL)
            await node.process.wait()
        if code != 0:
            log = (self.folder / f"{node.name}.log").read_text()
            self.errors.append(f"{node.name} was to leave and ended with {code}: {log[-1_000:]}")

    async def close(self) -> None:
        """End everything."""
        for node in self.nodes:
            with contextlib.suppress(ProcessLookupError):
                node.signal(signal.SIGKILL)
            await node.process.wait()
        for cable in self._cables:
            await cable.stop()

    # -- work -----------------------------------------------------------------------------------------------------

    async def work(self, dice: random.Random, until: float, pause_seconds: float) -> None:
        """Start workflows until some time by `time.monotonic`, and see all of them through."""
        async with self.client() as client, asyncio.TaskGroup() as tasks:
            number = 0
            while time.monotonic() < until:
                kind = KINDS[number % len(KINDS)].name
                tasks.create_task(self._one(client, kind, dice.randrange(1_000), number, dice))
                number += 1
                await asyncio.sleep(pause_seconds * dice.uniform(0.5, 1.5))

    async def _one(self, client: Client, kind: str, seed: int, number: int, dice: random.Random) -> None:
        """Start one, tell it what it listens to, and wait for its end."""
        id = f"{kind}-{number}"
        self.wanted[id] = expected(kind, seed)
        self.instances += instances_of(kind)
        start = client.workflow(kind).with_options(id=id, if_exists="return").start
        handle = await _again(lambda: start(seed))
        if kind == "listen":
            for name in EVENTS:
                await asyncio.sleep(dice.uniform(0, 0.5))
                await self._tell(client, id, name, event_of(seed, name))
        self.got[id] = await _again(handle.result)

    async def _tell(self, client: Client, id: str, name: str, value: int) -> None:
        """Send an event under a key of its own, so that it is the same one when it has to be sent again."""
        event = EventRaised(at=client.now(), name=name, data=client.writer.encode(value))
        await _again(lambda: client.gateway.command(id, None, event, f"{id}.{name}"))

    def client(self) -> Client:
        """Not yet open."""
        # straight to the server, because what a client asks twice is no news about nodes
        return Client(self.store.url("127.0.0.1", self.store.port, self.lease_seconds), app_id=app.id)

    async def story(self) -> Story:
        """What there is to judge, once all work is done."""
        async with self.client() as client:
            states = [state async for state in client.list()]
            runs = [
                Run(state.id, state.execution_id, [event async for event in client.get(state.id).history()])
                for state in states
            ]
        return Story(
            lease_seconds=self.lease_seconds,
            wanted=self.wanted,
            got=self.got,
            runs=runs,
            instances=self.instances,
            entries=ledger.read(self.folder),
            faults=self.faults,
        )

    # -- harm -----------------------------------------------------------------------------------------------------

    async def suffer(self, harms: list[Harm]) -> None:
        """Do all of it, each at its time."""
        begin = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for harm in harms:
                await asyncio.sleep(max(begin + harm.at - time.monotonic(), 0))
                tasks.create_task(self.do(harm))

    async def do(self, harm: Harm) -> None:
        if harm.what in nemesis.OF_STORE:
            await self._restart_store(harm)
        elif harm.what == nemesis.JOIN:
            if len(self.nodes) < NODES_MAX:
                self.done[harm.what] += 1
                await self.join_surely()
        else:
            node = await self._victim(harm)
            self.done[harm.what] += 1
            await self._trouble(node, harm)
            node.is_troubled = False

    async def _victim(self, harm: Harm) -> Node:
        """A node that is in no trouble yet, and if it is to go, one without which enough are left: as soon as there is
        one."""
        least = NODES_MIN + 1 if harm.what in (nemesis.KILL, nemesis.LEAVE) else 1
        while True:
            calm = [node for node in self.nodes if not node.is_troubled]
            if calm and len(self.nodes) >= least:
                node = calm[harm.target % len(calm)]
                node.is_troubled = True
                return node
            await asyncio.sleep(LOOK_SECONDS)

    async def _trouble(self, node: Node, harm: Harm) -> None:
        match harm.what:
            case nemesis.KILL:
                await self.kill(node)  # at once, because the next victim is looked for among those that are left
                await asyncio.sleep(harm.seconds)
                await self.join_surely()
            case nemesis.LEAVE:
                await self.leave(node)
                await asyncio.sleep(harm.seconds)
                if len(self.nodes) < NODES_MIN:
                    await self.join_surely()
            case nemesis.PAUSE:
                await self._during(harm.what, node, self._pause(node, harm.seconds))
            case _:
                await self._during(harm.what, node, self._disconnect(node.cable, harm))

    async def _during(self, what: str, node: Node, harm: Awaitable[None]) -> None:
        begin = time.time()
        place = len(self.faults)
        self.faults.append(Fault(what, node.name, begin))
        await harm
        self.faults[place] = Fault(what, node.name, begin, time.time())

    async def _pause(self, node: Node, seconds: float) -> None:
        node.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        node.signal(signal.SIGCONT)

    async def _disconnect(self, cable: Cable, harm: Harm) -> None:
        match harm.what:
            case nemesis.DROP:
                cable.drop()
            case nemesis.FLAP:
                ends = time.monotonic() + harm.seconds
                cuts = [mode for mode in (Mode.CUT, Mode.REFUSED) if mode in cable.modes]
                while time.monotonic() < ends:
                    for mode in (Mode.CUT, Mode.OPEN, cuts[-1], Mode.OPEN):
                        cable.turn(mode)
                        await asyncio.sleep(FLAP_SECONDS)
            case _:
                cable.turn(MODES[harm.what])
                await asyncio.sleep(harm.seconds)
        cable.turn(Mode.OPEN)

    async def _restart_store(self, harm: Harm) -> None:
        if self._is_store_troubled:
            return
        self._is_store_troubled = True
        self.done[harm.what] += 1
        begin, place = time.time(), len(self.faults)
        self.faults.append(Fault(harm.what, "", begin))
        await asyncio.to_thread(self.store.crash if harm.what == nemesis.CRASH else self.store.stop)
        await asyncio.sleep(harm.seconds)
        await asyncio.to_thread(self.store.start)
        self.faults[place] = Fault(harm.what, "", begin, time.time())
        self._is_store_troubled = False


NODES_MIN, NODES_MAX = 2, 4
NOT_OPEN = "node that could not open"
NOT_OPEN_MAX = 20
MODES = {
    nemesis.CUT: Mode.CUT,
    nemesis.DEAF: Mode.DEAF,
    nemesis.MUTE: Mode.MUTE,
    nemesis.SWALLOW: Mode.SWALLOWED,
}


class NotOpen(Exception):
    """A node could not open its store; its name."""


async def _again(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until the store answers."""
    while True:
        try:
            return await ask()
        except StoreError:
            await asyncio.sleep(AGAIN_SECONDS)
