"""Tests of a workflow in virtual time: a year in milliseconds, a bank that is down, and a crash at every step.

    pytest examples/test_checkout.py

With pytest alone, as here, a scenario is a coroutine that `env.run` runs; under pytest-asyncio or anyio's plugin a test
may be `async def` and await the same things itself.
"""

import asyncio

import pytest

from perdure import App, Retry, activity_context, wait_for_event
from perdure.testing import OpenApp, assert_history, event

app = App("shop")
ledger: dict[str, int] = {}
"""The bank's books: it is outside, so no crash of the app touches it."""


@app.activity(retry=Retry(max_attempts=5, initial_interval=60))
async def charge(cents: int) -> str:
    await asyncio.sleep(0.2)
    ledger[activity_context().idempotency_key] = cents  # the same key twice is the same payment
    return f"receipt for {cents}"


@app.workflow
async def checkout(cents: int) -> str:
    try:
        async with asyncio.timeout(30 * 86_400):
            await wait_for_event("confirmed")
    except TimeoutError:
        return "forgotten"
    return await charge(cents)


def test_a_bank_that_is_down_is_asked_again(perdure_app: OpenApp):
    env = perdure_app(app, strict=True)
    env.stub(charge, side_effect=[ConnectionError("down"), ConnectionError("down"), "receipt"])

    async def scenario():
        handle = await checkout.start(750)
        await handle.raise_event("confirmed")
        assert await handle.result() == "receipt"
        (call,) = env.calls(charge)
        assert call.args == (750,)
        assert [attempt.number for attempt in call.attempts] == [1, 2, 3]
        assert (call.attempts[2].began - call.attempts[0].began).total_seconds() == 60 + 120

    env.run(scenario())


def test_who_never_confirms_is_forgotten_after_a_month(perdure_app: OpenApp):
    env = perdure_app(app, strict=True)

    async def scenario():
        began = env.now()
        handle = await checkout.start(750)
        assert await handle.result() == "forgotten"
        assert (env.now() - began).days == 30
        ends = event("RunCompleted", output="forgotten")
        await assert_history(handle, ["RunStarted", "TimerCreated", "TimerFired", ends])

    env.run(scenario())


@pytest.mark.durable(crash="every-step")
def test_nobody_pays_twice(perdure_app: OpenApp):
    ledger.clear()
    env = perdure_app(app)

    async def scenario():
        handle = await checkout.with_options(id="order-1").start(750)
        env.later(lambda: handle.raise_event("confirmed"), days=3)
        assert await handle.result() == "receipt for 750"
        assert list(ledger.values()) == [750]

    env.run(scenario())
