"""Counts are kept as long as they cost, and counted by one at a time."""

import asyncio

import pytest

from perdure.remote.dashboard.counted import KEPT_MAX, KEPT_SECONDS, KEPT_TIMES, Counted

KEY = ("here", "shop")


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_a_count_is_kept_for_as_long_as_it_cost():
    async def scenario():
        clock = Clock()
        counted = Counted(clock)
        counts = []

        async def count(cost):
            clock.now += cost
            counts.append(clock.now)
            return len(counts)

        assert await counted.get(KEY, lambda: count(0.0), 1.0) == 1
        clock.now += KEPT_SECONDS - 0.1
        assert await counted.get(KEY, lambda: count(0.0), 1.0) == 1
        clock.now += 0.2
        assert await counted.get(KEY, lambda: count(1.0), 1.0) == 2
        clock.now += KEPT_TIMES - 0.1
        assert await counted.get(KEY, lambda: count(0.0), 1.0) == 2
        clock.now += 0.2
        assert await counted.get(KEY, lambda: count(0.0), 1.0) == 3

    asyncio.run(scenario())


def test_many_ask_and_one_counts():
    async def scenario():
        counted, gate, counts = Counted(), asyncio.Event(), []

        async def count():
            counts.append(1)
            await gate.wait()
            return 7

        asked = [asyncio.ensure_future(counted.get(KEY, count, 5.0)) for _ in range(10)]
        assert await counted.get(KEY, count, 0.01) is None, "who is not patient goes on without"
        gate.set()
        assert await asyncio.gather(*asked) == [7] * 10
        assert len(counts) == 1

    asyncio.run(scenario())


def test_a_count_that_fails_is_counted_again():
    async def scenario():
        counted = Counted()

        async def fail():
            raise OSError("gone")

        async def count():
            return 1

        with pytest.raises(OSError, match="gone"):
            await counted.get(KEY, fail, 1.0)
        assert await counted.get(KEY, count, 1.0) == 1

    asyncio.run(scenario())


def test_what_is_kept_is_bounded():
    async def scenario():
        counted = Counted()

        async def count():
            return 1

        for number in range(KEPT_MAX + 5):
            await counted.get(("here", str(number)), count, 1.0)
        assert len(counted._kept) == KEPT_MAX

    asyncio.run(scenario())
