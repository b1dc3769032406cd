"""A finished run goes on as a new instance from the answer to one of its calls, which gets another result."""

from __future__ import annotations

import asyncio

import pytest

from perdure import App, step
from perdure.errors import EventNotRerunnable, InvalidArgument

made: list[str] = []


def shop(url: str) -> App:
    app = App("shop", store=url)

    @app.activity
    async def price(sku: str) -> int:
        made.append(sku)
        return 10

    @app.workflow
    async def half(number: int) -> int:
        return number // 2

    @app.workflow(name="total")
    async def total() -> list[int]:
        first, second = await asyncio.gather(price("a"), price("b"))
        rest = await half(first + second)

        async def last() -> int:
            made.append("last")
            return rest + 1

        return [first, second, rest, await step("last", last, type=int)]

    return app


@pytest.mark.parametrize(
    "number, result, expected, again",
    [
        (1, 30, [30, 10, 20, 21], ["last"]),
        (2, 30, [10, 30, 20, 21], ["last"]),
        (3, 7, [10, 10, 7, 8], ["last"]),
        (4, 0, [10, 10, 10, 0], []),
    ],
)
def test_what_came_before_is_kept_and_what_follows_is_made_again(run, url, number, result, expected, again):
    app = shop(url)

    async def scenario():
        async with app:
            handle = await app.client.workflow("total").start()
            assert await handle.result(30) == [10, 10, 10, 11]
            made.clear()
            other = await handle.rerun(number, result=result, id="other")
            return await other.result(30)

    assert run(scenario) == expected
    assert made == again, "what was answered is not made again"


def test_what_has_no_answer_cannot_get_another(run, url):
    app = shop(url)

    async def scenario():
        async with app:
            handle = await app.client.workflow("total").start()
            await handle.result(30)
            with pytest.raises(EventNotRerunnable):
                await handle.rerun(99, result=1)
            with pytest.raises(InvalidArgument, match="number"):
                await handle.rerun(result=1)
            with pytest.raises(InvalidArgument, match="no input"):
                await handle.rerun(1, result=1, input=2)

    run(scenario)
