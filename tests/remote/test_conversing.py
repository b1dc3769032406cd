"""A call whose two sides go on, over a real connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from perdure.errors import InvalidArgument, NotPermitted
from perdure.remote.grpc import GrpcListener
from perdure.remote.rpc.caller import Caller
from perdure.remote.rpc.table import Table
from perdure.remote.security import Grant
from tests.remote.peer import PATIENCE_SECONDS, until

NAME = "/service/Talk"
KEY = "app"


class Talk:
    """Says everything twice, and remembers who left."""

    def __init__(self) -> None:
        self.left: list[str] = []

    async def __call__(self, asked: AsyncIterator[bytes], caller: Caller) -> AsyncIterator[bytes]:
        try:
            yield caller.app.encode()
            async for data in asked:
                if data == b"?":
                    raise InvalidArgument("a question; say something")
                yield data
                yield data
            yield b"end"
        finally:
            self.left.append(caller.app)


def admitted(metadata: Any, is_open: bool) -> Caller:
    app = dict(metadata).get(KEY)
    if app is None:
        raise NotPermitted("no app; name one")
    return Caller(Grant(app, frozenset((app,))))


def scene(test: Callable[[Talk, Any], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        async def play() -> None:
            talk = Talk()
            listener = GrpcListener(Table({}, {}, {NAME: talk}), admitted, message_bytes_max=1_000, calls_max=10)
            await listener.open("127.0.0.1", 0)
            try:
                async with (
                    asyncio.timeout(PATIENCE_SECONDS),
                    grpc.aio.insecure_channel(f"127.0.0.1:{listener.port}") as channel,
                ):
                    await test(talk, channel.stream_stream(NAME))
            finally:
                await listener.close(0)

        asyncio.run(play())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@scene
async def test_each_side_speaks_when_it_likes(talk: Talk, call: Any) -> None:
    talking = call(metadata=((KEY, "shop"),))
    assert await talking.read() == b"shop"
    for word in (b"one", b"two"):
        await talking.write(word)
        assert [await talking.read(), await talking.read()] == [word, word]
    await talking.done_writing()
    assert await talking.read() == b"end"
    assert await talking.read() is grpc.aio.EOF
    assert await talking.code() is grpc.StatusCode.OK
    assert talk.left == ["shop"]


@scene
async def test_a_caller_that_leaves_is_let_go_at_once(talk: Talk, call: Any) -> None:
    talking = call(metadata=((KEY, "shop"),))
    assert await talking.read() == b"shop"
    assert talk.left == []
    talking.cancel()
    await until(lambda: talk.left == ["shop"])


@scene
async def test_what_is_refused_ends_the_call_with_a_sentence(talk: Talk, call: Any) -> None:
    talking = call(metadata=((KEY, "shop"),))
    assert await talking.read() == b"shop"
    await talking.write(b"?")
    with pytest.raises(grpc.aio.AioRpcError, match="say something"):
        await talking.read()
    assert await talking.code() is grpc.StatusCode.INVALID_ARGUMENT
    await until(lambda: talk.left == ["shop"])


@scene
async def test_a_caller_that_is_not_admitted_says_nothing(talk: Talk, call: Any) -> None:
    talking = call()
    assert await talking.code() is grpc.StatusCode.PERMISSION_DENIED
    assert talk.left == []
