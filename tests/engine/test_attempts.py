"""Attempts: a call that runs is not begun again, whatever happens to its instance meanwhile."""

import asyncio
from collections import Counter

from perdure import App, activity_context

FAN = 20


def test_an_instance_that_leaves_memory_while_its_activities_run_does_not_run_them_again() -> None:
    app = App("attempts", store="memory:", activations_max=1)
    begun: Counter[str] = Counter()

    @app.activity
    async def work(number: int) -> int:
        begun[activity_context().idempotency_key] += 1
        await asyncio.sleep(0.05)  # so that all end together, while their instance is loaded for the first
        return number

    @app.workflow
    async def fan() -> int:
        return sum(await asyncio.gather(*(work(number) for number in range(FAN))))

    async def scenario() -> list[int]:
        async with app:
            handles = [await fan.start() for _ in range(5)]
            return [await handle.result(20) for handle in handles]

    assert asyncio.run(scenario()) == [sum(range(FAN))] * 5
    assert len(begun) == 5 * FAN
    assert set(begun.values()) == {1}
