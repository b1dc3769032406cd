"""Tasks are cancelled for good; and an exception is for the task that runs some code, or the code has failed by it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from perdure import cancellation
from perdure.cancellation import cancel_and_wait, is_for_task


async def judge(told: list[bool], code: Callable[[], Awaitable[None]]) -> None:
    """Run the code in this task, and tell what is said of what it raises."""
    task = asyncio.current_task()
    assert task is not None
    try:
        await code()
    except BaseException as error:
        told.append(is_for_task(error, task))
        if told[-1]:
            raise


async def for_ever() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    "error", [RuntimeError, StopAsyncIteration, GeneratorExit, asyncio.CancelledError, TimeoutError]
)
def test_what_code_raises_by_itself_is_its_failure(error: type[BaseException]) -> None:
    async def fails() -> None:
        raise error

    told: list[bool] = []
    asyncio.run(judge(told, fails))
    assert told == [False]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_process_is_for_the_task(error: type[BaseException]) -> None:
    async def ends() -> None:
        raise error

    told: list[bool] = []
    with pytest.raises(error):
        asyncio.run(judge(told, ends))
    assert told == [True]


def test_the_cancellation_of_something_awaited_is_a_failure() -> None:
    async def awaits_another() -> None:
        another = asyncio.create_task(for_ever())
        asyncio.get_running_loop().call_soon(another.cancel)
        await another

    told: list[bool] = []
    asyncio.run(judge(told, awaits_another))
    assert told == [False]


def test_the_end_of_a_timeout_in_the_code_is_a_failure() -> None:
    async def runs_out() -> None:
        async with asyncio.timeout(0):
            await for_ever()

    told: list[bool] = []
    asyncio.run(judge(told, runs_out))
    assert told == [False]


def test_a_task_that_is_cancelled_is_told_so() -> None:
    told: list[bool] = []

    async def scenario() -> None:
        task = asyncio.create_task(judge(told, for_ever))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert told == [True]


def test_a_coroutine_that_is_put_away_goes() -> None:
    told: list[bool] = []

    async def scenario() -> None:
        coroutine = judge(told, for_ever)
        task = asyncio.create_task(coroutine)
        await asyncio.sleep(0)
        coroutine.close()
        assert told == [True]
        task.cancel()  # because a task whose coroutine is gone would wait for ever
        with pytest.raises(RuntimeError, match="cannot reuse"):
            await task

    asyncio.run(scenario())


def test_a_task_that_loses_its_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `asyncio.wait_for` loses it before Python 3.12, in a loop that lives on errors."""
    monkeypatch.setattr(cancellation, "AGAIN_SECONDS", 0.01)

    async def loses() -> None:
        for _ in range(3):
            try:
                await for_ever()
            except asyncio.CancelledError:
                pass  # because losing it is what this is about
        await for_ever()

    async def story() -> None:
        losing, other = asyncio.create_task(loses()), asyncio.create_task(for_ever())
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await cancel_and_wait(losing, other)
        assert losing.cancelled()
        assert other.cancelled()

    asyncio.run(story())


def test_nothing_to_cancel_is_nothing_to_wait_for() -> None:
    async def story() -> None:
        done = asyncio.create_task(asyncio.sleep(0))
        await done
        await cancel_and_wait(done)
        await cancel_and_wait()

    asyncio.run(story())


def test_who_cancels_may_be_cancelled_itself() -> None:
    async def story() -> None:
        async def never_ends() -> None:
            while not over.is_set():
                try:
                    await over.wait()
                except asyncio.CancelledError:
                    pass  # because losing it is what this is about

        over = asyncio.Event()
        task = asyncio.create_task(never_ends())
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await cancel_and_wait(task)
        over.set()
        await task

    asyncio.run(story())
