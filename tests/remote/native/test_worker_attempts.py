"""The attempts of a worker: each is made once, and told until somebody has heard of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from perdure import App, activity_context
from perdure.codec import decode, encode
from perdure.errors import InvalidArgument, PayloadTooLarge, ServerUnavailable, StreamRefused
from perdure.history.work import Attempt
from perdure.remote.native.answers import BATCH_BYTES_MAX, BATCH_MAX, Answers
from perdure.remote.native.attempts import Making, WorkerAttempts
from perdure.remote.native.beats import Beats
from perdure.remote.native.calls import BEGIN, Place
from perdure.remote.native.codec import AttemptItem
from perdure.remote.native.outlet import AHEAD_MAX, RemoteOutlet
from perdure.remote.requests import ActivityResult
from perdure.sdk.worker import Worker


def item(token: str, attempt: int = 1, name: str = "work") -> AttemptItem:
    return AttemptItem(Attempt("shop", "i-1", name, attempt, "key", None, None, None, "x" * 32, 1, 7), token)


def _no_outlet(token: Callable[[], str], overtaken: Callable[[], None]) -> Any:
    raise AssertionError("nothing yields here")


class Bench:
    """A worker's attempts; what they answer is kept."""

    def __init__(self) -> None:
        self.app = App("shop")
        self.go = asyncio.Event()
        self.begun = 0
        self.cancelled = 0
        self.told: list[tuple[str, ActivityResult]] = []
        self.beaten: list[str] = []

        @self.app.activity
        async def work() -> int:
            self.begun += 1
            activity_context().heartbeat()
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            return self.begun

        worker = Worker("shop", self.app.definitions)
        self.attempts = WorkerAttempts(worker, self._answer, lambda token, _: self.beaten.append(token), _no_outlet)

    def _answer(self, making: Making, result: ActivityResult) -> None:
        self.told.append((making.token, result))
        self.making = making

    async def ends(self, count: int = 1) -> None:
        self.go.set()
        while len(self.told) < count:
            await asyncio.sleep(0)


