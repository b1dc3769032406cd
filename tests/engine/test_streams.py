"""Streams: what a reader sees, what an attempt goes on from, and whose items are refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from perdure import (
    ActivityFailed,
    App,
    Client,
    Codec,
    KeyRing,
    Retry,
    WorkflowFailed,
    activity_context,
    continue_as_new,
    wait_for_event,
)
from perdure.engine import outlet
from perdure.engine.outlet import STREAM_AHEAD_MAX
from perdure.errors import InstanceNotFound, InvalidArgument
from perdure.sdk.streams import STREAM_PAGE, StreamState
from perdure.stores.contract import Outcome
from perdure.stores.memory import MemoryStore


async def listed(items: AsyncIterator) -> list:
    return [item async for item in items]


def test_a_reader_gets_each_item_live_typed_and_until_the_call_ends(run, url):
    app = App("streams", store=url)
    gates = [asyncio.Event() for _ in range(3)]

    @dataclass
    class Token:
        text: str

    @app.activity
    async def tokens(prompt: str) -> AsyncIterator[Token]:
        for number, gate in enumerate(gates):
            await gate.wait()
            yield Token(f"{prompt}{number}")

    tokens.function.__annotations__["return"] = AsyncIterator[Token]  # because the class is local

    @app.workflow
    async def main() -> int:
        count = await tokens("t")
        await wait_for_event("end")
        return count

    async def scenario():
        async with app:
            handle = await main.start()
            early = handle.stream(tokens)
            first = asyncio.create_task(anext(early))
            await asyncio.sleep(0.05)
            assert not first.done()
            gates[0].set()
            assert await asyncio.wait_for(first, 30) == Token("t0")
            assert (early.run, early.call, early.offset) == (1, 1, 1)
            assert await listed(handle.stream(tokens, follow=False)) == [Token("t0")]
            assert await handle.streams() == [StreamState(run=1, call=1, name="tokens", items=1, is_open=True)]
            for gate in gates:
                gate.set()
            assert await listed(early) == [Token("t1"), Token("t2")]  # and ends, though the run goes on
            assert await listed(handle.stream("tokens", dict, after=1)) == [{"text": "t1"}, {"text": "t2"}]
            assert await listed(handle.stream(call=1, after=3)) == []
            await handle.raise_event("end")
            assert await handle.result() == 3
            assert await listed(handle.stream(tokens)) == [Token("t0"), Token("t1"), Token("t2")]
            assert await listed(handle.stream("other")) == []

    run(scenario)


def test_the_next_attempt_goes_on_after_the_last_durable_item(run, url):
    app = App("streams", store=url)
    seen = []

    @app.activity(retry=Retry(max_attempts=5, initial_interval=0.01))
    async def numbers(count: int) -> AsyncIterator[int]:
        context = activity_context()
        seen.append((context.attempt, context.stream_offset, context.last_item(int)))
        for number in range(context.stream_offset, count):
            yield number
            if number == 2 * context.attempt:
                raise ValueError(number)

    @app.workflow
    async def main() -> int:
        return await numbers(7)

    async def scenario():
        async with app:
            handle = await main.start()
            assert await listed(handle.stream(numbers)) == list(range(7))
            return await handle.result()

    assert run(scenario) == 7
    assert seen == [(1, 0, None), (2, 3, 2), (3, 5, 4), (4, 7, 6)]


def test_an_attempt_that_begins_anew_yields_again_what_is_there(run):
    app = App("streams", store="memory:")

    @app.activity(retry=Retry(max_attempts=2, initial_interval=0.01))
    async def letters() -> AsyncIterator[str]:
        yield "a"
        yield "b"
        if activity_context().attempt == 1:
            raise ValueError
        yield "c"

    @app.workflow
    async def main() -> int:
        return await letters()

    async def scenario():
        async with app:
            handle = await main.start()
            return await handle.result(), await listed(handle.stream(letters))

    assert run(scenario) == (5, ["a", "b", "a", "b", "c"])


def test_a_def_generator_has_one_thread_and_is_closed_in_it(run, url):
    app = App("streams", store=url)
    threads, closed = set(), threading.Event()

    @app.activity
    def rows(count: int) -> Iterator[int]:
        try:
            for number in range(count):
                threads.add(threading.current_thread().name)
                yield number
        finally:
            threads.add(threading.current_thread().name)
            closed.set()

    @app.workflow
    async def main(count: int, is_endless: bool) -> int:
        call = asyncio.ensure_future(rows(count))
        if is_endless:
            await wait_for_event("enough")
        async with asyncio.timeout(0 if is_endless else None):
            return await call

    async def scenario():
        async with app:
            handle = await main.start(50, False)
            assert await listed(handle.stream(rows)) == list(range(50))
            assert await handle.result() == 50
            assert len(threads) == 1
            closed.clear()
            endless = await main.start(10**9, True)
            assert await anext(endless.stream(rows)) == 0
            await endless.raise_event("enough")
            with pytest.raises(WorkflowFailed, match="TimeoutError"):
                await endless.result()
            assert await asyncio.to_thread(closed.wait, 30)
            items = await listed(endless.stream(rows))
            assert items == list(range(len(items))) != []

    run(scenario)
    assert all(name.startswith("perdure-stream") for name in threads)


def test_cancellation_closes_the_generator_and_ends_the_stream(run, url):
    app = App("streams", store=url)
    ends = []

    @app.activity
    async def endless() -> AsyncIterator[int]:
        number = 0
        try:
            while True:
                yield number
                number += 1
                await asyncio.sleep(0.001)
        except BaseException as error:
            ends.append(type(error).__name__)
            raise

    @app.workflow
    async def main() -> None:
        await endless()

    async def scenario():
        async with app:
            handle = await main.start()
            reader = handle.stream(endless)
            assert await anext(reader) == 0
            await handle.cancel()
            items = await listed(reader)
            assert items == list(range(1, len(items) + 1))
            assert len(await listed(handle.stream(endless))) == len(items) + 1

    run(scenario)
    assert len(ends) == 1
    assert ends[0] in {"CancelledError", "GeneratorExit"}


class Slow(MemoryStore):
    """A store whose commits take a while."""

    seconds = 0.02

    async def commit(self, batches, token):
        await asyncio.sleep(self.seconds)
        return await super().commit(batches, token)


def test_a_generator_is_held_while_too_many_of_its_items_are_not_durable(run):
    app = App("streams", store=Slow())
    ahead = []

    @app.activity
    async def quick() -> AsyncIterator[int]:
        for number in range(100):
            ahead.append(number - activity_context().stream_offset)
            yield number

    @app.workflow
    async def main() -> int:
        return await quick()

    async def scenario():
        async with app:
            return await (await main.start()).result()

    assert run(scenario) == 100
    assert max(ahead) == STREAM_AHEAD_MAX


def test_items_of_a_call_that_was_given_up_meanwhile_are_refused_by_the_store(run):
    """The turn that closes the call is under way when the item comes: the store alone knows which is first."""
    outcomes: list[Outcome] = []

    class Witnessed(Slow):
        async def commit(self, batches, token):
            if any(turn.closed for turn in batches[0].turns):
                go.set()
                await asyncio.sleep(0.2)  # in which the item comes
            found = await super().commit(batches, token)
            outcomes.extend(found[len(batches[0].turns) :])
            return found

    go = asyncio.Event()
    app = App("streams", store=Witnessed())

    @app.activity
    async def late() -> AsyncIterator[int]:
        yield 1
        await go.wait()
        yield 2

    @app.workflow
    async def main() -> str:
        call = asyncio.ensure_future(late())
        await wait_for_event("give up")
        call.cancel()
        await asyncio.sleep(0.2)
        return "given up"

    async def scenario():
        async with app:
            handle = await main.start()
            assert await anext(handle.stream(late)) == 1
            await handle.raise_event("give up")
            assert await handle.result() == "given up"
            return await listed(handle.stream(late))

    assert run(scenario) == [1]
    assert outcomes == [Outcome.COMMITTED, Outcome.CONFLICT]


def test_a_stream_has_a_bound(run, monkeypatch):
    monkeypatch.setattr(outlet, "STREAM_ITEMS_MAX", 50)
    app = App("streams", store="memory:")
    attempts = []

    @app.activity(retry=Retry(max_attempts=3, initial_interval=0.01))
    async def many(count: int) -> AsyncIterator[int]:
        attempts.append(count)
        for number in range(count):
            yield number

    @app.workflow
    async def main(count: int) -> int:
        return await many(count)

    async def scenario():
        async with app:
            assert await (await main.start(50)).result() == 50
            handle = await main.start(51)
            with pytest.raises(WorkflowFailed, match="StreamTooLong"):
                await handle.result()
            return await listed(handle.stream(many))

    assert run(scenario) == list(range(50))
    assert attempts == [50, 51]


def test_an_item_that_cannot_be_stored_fails_the_call_and_keeps_what_came_before(run):
    app = App("streams", store="memory:")

    @app.activity
    async def odd() -> AsyncIterator[object]:
        yield 1
        yield object()

    @app.workflow
    async def main() -> int:
        return await odd()

    async def scenario():
        async with app:
            handle = await main.start()
            with pytest.raises(WorkflowFailed, match="NotEncodable"):
                await handle.result()
            return await listed(handle.stream(odd))

    assert run(scenario) == [1]


@pytest.mark.long
def test_items_are_signs_of_life(run):
    app = App("streams", store="memory:")

    @app.activity(heartbeat_timeout=3)
    async def ticking(count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number
            await asyncio.sleep(0.5 if number < 9 else 60)

    @app.workflow
    async def main(count: int) -> int:
        return await ticking(count)

    async def scenario():
        async with app:
            assert await (await main.start(9)).result() == 9
            with pytest.raises(WorkflowFailed, match="heartbeat"):
                await (await main.start(10)).result()

    run(scenario)


def test_streams_outlive_continue_as_new_by_one_run(run, url):
    app = App("streams", store=url)

    @app.activity
    async def numbers(first: int) -> AsyncIterator[int]:
        yield first
        yield first + 1

    @app.workflow
    async def main(round: int) -> int:
        await numbers(10 * round)
        if round < 3:
            await wait_for_event("next")
            continue_as_new(round + 1)
        return round

    async def scenario():
        async with app:
            handle = await main.start(1)
            reader = handle.stream(numbers)
            assert await anext(reader) == 10
            await handle.raise_event("next")
            second = handle.stream(numbers, run=2)
            assert await listed(second) == [20, 21]
            assert await listed(reader) == [11]  # because it is pinned to the stream that it began with
            await handle.raise_event("next")
            assert await handle.result() == 3
            assert [(s.run, s.items) for s in await handle.streams()] == [(2, 2), (3, 2)]
            assert await listed(handle.stream(numbers)) == [30, 31]
            assert await listed(handle.stream(numbers, run=1)) == []
            await handle.purge()
            with pytest.raises(InstanceNotFound):
                await listed(handle.stream(numbers))

    run(scenario)


def test_several_streams_of_a_run_are_told_apart_by_name_and_by_call(run):
    app = App("streams", store="memory:")

    @app.activity
    async def a(first: int) -> AsyncIterator[int]:
        yield first

    @app.activity
    async def b(first: int) -> AsyncIterator[int]:
        yield first

    @app.workflow
    async def main() -> list[int]:
        return list(await asyncio.gather(a(1), b(2), a(3)))

    async def scenario():
        async with app:
            handle = await main.start()
            assert await handle.result() == [1, 1, 1]
            found = [(s.call, s.name) for s in await handle.streams()]
            assert found == [(1, "a"), (2, "b"), (3, "a")]
            assert await listed(handle.stream(a)) == await listed(handle.stream()) == [1]
            assert await listed(handle.stream(b)) == [2]
            assert await listed(handle.stream(a, call=3)) == [3]
            assert await listed(handle.stream(b, call=3)) == []

    run(scenario)


def test_a_client_in_another_engine_reads_beside_the_owner_and_with_no_worker_up(run, url):
    app = App("streams", store=url)
    gate = asyncio.Event()
    count = 3 * STREAM_PAGE

    @app.activity
    async def numbers() -> AsyncIterator[int]:
        for number in range(count):
            if number == count // 2:
                await gate.wait()
            yield number

    @app.workflow
    async def main() -> int:
        return await numbers()

    async def scenario():
        async with app, Client(url, app_id="streams") as client:
            id = (await main.start()).id
            reader = client.get(id).stream(numbers)
            first = [await anext(reader) for _ in range(count // 2)]
            gate.set()
            assert first + await listed(reader) == list(range(count))
        async with Client(url, app_id="streams") as client:
            return await listed(client.get(id).stream("numbers", int, after=count - 2))

    assert run(scenario) == [count - 2, count - 1]


def test_a_reader_of_an_instance_that_is_replaced_is_told_so(run):
    app = App("streams", store="memory:")
    gate = asyncio.Event()

    @app.activity
    async def numbers(first: int) -> AsyncIterator[int]:
        yield first
        await gate.wait()
        yield first + 1

    @app.workflow
    async def main(first: int) -> int:
        return await numbers(first)

    async def scenario():
        async with app:
            handle = await main.with_options(id="same").start(1)
            reader = app.client.get("same").stream(numbers)
            assert await anext(reader) == 1
            await handle.terminate()
            again = await main.with_options(id="same").start(7)
            assert await anext(again.stream(numbers)) == 7
            gate.set()
            assert await again.result() == 2
            with pytest.raises(InstanceNotFound):
                await listed(reader)

    run(scenario)


def test_what_a_stream_is_asked_for_is_checked(run):
    app = App("streams", store="memory:")

    async def scenario():
        async with app:
            handle = app.client.get("nobody")
            for wrong in ({"after": -1}, {"call": 0}, {"run": 0}, {"after": "1"}, {"source": ""}, {"source": 7}):
                with pytest.raises(InvalidArgument):
                    handle.stream(**wrong)
            with pytest.raises(InstanceNotFound):
                await anext(handle.stream())
            with pytest.raises(InstanceNotFound):
                await handle.streams()

    run(scenario)


def test_outside_a_workflow_an_activity_that_yields_just_runs(run):
    app = App("streams", store="memory:")

    @app.activity
    async def numbers() -> AsyncIterator[int]:
        yield 1
        yield 2

    @app.activity
    def rows() -> Iterator[int]:
        yield 1

    async def scenario():
        assert [item async for item in numbers.function()] == [1, 2]
        return await numbers(), await rows()

    assert run(scenario) == (2, 1)


def test_items_are_packed_as_all_payloads_are(run, tmp_path, url):
    ring = KeyRing({"a": bytes(32)})
    app = App("streams", store=url, codec=Codec(keys=ring))
    seen = []

    @app.activity(retry=Retry(max_attempts=2, initial_interval=0.01))
    async def words() -> AsyncIterator[str]:
        seen.append(activity_context().last_item(str))
        if activity_context().attempt == 1:
            yield "plaintext"
            raise ValueError
        yield "more"

    @app.workflow
    async def main() -> int:
        return await words()

    async def scenario():
        async with app:
            handle = await main.start()
            assert await handle.result() == 2
            return await listed(handle.stream(words))

    assert run(scenario) == ["plaintext", "more"]
    assert seen == [None, "plaintext"]
    assert not any(b"plaintext" in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize("error, told", [(GeneratorExit, "RuntimeError"), (asyncio.CancelledError, "CancelledError")])
def test_a_generator_that_raises_what_only_loops_raise_has_failed(run, error, told):
    app = App("odd", store="memory:")

    @app.activity(retry=Retry(max_attempts=1))
    async def odd() -> AsyncIterator[int]:
        yield 1
        raise error

    @app.activity(retry=Retry(max_attempts=1))
    def odd_in_thread() -> Iterator[int]:
        yield 1
        raise error

    @app.workflow
    async def main() -> list[str]:
        types = []
        for activity in (odd, odd_in_thread):
            try:
                await activity()
            except ActivityFailed as failed:
                types.append(failed.type)
        return types

    async def scenario():
        async with app:
            handle = await main.start()
            return await handle.result(30)

    assert run(scenario) == [error.__name__, told]


@pytest.mark.parametrize("codec", [None, Codec(keys=KeyRing({"a": bytes(32)}))])
def test_an_activity_has_items_beside_its_result(run, url, codec):
    app = App("streams", store=url, codec=codec)
    ended = asyncio.Event()

    @app.activity(stream=True, retry=Retry(max_attempts=2, initial_interval=0.01))
    async def think(question: str) -> str:
        context = activity_context()
        await context.put(f"attempt {context.attempt} after {context.stream_offset}")
        if context.attempt == 1:
            raise ConnectionError("the model hung up")
        await context.put("word")
        await ended.wait()
        return f"{question}!"

    @app.workflow
    async def main() -> str:
        return await think("why")

    async def scenario():
        async with app:
            handle = await main.start()
            reader = handle.stream("think", str)
            live = [await asyncio.wait_for(anext(reader), 30) for _ in range(3)]
            ended.set()
            assert await listed(reader) == []
            return live, await handle.result()

    assert run(scenario) == (["attempt 1 after 0", "attempt 2 after 1", "word"], "why!")


def test_what_is_put_beside_a_result_is_durable_before_it(run):
    """A reader that comes after the result, and does not wait, finds all items."""
    app = App("streams", store="memory:")

    @app.activity(stream=True)
    async def count(numbers: int) -> int:
        for number in range(numbers):
            await activity_context().put(number)
        return numbers

    @app.workflow
    async def main() -> int:
        return await count(3 * STREAM_AHEAD_MAX)

    async def scenario():
        async with app:
            handle = await main.start()
            total = await handle.result()
            return await listed(handle.stream("count", int, follow=False)) == list(range(total))

    assert run(scenario)


def test_an_activity_without_a_stream_takes_no_items(run):
    app = App("streams", store="memory:")

    @app.activity
    async def plain() -> None:
        await activity_context().put(1)

    @app.workflow
    async def main() -> None:
        await plain()

    async def scenario():
        async with app:
            await (await main.start()).result()

    with pytest.raises(WorkflowFailed, match=r"make it with @app\.activity"):
        run(scenario)


def test_a_plain_def_cannot_put_items_beside_its_result():
    app = App("streams", store="memory:")
    with pytest.raises(InvalidArgument, match="yield instead"):

        @app.activity(stream=True)
        def think() -> str:
            return ""


def test_an_activity_with_a_stream_runs_where_its_run_is():
    app = App("streams", store="memory:")

    @app.activity(stream=True)
    async def think() -> str:
        return ""

    @app.activity
    async def plain() -> str:
        return ""

    assert app.definitions.movable == {"plain"}
