"""The one loop for background work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from perdure.actors.rounds import Rounds
from perdure.errors import StoreUnavailable

TURNS = 5
"""Of the event loop, within which what waits for nothing has begun."""


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0)


def test_rounds_come_again_when_they_said(run):
    seen = []

    async def body() -> float | None:
        seen.append(asyncio.get_running_loop().time())
        return 0.05 if len(seen) < 3 else None

    async def scenario():
        rounds = Rounds("test", body)
        rounds.start()
        await until(lambda: len(seen) == 3)
        await asyncio.sleep(0.1)
        await rounds.stop()

    run(scenario)
    assert len(seen) == 3
    assert all(later - sooner >= 0.045 for sooner, later in zip(seen, seen[1:], strict=False))  # noqa: RUF007


def test_a_wake_during_a_round_is_not_lost(run):
    seen = []

    async def scenario():
        async def body() -> float | None:
            seen.append(1)
            if len(seen) == 1:
                rounds.wake()
            await asyncio.sleep(0)
            return None

        rounds = Rounds("test", body)
        rounds.start()
        await until(lambda: len(seen) == 2)
        await asyncio.sleep(0.05)
        assert len(seen) == 2
        rounds.wake()
        await until(lambda: len(seen) == 3)
        await rounds.stop()

    run(scenario)


def test_a_store_that_does_not_answer_is_asked_again(run, caplog):
    seen = []

    async def body() -> float | None:
        seen.append(1)
        if len(seen) < 3:
            raise StoreUnavailable("gone for a while")
        return None

    async def scenario():
        rounds = Rounds("test", body)
        rounds.start()
        await until(lambda: len(seen) == 3)
        await rounds.stop()

    run(scenario)
    assert "gone for a while" in caplog.text


def test_stopping_ends_a_round_in_its_middle_and_may_be_repeated(run):
    ended = []

    async def body() -> float | None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(1)
        return None

    async def scenario():
        rounds = Rounds("test", body)
        rounds.start()
        await asyncio.sleep(0.01)
        await rounds.stop()
        await rounds.stop()

    run(scenario)
    assert ended == [1]


@pytest.mark.parametrize("woken", [1, 5])
def test_wakes_before_a_round_count_once(run, woken):
    seen = []

    async def body() -> float | None:
        seen.append(1)
        return None

    async def scenario():
        rounds = Rounds("test", body)
        rounds.start()
        await until(lambda: len(seen) == 1)
        for _ in range(woken):
            rounds.wake()
        await until(lambda: len(seen) == 2)
        await asyncio.sleep(0.05)
        await rounds.stop()

    run(scenario)
    assert len(seen) == 2


def test_a_gap_lies_between_rounds_that_are_woken_again_and_again(run):
    seen = []

    async def body() -> float | None:
        seen.append(asyncio.get_running_loop().time())
        return None

    async def scenario():
        rounds = Rounds("test", body, lambda: 0.03)
        rounds.start()
        while len(seen) < 4:
            rounds.wake()
            await asyncio.sleep(0)
        await rounds.stop()

    run(scenario)
    assert all(later - sooner >= 0.029 for sooner, later in zip(seen, seen[1:], strict=False))  # noqa: RUF007


def test_a_round_that_is_woken_after_the_gap_begins_at_once(run):
    seen = []

    async def body() -> float | None:
        seen.append(asyncio.get_running_loop().time())
        return None

    async def scenario():
        rounds = Rounds("test", body, lambda: 0.01)
        rounds.start()
        await until(lambda: len(seen) == 1)
        await asyncio.sleep(0.05)
        rounds.wake()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert len(seen) == 2
        await rounds.stop()

    run(scenario)


def test_a_round_that_swallows_its_cancellation_ends_all_the_same(run):
    began = []

    async def body() -> float | None:
        began.append(1)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return None
        raise AssertionError("it is told to end")

    async def scenario():
        rounds = Rounds("test", body)
        rounds.start()
        await until(lambda: began == [1])
        await rounds.stop()

    run(scenario)
    assert began == [1]
