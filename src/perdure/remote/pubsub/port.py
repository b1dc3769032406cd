"""The port of a program as deliveries see it: an event is sent to a path, and what is answered is a verdict."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec

from perdure.blocks.pubsub import Message, ReceiverDied, Verdict
from perdure.errors import ServerUnavailable
from perdure.remote.app_channel import AppAbsent, AppUnreachable
from perdure.remote.pubsub.declared import Declared
from perdure.remote.tracing.incoming import PARENT, STATE

log = logging.getLogger("perdure")
LOOK_SECONDS = 0.5
"""How often a program is looked for that does not listen."""
ANSWER_SECONDS = 3_600.0
"""How long a program may take to answer."""
CLOSE_SECONDS = 5.0
"""How long a stop waits for what the program is being asked; it comes again afterwards."""
BULK_TYPE = "com.dapr.event.sent.bulk"
"""How Dapr calls what holds many events."""

T = TypeVar("T")


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A message on its way. `json` is its CloudEvent; `id` that of its place in a bulk."""

    message: Message
    json: bytes
    id: str = ""


class Bulk(msgspec.Struct, frozen=True, kw_only=True):
    """Events that come together, each with an id of its own."""

    id: str
    events: Sequence[Event]


class Program(Protocol):
    """What a port speaks. Raises ServerUnavailable if the program gives no answer: AppAbsent if it was not asked."""

    async def subscriptions(self) -> list[Declared]:
        """What the program tells of itself. Raises InvalidArgument."""

    async def deliver(self, path: str, event: Event, declared: Declared) -> Verdict:
        """What it says of an event."""

    async def deliver_all(self, path: str, bulk: Bulk, declared: Declared) -> Mapping[str, Verdict]:
        """What it says of each, by their ids; nothing of those that come again."""


class ProgramPort:
    """Sends events while the program listens; while it does not, they wait here and count as no attempt.

    One that the program had when its connection ended may be what has killed it. That is for whoever hands events out
    to count, so it does not wait here: it is told with ReceiverDied.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._listens = asyncio.Event()
        self._ends = asyncio.Event()
        self.gone = asyncio.Event()
        """Set when it has ceased to listen; whoever supervises it looks for it again."""

    async def subscriptions(self) -> list[Declared]:
        """What the program tells. Raises InvalidArgument, and ServerUnavailable if it does not listen."""
        return await self._program.subscriptions()

    def listens(self) -> None:
        """It is there, and may be sent events."""
        self.gone.clear()
        self._listens.set()

    async def deliver(self, path: str, event: Event, declared: Declared) -> Verdict:
        """What the program says of an event; RETRY if the server stops first. Raises ReceiverDied."""
        verdict = await self._answer(lambda: self._program.deliver(path, event, declared))
        return Verdict.RETRY if verdict is None else verdict

    async def deliver_all(self, path: str, bulk: Bulk, declared: Declared) -> Mapping[str, Verdict]:
        """What it says of each of them; nothing of any if the server stops first. Raises ReceiverDied."""
        return await self._answer(lambda: self._program.deliver_all(path, bulk, declared)) or {}

    def close(self) -> None:
        """Ask the program nothing more; whoever waits for it does so no longer."""
        self._ends.set()
        self._listens.set()

    async def _answer(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        """The program's answer, asked again whenever it was away; None if the server stops first."""
        while True:
            await self._listens.wait()
            if self._ends.is_set():
                return None
            try:
                return await self._asked(ask)
            except ServerUnavailable as error:
                if self._ends.is_set():
                    return None
                self._listens.clear()
                self.gone.set()
                if isinstance(error, AppUnreachable) and not isinstance(error, AppAbsent):
                    raise ReceiverDied(f"the program had it in hand and gave no answer: {error}") from error
                log.warning("an event waits until the program listens again: %s", error)

    async def _asked(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        asking = asyncio.ensure_future(ask())
        ending = asyncio.get_running_loop().create_task(self._ends.wait())
        try:
            await asyncio.wait((asking, ending), return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                await asyncio.wait((asking,), timeout=CLOSE_SECONDS)
            return asking.result() if asking.done() else None
        finally:
            asking.cancel()
            ending.cancel()


def trace_of(message: Message) -> dict[str, str]:
    """Headers, or metadata, by which a program goes on with the trace that a message belongs to."""
    return {name: message.extensions[name] for name in (PARENT, STATE) if message.extensions.get(name)}
