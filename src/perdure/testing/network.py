"""The network between workers and servers of a simulated world: what it delays, loses, repeats and misdirects."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from contextvars import Context, copy_context
from typing import Any, Protocol

from perdure.errors import InvalidArgument, ServerError, ServerUnavailable
from perdure.remote.native.calls import ANSWER_PATH
from perdure.remote.native.channel import Channel
from perdure.remote.native.envelope import read_batch, write_batch
from perdure.remote.rpc.caller import NATIVE_AGENT, Caller
from perdure.remote.rpc.calls import Unary
from perdure.remote.rpc.status import Status, refusal_of
from perdure.remote.rpc.table import SERVICE, Table
from perdure.remote.security import Grant
from perdure.testing.loop import SimLoop
from perdure.testing.nodes import Node, NodeDied
from perdure.testing.scenario import APP
from perdure.testing.tape import Tape

TURN_LEASE_SECONDS = 2.0
ACTIVITY_LEASE_SECONDS = 2.5
"""Leases of the servers of a simulated world: short, so that they run out often."""
LATE_SECONDS = (0.7, 3.0, 6.0)
"""How late a late answer comes: most of them after the lease."""
NOTICE_SECONDS = (0.0, 0.02, 2.5)
"""After which a server notices that a worker is gone."""
UNHEARD_SECONDS = 0.2
"""After which whoever asked in vain knows."""
TURN_DONE, ATTEMPT_DONE = f"/{SERVICE}/CompleteOrchestratorTask", f"/{SERVICE}/CompleteActivityTask"
DROPPED = "item dropped by a worker"
WORK = f"/{SERVICE}/GetWorkItems"
ANSWERS = (ANSWER_PATH, TURN_DONE, ATTEMPT_DONE)
_KINDS: dict[Status, type[Exception]] = {
    Status.UNAVAILABLE: ServerUnavailable,
    Status.INVALID_ARGUMENT: InvalidArgument,
}


class Manners:
    """What goes wrong between workers and servers, at rates of the seed, until `stop`. Each that happens is counted."""

    KINDS = (
        DROPPED,
        "request lost",
        "reply lost",
        "answer sent twice",
        "answer late",
        "history asked for in full",
        "work given back",
        "answer in parts",
        "answer garbled",
    )

    def __init__(self, tape: Tape, count: Callable[[str], None]) -> None:
        chance = tape.stream("manners")
        self.rates = {kind: chance.choice((0.0, 0.0, 0.03, 0.15)) for kind in self.KINDS}
        self.delays: tuple[float, ...] = chance.choice(((0.0,), (0.0, 0.001), (0.0, 0.01, 0.3)))
        self.is_active = True
        self._chance = chance
        self._count = count

    def stop(self) -> None:
        self.is_active = False

    def happens(self, kind: str) -> bool:
        happens = self.is_active and self._chance.random() < self.rates[kind]
        if happens:
            self._count(kind)
        return happens

    def note(self, what: str) -> None:
        """Count something that follows from it."""
        self._count(what)

    def delay(self) -> float:
        """Seconds that a message takes."""
        return self._chance.choice(self.delays)

    def choice(self, among: tuple[float, ...]) -> float:
        return self._chance.choice(among)


class Site(Protocol):
    """The world, as its network sees it."""

    loop: SimLoop
    manners: Manners
    is_balanced: bool
    """Whether each request goes to any server, as behind some proxies; else to the one that has the stream."""

    def some_server(self) -> Server | None:
        """One that is open."""

    def accuse(self, text: str) -> None: ...
    def count(self, what: str) -> None: ...
    def acknowledged(self, data: bytes, at: Server) -> None:
        """A worker has been told that the end of an attempt is taken."""


class Server(Node):
    """A node that answers calls."""

    table: Table


class SimChannel(Channel):
    """A worker's connection: calls to whichever server, and one stream of work."""

    def __init__(self, site: Site, agent: str) -> None:
        self._site = site
        self._is_native = agent.startswith(NATIVE_AGENT)
        self._caller = Caller(Grant(APP, frozenset((APP,))), agent=agent)
        self._outside = copy_context()  # because what is on its way outlives who sent it
        self._at: Server | None = None
        self._pump: asyncio.Task[None] | None = None
        self._pipe: Pipe | None = None

    # -- calls ----------------------------------------------------------------------------------------------------

    async def send(self, path: str, data: bytes, timeout: float | None = None) -> bytes:
        carried: asyncio.Future[bytes | Exception] = self._outer(self._carry(path, data), "request")
        async with asyncio.timeout(timeout):
            answer = await asyncio.shield(carried)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _carry(self, path: str, data: bytes) -> bytes | Exception:
        site, manners = self._site, self._site.manners
        if path in ANSWERS and manners.happens("answer late"):
            await asyncio.sleep(manners.choice(LATE_SECONDS))
        await asyncio.sleep(manners.delay())
        if manners.happens("request lost"):
            return await _unheard("the request was lost")
        if path in ANSWERS and manners.happens("answer sent twice"):
            self._outer(self._again(path, data), "second answer")
        answer, server = await self._ask(path, data)
        await asyncio.sleep(manners.delay())
        if manners.happens("reply lost"):
            return await _unheard("the reply was lost")
        if path == ATTEMPT_DONE and isinstance(answer, bytes) and server is not None:
            site.acknowledged(data, server)
        return answer

    async def _again(self, path: str, data: bytes) -> None:
        await asyncio.sleep(self._site.manners.choice((0.0, 0.01, 3.0)))
        await self._ask(path, data)

    async def _ask(self, path: str, data: bytes) -> tuple[bytes | Exception, Server | None]:
        site = self._site
        server = site.some_server() if site.is_balanced or self._at is None or not self._at.is_open else self._at
        if server is None:
            return await _unheard("no server is there"), None
        if server is not self._at and path in ANSWERS:
            site.count("answer at another server")
        try:
            return await server.call(_handled(server.table.unary[path], data, self._caller)), server
        except NodeDied:
            return await _unheard("the server died"), server
        except Exception as error:  # noqa: BLE001 because every error becomes a status
            return self._told(error, path), server

    def _told(self, error: Exception, path: str) -> Exception:
        refusal = refusal_of(error, path)
        if refusal.status is Status.INTERNAL:
            self._site.accuse(f"the call {path} failed unforeseen: {error!r}")
        return _KINDS.get(refusal.status, ServerError)(refusal.text)

    # -- the stream -----------------------------------------------------------------------------------------------

    async def stream(self, path: str, data: bytes) -> AsyncIterator[bytes]:
        site = self._site
        server = self._at if self._at is not None and self._at.is_open else site.some_server()
        if server is None:
            raise await _unheard("no server is there")
        pipe = self._pipe = Pipe()
        self._at = server
        server.died.add_done_callback(lambda _: pipe.close(ServerUnavailable("the server is gone")))
        context = server.process.context.copy()
        self._pump = site.loop.create_task(self._fill(server, path, data, pipe), name="stream", context=context)
        try:
            while True:
                item = self._kept(await pipe.next())
                if item:
                    yield item
        finally:
            self.cut()

    def _kept(self, message: bytes) -> bytes:
        """What the worker takes of a message: it drops some without a word."""
        manners = self._site.manners
        if self._is_native:
            return write_batch(part for part in read_batch(message) if not manners.happens(DROPPED))
        return b"" if manners.happens(DROPPED) else message

    async def _fill(self, server: Server, path: str, data: bytes, pipe: Pipe) -> None:
        """Runs at the server, as its transport does."""
        try:
            opened: Any = server.table.streaming[path](data, self._caller)
            items: AsyncGenerator[bytes] = opened
            async with aclosing(items):
                async for item in items:
                    await asyncio.sleep(self._site.manners.delay())
                    pipe.put(item)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if not server.alive:
                raise  # because its world is taken apart
            pipe.close(self._told(error, path))
            self._at = None  # because the next try goes elsewhere
        else:
            pipe.close(ServerUnavailable("the stream ended well"))

    def cut(self, seconds: float = 0.0) -> None:
        """The stream breaks; its server notices after `seconds`."""
        pump, self._pump = self._pump, None
        if self._pipe is not None:
            self._pipe.close(ServerUnavailable("the stream is cut"))
        if pump is not None and self._site.loop.is_running():
            # not within the worker's process, which may be dead
            self._site.loop.call_later(seconds, pump.cancel, context=self._outside.copy())

    async def close(self) -> None:
        self.cut()

    def _outer(self, work: Any, name: str) -> asyncio.Task[Any]:
        context: Context = self._outside.copy()
        task: asyncio.Task[Any] = self._site.loop.create_task(work, name=name, context=context)
        return task

    def __repr__(self) -> str:
        return f"<SimChannel to {self._at.name if self._at is not None else 'nobody'}>"


class Pipe:
    """Messages on their way to one reader, in order, and what ends them."""

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        self._end: Exception | None = None
        self._wake = asyncio.Event()

    def put(self, message: bytes) -> None:
        self._messages.append(message)
        self._wake.set()

    def close(self, error: Exception) -> None:
        self._end = self._end or error
        self._wake.set()

    async def next(self) -> bytes:
        """Raises what has ended the stream; messages that are on their way then are lost."""
        while self._end is None and not self._messages:
            self._wake.clear()
            await self._wake.wait()
        if self._end is not None:
            raise self._end
        return self._messages.popleft()


async def _handled(handler: Unary, data: bytes, caller: Caller) -> bytes | Exception:
    return await handler(data, caller)


async def _unheard(text: str) -> Exception:
    await asyncio.sleep(UNHEARD_SECONDS)
    return ServerUnavailable(text)
