"""The subscriptions of an app at a server: it is given messages over a stream, and says what its code made of each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

import msgspec

from perdure.engine.consumers import Consumer, made_of
from perdure.errors import MalformedMessage
from perdure.history.handling import Handled
from perdure.history.subscribing import SubscribeOptions, Verdict
from perdure.remote.native.channel import Channel
from perdure.remote.native.receiving import (
    OPENED,
    RECEIVE,
    Answered,
    Given,
    Leaving,
    Opening,
    Receiving,
    Said,
    read_given,
    write,
)
from perdure.remote.native.stream import WorkStream

log = logging.getLogger("perdure")
LEAVE_SECONDS = 5.0
"""How long a worker that goes waits until the server has heard its last answers."""


class Group(msgspec.Struct, frozen=True):
    """A subscription of the app, and what becomes of its messages."""

    topic: str
    name: str
    options: SubscribeOptions
    consumer: Consumer


class Receivers:
    """Serves from `open` to `close`. A stream that breaks is begun again; what was in hand comes again then."""

    def __init__(self, channel: Channel, groups: Sequence[Group], drain_seconds: float) -> None:
        self._channel = channel
        self._groups = {(group.topic, group.name): group for group in groups}
        self._drain_seconds = drain_seconds
        self._outgoing: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._handling: set[asyncio.Task[None]] = set()
        self._is_over = asyncio.Event()
        self._stream = WorkStream(self._messages, self._take, lambda: None)

    async def open(self, seconds: float) -> None:
        """Begin; return when the server gives messages, was asked once in vain, or after `seconds`."""
        await self._stream.open(seconds)

    async def close(self) -> None:
        """Take no more messages, let handlers end within the bound, say what they have made of theirs, go."""
        self._say(Leaving())
        if self._handling:
            await asyncio.wait(self._handling, timeout=self._drain_seconds)
        self._outgoing.put_nowait(None)
        if self._stream.is_open:
            try:
                async with asyncio.timeout(LEAVE_SECONDS):
                    await self._is_over.wait()
            except TimeoutError:
                log.warning("the server has not heard what became of the last messages; they come again")
        await self._stream.close()

    async def _messages(self) -> AsyncIterator[bytes]:
        """One stream, from its beginning to its end."""
        outgoing = self._outgoing = asyncio.Queue()
        self._is_over.clear()
        groups = [Receiving(one.topic, one.name, one.options.in_hand_max) for one in self._groups.values()]
        self._say(Opening(groups))
        try:
            async for data in self._channel.converse(RECEIVE, _until_none(outgoing)):
                yield data
        finally:
            for task in self._handling:
                task.cancel()  # because nobody hears the answer, and the message is given to somebody again
            self._is_over.set()

    def _take(self, data: bytes) -> None:
        if data == OPENED:
            return
        try:
            given = read_given(data)
        except MalformedMessage as error:
            log.error("a message of a topic cannot be read, so it comes again: %s", error)
            return
        task = asyncio.get_running_loop().create_task(self._handle(given, self._outgoing), name="perdure-receiver")
        self._handling.add(task)
        task.add_done_callback(self._handling.discard)

    async def _handle(self, given: Given, outgoing: asyncio.Queue[bytes | None]) -> None:
        """The answer goes over the stream that the message came on."""
        group = self._groups.get((given.message.topic, given.group))
        if group is None:
            handled = Handled(Verdict.RETRY, "the worker has no code of this group")
        else:
            handled = await made_of(group.consumer, given.message, given.attempt, group.options.timeout)
        outgoing.put_nowait(write(Answered(given.id, handled)))

    def _say(self, said: Said) -> None:
        self._outgoing.put_nowait(write(said))

    def __repr__(self) -> str:
        return f"<Receivers of {len(self._groups)} groups: {len(self._handling)} messages in hand>"


async def _until_none(outgoing: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
    while (data := await outgoing.get()) is not None:
        yield data