def play(scenario: Callable[[Bench], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(30):
            await scenario(Bench())

    asyncio.run(within())


def test_an_attempt_that_comes_again_while_it_runs_goes_on_under_its_new_token() -> None:
    async def scenario(bench: Bench) -> None:
        bench.attempts.take(item("t-1"))
        while not bench.begun:
            await asyncio.sleep(0)
        bench.attempts.take(item("t-2"))
        assert bench.attempts.running() == ["t-2"]
        await bench.ends()
        assert (bench.begun, [token for token, _ in bench.told]) == (1, ["t-2"])

    play(scenario)


def test_an_attempt_that_has_ended_unheard_is_told_again_and_not_made_again() -> None:
    async def scenario(bench: Bench) -> None:
        bench.attempts.take(item("t-1"))
        await bench.ends()
        assert bench.attempts.unheard() == [bench.making]
        bench.attempts.take(item("t-2"))
        assert [token for token, _ in bench.told] == ["t-1", "t-2"]
        assert bench.told[0][1] == bench.told[1][1]
        bench.attempts.heard(bench.making)
        assert bench.attempts.unheard() == []
        assert bench.begun == 1

    play(scenario)


def test_another_attempt_of_the_call_is_another_one() -> None:
    async def scenario(bench: Bench) -> None:
        bench.attempts.take(item("t-1"))
        bench.attempts.take(item("t-2", attempt=2))
        await bench.ends(2)
        assert bench.begun == 2

    play(scenario)


def test_an_attempt_that_nobody_wants_is_cancelled_and_says_nothing() -> None:
    async def scenario(bench: Bench) -> None:
        bench.attempts.take(item("t-1"))
        while not bench.begun:
            await asyncio.sleep(0)
        bench.attempts.cancel("t-1")
        bench.attempts.cancel("t-1")
        while not bench.cancelled:
            await asyncio.sleep(0)
        assert (bench.told, bench.attempts.running(), bench.beaten) == ([], [], ["t-1"])

    play(scenario)


def test_draining_waits_and_then_cancels() -> None:
    async def scenario(bench: Bench) -> None:
        bench.attempts.take(item("t-1"))
        while not bench.begun:
            await asyncio.sleep(0)
        await bench.attempts.drain(0.02)
        assert (bench.cancelled, bench.told) == (1, [])

    play(scenario)


# -- answers ----------------------------------------------------------------------------------------------------------


class Post:
    """Takes batches of answers when it is told to."""

    def __init__(self, *failures: Exception | None) -> None:
        self.batches: list[list[tuple[int, bytes]]] = []
        self.failures = list(failures)
        self.refused: dict[int, Exception] = {}
        self.answers = Answers(self._send)
        self.heard: list[tuple[int, Exception | None]] = []

    def put(self, number: int, data: bytes = b"x") -> None:
        self.answers.put(number, data, lambda error: self.heard.append((number, error)))

    async def _send(self, batch: list[tuple[int, bytes]]) -> dict[int, Exception]:
        self.batches.append(batch)
        await asyncio.sleep(0)
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        return self.refused


def posted(post: Callable[[], Post], scenario: Callable[[Post], Any]) -> Post:
    async def within() -> Post:
        there = post()
        scenario(there)
        await there.answers.flush(5)
        return there

    return asyncio.run(within())


def test_answers_that_wait_go_together_in_their_order() -> None:
    post = posted(Post, lambda there: [there.put(number) for number in range(BATCH_MAX + 10)])
    assert [len(batch) for batch in post.batches] == [BATCH_MAX, 10]
    assert [number for number, _ in post.heard] == list(range(BATCH_MAX + 10))
    assert {error for _, error in post.heard} == {None}


def test_a_call_brings_only_so_many_bytes() -> None:
    post = posted(Post, lambda there: [there.put(number, b"x" * (BATCH_BYTES_MAX // 2 + 1)) for number in range(4)])
    assert [len(batch) for batch in post.batches] == [2, 2]


def test_a_call_that_fails_fails_for_all_that_it_brought() -> None:
    down = ServerUnavailable("down")
    post = posted(lambda: Post(down), lambda there: [there.put(number) for number in range(3)])
    assert post.heard == [(0, down), (1, down), (2, down)]


def test_an_answer_that_is_refused_is_alone_in_that() -> None:
    def scenario(there: Post) -> None:
        there.refused = {1: InvalidArgument("no")}
        for number in range(3):
            there.put(number)

    post = posted(Post, scenario)
    assert [type(error) for _, error in post.heard] == [type(None), InvalidArgument, type(None)]


def test_a_batch_that_is_too_large_is_taken_apart() -> None:
    post = posted(lambda: Post(PayloadTooLarge("large")), lambda there: [there.put(number) for number in range(3)])
    assert [len(batch) for batch in post.batches] == [3, 1, 1, 1]
    assert {error for _, error in post.heard} == {None}


# -- heartbeats and streams -------------------------------------------------------------------------------------------


def test_heartbeats_are_coalesced_and_keep_the_newest_details() -> None:
    async def within() -> list[Any]:
        sent: list[Any] = []

        async def send(beats: Any, running: Any) -> None:
            sent.append(beats)

        beats = Beats(send, list)
        for number in range(5):
            beats.beat("t-1", encode(number))
        beats.beat("t-1", None)
        beats.beat("t-2", None)
        while not sent:
            await asyncio.sleep(0)
        beats.close()
        return sent

    assert asyncio.run(within()) == [{"t-1": encode(4), "t-2": None}]


def test_a_generator_is_held_while_too_much_of_it_is_not_durable() -> None:
    async def within() -> None:
        calls: list[Any] = []
        free = asyncio.Event()

        async def tell(token: str) -> None:
            raise AssertionError(token)

        async def ask(call: Any, token: str, values: Any = None, after: int = 0) -> Any:
            assert after == sum(len(batch) for batch in calls)
            calls.append(values)
            await free.wait()
            return sum(len(batch) for batch in calls)

        outlet = RemoteOutlet(ask, lambda: "t-1", lambda token: True, tell, lambda: None)
        for number in range(AHEAD_MAX):
            await outlet.put(encode(number))
        held = asyncio.ensure_future(outlet.put(encode(99)))
        await asyncio.sleep(0.01)
        assert not held.done()
        free.set()
        await held
        assert await outlet.flush() == AHEAD_MAX + 1
        assert len(calls) == 2  # because what comes meanwhile goes together
        assert outlet.last == encode(99)

    asyncio.run(within())


def test_a_generator_hears_what_stands_against_its_items() -> None:
    asked: list[str] = []

    async def tell(token: str) -> None:
        asked.append(token)

    async def within() -> None:
        async def ask(call: Any, token: str, values: Any = None, after: int = 0) -> Any:
            raise StreamRefused("another has it")

        outlet = RemoteOutlet(ask, lambda: "t-1", lambda token: True, tell, lambda: None)
        await outlet.put(encode(1))
        with pytest.raises(StreamRefused):
            await outlet.flush()
        with pytest.raises(StreamRefused):
            await outlet.put(encode(2))
        assert asked == ["t-1"]

    asyncio.run(within())


class Stream:
    """A stream as a server has it, of which another worker has had the attempt after `mine` calls with items."""

    def __init__(self, mine: int) -> None:
        self.items: list[Any] = []
        self._mine = mine

    async def ask(self, call: Any, token: str, values: Any = None, after: int = 0) -> Any:
        if call is BEGIN:
            return Place(len(self.items), encode(self.items[-1]) if self.items else None)
        if self._mine == 0:
            self.items += [100, 101]
        self._mine -= 1
        if after < len(self.items):
            return None
        self.items += [decode(value, int) for value in values]
        return len(self.items)

    def outlet(self, token: Callable[[], str], overtaken: Callable[[], None]) -> RemoteOutlet:
        async def tell(token: str) -> None:
            raise AssertionError(token)

        return RemoteOutlet(self.ask, token, lambda token: True, tell, overtaken)


@pytest.mark.parametrize("is_thread", [False, True])
def test_an_attempt_of_which_another_worker_has_yielded_meanwhile_is_made_anew_behind_that(is_thread: bool) -> None:
    seen: list[tuple[int, int | None]] = []
    app = App("shop")

    def place() -> int:
        context = activity_context()
        seen.append((context.stream_offset, context.last_item(int)))
        return context.stream_offset

    if is_thread:

        @app.activity
        def work() -> Iterator[int]:
            yield from range(place(), 6)
    else:

        @app.activity(name="work")
        async def _work() -> AsyncIterator[int]:
            for number in range(place(), 6):
                yield number

    async def within() -> None:
        ended: asyncio.Future[ActivityResult] = asyncio.get_running_loop().create_future()
        stream = Stream(mine=1)
        attempts = WorkerAttempts(
            Worker("shop", app.definitions),
            lambda making, result: ended.set_result(result),
            lambda token, details: None,
            stream.outlet,
        )
        attempts.take(item("t-1"))
        async with asyncio.timeout(30):
            result = await ended
        mine, theirs = stream.items.index(100), stream.items.index(101) + 1
        assert stream.items == [*range(mine), 100, 101, *range(theirs, 6)]
        assert seen == [(0, None), (theirs, 101)]
        assert (result.failure, result.result) == (None, encode(6))

    asyncio.run(within())


def test_an_outlet_of_an_earlier_making_overtakes_nobody() -> None:
    async def within() -> None:
        async def ask(*_: Any) -> None:
            return None

        def overtaken() -> None:
            raise AssertionError("the attempt is being made anew already")

        async def tell(token: str) -> None:
            raise AssertionError(token)

        outlet = RemoteOutlet(ask, lambda: "t-1", lambda token: True, tell, overtaken)
        await outlet.put(encode(1))
        outlet.close()
        assert outlet._sending is not None
        await outlet._sending

    asyncio.run(within())
