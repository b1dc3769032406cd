"""The simulated event loop: virtual time, seeded order, processes that die without a word."""

import asyncio
import gc
import random

import pytest

from perdure.testing.loop import Deadlock, Process, SimClock, SimLoop, Spin


def test_time_jumps_to_the_next_timer():
    loop = SimLoop(random.Random(1))
    clock = SimClock(loop, random.Random(2))

    async def year() -> int:
        before = clock.now()
        await asyncio.sleep(365 * 86_400)
        return clock.now() - before

    assert loop.run(year()) == 365 * 86_400 * 1_000_000


def test_the_order_is_the_seeds():
    def order(seed: int, disorder: float) -> list[int]:
        seen: list[int] = []

        async def main() -> None:
            async def one(number: int) -> None:
                seen.append(number)

            await asyncio.gather(*(one(number) for number in range(20)))

        SimLoop(random.Random(seed), disorder).run(main())
        return seen

    assert order(1, 0.0) == list(range(20))
    assert order(1, 1.0) == order(1, 1.0) != order(2, 1.0)


def test_nothing_to_wait_for_is_a_deadlock():
    async def stuck() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock):
        SimLoop(random.Random(1)).run(stuck())


def test_a_loop_that_spins_is_told():
    async def spinning() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Spin):
        SimLoop(random.Random(1)).run(spinning())


def test_a_killed_process_runs_no_finally():
    loop = SimLoop(random.Random(1))
    process = Process("node")
    steps: list[str] = []

    async def work() -> None:
        try:
            steps.append("began")
            await asyncio.sleep(1)
            steps.append("went on")
        finally:
            steps.append("cleaned up")

    async def main() -> list[str]:
        loop.create_task(work(), context=process.context.copy())
        await asyncio.sleep(0.5)
        process.kill()
        await asyncio.sleep(5)
        return list(steps)

    assert loop.run(main()) == ["began"]
    process.bury()


def test_what_unwinds_when_a_process_is_buried_is_in_its_own_loop():
    loop = SimLoop(random.Random(1))
    process = Process("node")
    found: list[object] = []

    async def work() -> None:
        try:
            await asyncio.sleep(1)
        finally:
            found.append(asyncio.get_running_loop())
            await asyncio.gather()

    async def main() -> None:
        loop.create_task(work(), context=process.context.copy())
        await asyncio.sleep(0.5)
        process.kill()

    loop.run(main())
    process.bury()
    assert found == [loop]
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_an_error_of_a_killed_process_is_nobodys():
    """Whoever would have looked at it has died with it."""
    loop = SimLoop(random.Random(1))
    process = Process("node")

    async def dies() -> None:
        process.kill()
        raise ValueError

    async def waits() -> None:
        await loop.create_task(dies())

    async def fails() -> None:
        raise KeyError

    async def main() -> None:
        loop.create_task(waits(), context=process.context.copy())
        loop.create_task(fails())
        await asyncio.sleep(1)

    loop.run(main())
    process.bury()
    gc.collect()
    assert [failure.partition("(")[0] for failure in loop.failures] == [
        "SimTask exception was never retrieved: KeyError"
    ]


def test_a_frozen_process_goes_on_later():
    loop = SimLoop(random.Random(1))
    process = Process("node")
    woke: list[float] = []

    async def work() -> None:
        await asyncio.sleep(1)
        woke.append(loop.time())

    async def main() -> None:
        loop.create_task(work(), context=process.context.copy())
        await asyncio.sleep(0.5)
        process.frozen_until = 7.0
        await asyncio.sleep(10)

    loop.run(main())
    assert woke == [7.0]


def test_threads_work_in_virtual_time():
    async def main() -> int:
        return await asyncio.to_thread(lambda: 42)

    assert SimLoop(random.Random(1)).run(main()) == 42
