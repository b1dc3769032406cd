"""An exception is for the task that runs some code, or the code has failed by it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from perdure.cancellation import is_for_task


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
