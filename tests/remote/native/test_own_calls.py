"""What a server answers to the calls of Perdure's own workers, without a port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from perdure.codec import NOTHING, Payload, encode
from perdure.errors import StreamRefused
from perdure.history.actions import ScheduleActivity
from perdure.history.work import StartOptions
from perdure.remote.attributes import Attributes
from perdure.remote.dispatch.stream import WorkerStream
from perdure.remote.hosted import Hosted
from perdure.remote.native.calls import ANSWER_PATH, BEGIN, PUT, Call, Place, read_answer, write_request
from perdure.remote.native.codec import NATIVE, AttemptItem, Turn
from perdure.remote.native.envelope import TURN_ANSWER, write_batch
from perdure.remote.requests import OpenStream, TurnResult
from perdure.remote.rpc.caller import NATIVE_AGENT, Caller
from perdure.remote.rpc.native import is_begun
from perdure.remote.rpc.table import Runtime, table_of
from perdure.remote.rpc.workers import Bounds
from perdure.remote.security import Grant
from perdure.stores.memory import MemoryStore

GRANT = Grant("shop", frozenset(("shop",)))


class Bench:
    """A server, and what its workers call."""

    def __init__(self) -> None:
        self.hosted = Hosted(MemoryStore())
        self._table = table_of(self.hosted, Runtime("0", lambda app: Attributes(), lambda: None), Bounds(10, 10))
        self._caller = Caller(GRANT, agent=f"{NATIVE_AGENT}test")

    async def worker(self, name: str) -> WorkerStream:
        stream = WorkerStream("shop", NATIVE, OpenStream(worker=name), grant=GRANT)
        await self.hosted.connect(stream)
        return stream

    def leave(self, stream: WorkerStream) -> None:
        self.hosted.dispatcher.disconnect(stream)

    async def send(self, path: str, data: bytes) -> bytes:
        return await self._table.unary[path](data, self._caller)

    async def ask(self, call: Call, *arguments: Any) -> Any:
        return read_answer(call, await self.send(call.path, write_request(call, *arguments)))

    async def items(self) -> list[Payload]:
        engine = await self.hosted.engine("shop")
        return [item.value for item in await engine.store.items(engine.shard_of("i-1"), "i-1", 1, 1)]


async def given(stream: WorkerStream, kind: type) -> Any:
    item = NATIVE.read_item(await stream.next() or b"")
    assert isinstance(item, kind), item
    return item


@asynccontextmanager
async def yielding() -> AsyncIterator[tuple[Bench, WorkerStream, str]]:
    """A server with a worker that has an attempt under a token."""
    bench = Bench()
    await bench.hosted.open(["shop"])
    worker = await bench.worker("first")
    operations = (await bench.hosted.engine("shop")).operations
    await operations.start("main", NOTHING, StartOptions(id="i-1"))
    turn: Turn = await given(worker, Turn)
    result = TurnResult(instance="i-1", token=turn.token, actions=[ScheduleActivity(number=1, name="words")])
    await bench.send(ANSWER_PATH, write_batch([(TURN_ANSWER, NATIVE.write_turn_result(result))]))
    attempt: AttemptItem = await given(worker, AttemptItem)
    try:
        yield bench, worker, attempt.token
    finally:
        bench.hosted.end_streams()
        await bench.hosted.close()


A, B, C, D = (encode(text) for text in "abcd")


def test_items_are_taken_once_however_often_they_are_told() -> None:
    async def play() -> None:
        async with yielding() as (bench, _, token):
            assert await bench.ask(BEGIN, token) == Place(0)
            assert await bench.ask(PUT, token, [A], 0) == 1
            assert await bench.ask(PUT, token, [A, B], 0) == 2  # because who heard no answer may tell more with it
            assert await bench.ask(PUT, token, [A, B], 0) == 2
            assert await bench.items() == [A, B]

    asyncio.run(asyncio.wait_for(play(), 30))


def test_items_do_not_go_on_from_those_that_another_worker_has_yielded_in_between() -> None:
    async def play() -> None:
        async with yielding() as (bench, first, token):
            await bench.ask(BEGIN, token)
            second = await bench.worker("second")
            bench.leave(first)
            theirs: AttemptItem = await given(second, AttemptItem)
            with pytest.raises(StreamRefused):
                await bench.ask(PUT, token, [A], 0)
            await bench.ask(BEGIN, theirs.token)
            assert await bench.ask(PUT, theirs.token, [C, D], 0) == 2
            again = await bench.worker("first")
            bench.leave(second)
            back: AttemptItem = await given(again, AttemptItem)
            for values in ([A], [A, B], [A, B, C]):
                assert await bench.ask(PUT, back.token, values, 0) is None
            assert await bench.items() == [C, D]
            assert await bench.ask(BEGIN, back.token) == Place(2, D)
            assert await bench.ask(PUT, back.token, [A], 2) == 3
            assert await bench.items() == [C, D, A]

    asyncio.run(asyncio.wait_for(play(), 30))


@pytest.mark.parametrize(
    "values, durable, last, begun",
    [
        ([A, B], 0, None, True),
        ([A, B], 0, C, True),
        ([A, B], 1, A, True),
        ([A, B], 2, B, True),
        ([A, B], 1, C, False),
        ([A, B], 2, A, False),
        ([A, B], 3, B, False),
        ([A, B], -1, A, False),
    ],
)
def test_which_items_are_a_beginning_of_others(
    values: list[Payload], durable: int, last: Payload | None, begun: bool
) -> None:
    assert is_begun(values, durable, last) == begun
