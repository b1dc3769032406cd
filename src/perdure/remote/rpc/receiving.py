"""The call over which a worker of Perdure's own is given messages of topics, and says what it made of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from perdure.errors import InvalidArgument, ServerUnavailable
from perdure.remote.hosted import Hosted
from perdure.remote.native.receiving import OPENED, RECEIVE, Answered, Leaving, Opening, Said, read_said, write
from perdure.remote.pubsub.receiving import ReceivingStream
from perdure.remote.rpc.caller import Caller
from perdure.remote.rpc.calls import Conversing


def receiving_calls(hosted: Hosted) -> dict[str, Conversing]:
    """The handler by the full name of its call."""

    async def receive(asked: AsyncIterator[bytes], caller: Caller) -> AsyncIterator[bytes]:
        frames = (read_said(data) async for data in asked)
        opening = await anext(frames, None)
        if not isinstance(opening, Opening):
            raise InvalidArgument("a stream of messages begins with the groups that want them; send those first")
        stream = ReceivingStream(await hosted.executing(caller.app), opening.groups)
        hosted.receiving.add(stream)
        reading = asyncio.get_running_loop().create_task(_read(frames, stream), name="perdure-receiving")
        try:
            stream.begin()
            yield OPENED
            async for given in stream.outgoing():
                yield write(given)
            if stream.is_let_go:
                raise ServerUnavailable("the server gives no more messages; connect again in a moment")
            await reading  # because it may have ended with what it was sent
        finally:
            reading.cancel()
            stream.end()
            hosted.receiving.discard(stream)

    return {RECEIVE: receive}


async def _read(frames: AsyncIterator[Said], stream: ReceivingStream) -> None:
    """What the worker says, until it says no more."""
    try:
        async for said in frames:
            if isinstance(said, Answered):
                stream.answer(said)
            elif isinstance(said, Leaving):
                stream.take_leave()
            else:
                raise InvalidArgument("a stream of messages begins once; open another one")
    finally:
        stream.end()
