"""Attempts: a call that has had one is not given it again, whatever happens to its instance meanwhile."""

import asyncio
from collections import Counter
from typing import Any

from perdure import App, activity_context
from perdure.clock import SystemClock
from perdure.codec import NOTHING, Payload
from perdure.engine.attempts import Attempts, Running
from perdure.history.options import CallOptions, encode_options
from perdure.history.work import Attempt, Outcome
from perdure.sdk.definitions import Definitions
from perdure.sdk.worker import Worker
from perdure.stores.contract import Wait

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


class Counting(Worker):
    """Ends every attempt at once, and counts them."""

    def __init__(self) -> None:
        super().__init__("app", Definitions())
        self.begun: list[int] = []

    async def attempt(self, work: Attempt, *_: object) -> Outcome:
        self.begun.append(work.attempt)
        return Outcome(result=NOTHING)


class Leap(SystemClock):
    """A wall clock that somebody sets an hour ahead."""

    ahead = 0

    def now(self) -> int:
        return super().now() + self.ahead


def unasked(*_: object) -> Any:
    raise AssertionError("nobody yields anything, nor has a transaction")


def test_a_leap_of_the_wall_clock_does_not_expire_an_attempt_that_gives_heartbeats() -> None:
    clock = Leap()
    app = App("leap")

    @app.activity
    async def work() -> str:
        for _ in range(6):
            clock.ahead += 3_600_000_000
            activity_context().heartbeat()
            await asyncio.sleep(0.1)
        return "well"

    outcomes: list[Outcome] = []

    async def scenario() -> None:
        worker = Worker("leap", app.definitions)
        attempts = Attempts(worker, clock, lambda _, ended: outcomes.append(ended), lambda *_: None, unasked, unasked)
        options = encode_options(CallOptions(heartbeat_timeout=2.0))
        wait = Wait(number=1, kind="activity", name="work", since=0, attempt=1, input=NOTHING, options=options)
        attempts.start("leap", ("instance", "execution", 1, 1), wait)
        await attempts.drain(5)

    asyncio.run(scenario())
    assert [(outcome.timed_out, outcome.failure) for outcome in outcomes] == [(False, None)]


def test_a_call_has_each_attempt_once_until_it_is_closed() -> None:
    """A store read before the result is durable still shows the call open, to recovery and to loads."""
    worker = Counting()
    ended: list[int] = []
    address = ("instance", "execution", 1, 1)

    def end(running: Running, _: Outcome) -> None:
        ended.append(running.wait.attempt)

    def flush(_: Running, __: Payload) -> None:
        raise AssertionError("nobody has sent a heartbeat")

    async def scenario() -> None:
        attempts = Attempts(worker, SystemClock(), end, flush, unasked, unasked)

        async def start(number: int) -> None:
            attempts.start("app", address, Wait(number=1, kind="activity", name="work", since=0, attempt=number))
            await asyncio.sleep(0.01)

        await start(1)
        await start(1)
        assert worker.begun == ended == [1]
        await start(2)
        await start(1)
        assert worker.begun == ended == [1, 2]
        attempts.cancel(address)
        assert attempts.count == 0, "nothing is kept of a call that is closed"
        await attempts.drain(0)

    asyncio.run(scenario())
