"""Actors of a program that has called us: what is asked of them goes out on its stream, and the answers come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from perdure.errors import InvalidArgument
from perdure.remote.actors.host import Answer, HostGone, Hosting, Invocation
from perdure.remote.wire.actor_stream import Opened, Reply, read_opening, read_reply, write_invocation, write_opened

ASKED_MAX = 10_000
"""What may be under way on one stream."""
OPENING_SECONDS = 30.0
"""How long a program that has called may take to say which actors it hosts."""


class StreamHost:
    """Fulfils Host on the stream of one program."""

    def __init__(self, types: Mapping[str, Hosting]) -> None:
        self.types = types
        self._out: asyncio.Queue[bytes | None] = asyncio.Queue(ASKED_MAX)
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        self._is_over = False

    async def invoke(self, asked: Invocation) -> Answer:
        """Raises HostGone."""
        if self._is_over:
            raise HostGone("the stream of the program has ended", was_asked=False)
        key = asked.token or f"{asked.kind}:{len(self._waiting)}:{id(asked)}"
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[key] = answer
        try:
            await self._out.put(write_invocation(key, asked))
            return await answer
        finally:
            self._waiting.pop(key, None)

    def take(self, reply: Reply) -> None:
        """An answer; one that nobody waits for any more is dropped."""
        waiting = self._waiting.get(reply.key)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply.answer)

    async def messages(self) -> AsyncIterator[bytes]:
        """What goes out, until the stream is over."""
        while (message := await self._out.get()) is not None:
            yield message

    def end(self) -> None:
        """The program is gone."""
        self._is_over = True
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(HostGone("the stream of the program has ended"))
        while self._out.full():
            self._out.get_nowait()
        self._out.put_nowait(None)

    def __repr__(self) -> str:
        return f"<StreamHost of {', '.join(self.types)}>"


async def opening_of(asked: AsyncIterator[bytes]) -> Opened:
    """What a program says first. Raises InvalidArgument, MalformedMessage."""
    try:
        async with asyncio.timeout(OPENING_SECONDS):
            return read_opening(await anext(asked))
    except (TimeoutError, StopAsyncIteration):
        raise InvalidArgument("the program has not said which actors it hosts; send an initial_request first") from None


async def listen(host: StreamHost, asked: AsyncIterator[bytes]) -> None:
    """Take answers until the program says no more. Raises MalformedMessage for what is none."""
    try:
        async for data in asked:
            host.take(read_reply(data))
    finally:
        host.end()


__all__ = ["StreamHost", "listen", "opening_of", "write_opened"]
