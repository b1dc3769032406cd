"""What actors do by themselves: reminders, timers, and how they come to memory and leave it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from perdure import Actor, ActorFailed, App, send
from perdure.blocks.actors import stage, timers
from perdure.errors import InvalidArgument
from perdure.history import delayed

PERIOD = 0.05


class Clocks:
    """An app with an actor that does things by itself, and what it did."""

    def __init__(self, url: str, idle: float = 60.0) -> None:
        self.app = app = App("clocks", store=url)
        self.did: list[str] = []
        self.fails = 0
        did, own = self.did, self

        @app.actor(idle=idle)
        class Clock(Actor):
            ticks: int = 0

            async def on_activate(self) -> None:
                did.append("activate")

            async def on_deactivate(self) -> None:
                did.append("deactivate")
                self.ticks += 1_000

            async def tick(self, by: int = 1) -> int:
                did.append("tick")
                if own.fails:
                    own.fails -= 1
                    raise OSError("not now")
                self.ticks += by
                return self.ticks

            async def read(self) -> int:
                return self.ticks

            async def set(self, due: float, period: float | None = None, by: int = 1) -> None:
                self.remind(self.tick, due=due, period=period, args=(by,))

            async def names(self) -> list[str]:
                return sorted(self.reminders)

            async def clear(self) -> None:
                self.cancel_reminder("tick")

            async def set_and_fail(self) -> None:
                self.remind(self.tick, due=0.01)
                self.timer(self.tick, due=0.01)
                await send(self.tick)
                raise ValueError("no")

            async def wind(self, due: float, period: float | None = None) -> None:
                self.timer(self.tick, due=due, period=period)

            async def unwind(self) -> None:
                self.cancel_timer("tick")

            async def set_many(self, count: int) -> None:
                for number in range(count):
                    self.remind(self.tick, due=1_000, name=f"r{number}")

            async def wind_many(self, count: int) -> None:
                for number in range(count):
                    self.timer(self.tick, due=1_000, name=f"t{number}")

        self.Clock = Clock


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


# -- reminders --------------------------------------------------------------------------------------------------------


def test_a_reminder_comes_once_with_its_arguments_and_is_gone(url, run):
    clocks = Clocks(url)

    async def scenario():
        async with clocks.app:
            await clocks.Clock("2").set(3_600, by=5)
            assert await clocks.Clock("2").names() == ["tick"]
            await clocks.Clock("1").set(PERIOD, by=5)
            await until(lambda: "tick" in clocks.did)
            assert await clocks.Clock("1").read() == 5
            assert await clocks.Clock("1").names() == []

    run(scenario)


def test_a_reminder_with_a_period_comes_again_until_it_is_cancelled(url, run):
    clocks = Clocks(url)

    async def scenario():
        async with clocks.app:
            await clocks.Clock("1").set(PERIOD, PERIOD)
            await until(lambda: clocks.did.count("tick") >= 3)
            await clocks.Clock("1").clear()
            count = await clocks.Clock("1").read()
            await asyncio.sleep(4 * PERIOD)
            assert await clocks.Clock("1").read() == count

    run(scenario)


def test_a_reminder_of_the_same_name_takes_the_place_of_the_one_before(url, run):
    clocks = Clocks(url)

    async def scenario():
        async with clocks.app:
            await clocks.Clock("1").set(3_600, by=100)
            await clocks.Clock("1").set(PERIOD, by=1)
            await until(lambda: "tick" in clocks.did)
            assert await clocks.Clock("1").read() == 1
            assert await clocks.Clock("1").names() == []

    run(scenario)


def test_a_reminder_outlives_its_process_and_does_not_come_late_more_than_once(url, run):
    async def scenario():
        first = Clocks(url)
        async with first.app:
            await first.Clock("1").set(2 * PERIOD, 2 * PERIOD)
        ticks = first.did.count("tick")
        await asyncio.sleep(8 * PERIOD)
        later = Clocks(url)
        begun = time.monotonic()
        async with later.app:
            await until(lambda: later.did.count("tick") >= 1)
            found = await later.Clock("1").read()
            passed = (time.monotonic() - begun) / (2 * PERIOD)  # which are in time, however slow the machine is
            assert found <= ticks + 2 + passed
            await until(lambda: later.did.count("tick") >= 2)

    run(scenario)


def test_a_reminder_that_fails_is_tried_again_and_then_given_up(url, run, monkeypatch):
    monkeypatch.setattr(delayed, "REMINDER_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(delayed, "REMINDER_TRIES_MAX", 3)
    clocks = Clocks(url)

    async def scenario():
        async with clocks.app:
            clocks.fails = 2
            await clocks.Clock("1").set(PERIOD)
            await until(lambda: clocks.did.count("tick") == 3)
            assert await clocks.Clock("1").read() == 1
            clocks.fails = 100
            await clocks.Clock("1").set(PERIOD)
            await until(lambda: clocks.did.count("tick") == 3 + 4)
            await asyncio.sleep(0.3)
            assert clocks.did.count("tick") == 3 + 4
            assert await clocks.Clock("1").names() == []

    run(scenario)


def test_a_period_that_is_no_microsecond_is_refused(url, run):
    clocks = Clocks(url)

    async def scenario():
        async with clocks.app:
            with pytest.raises(ActorFailed, match=r"period is 1e-07; a reminder comes again after 0.000001 seconds"):
                await clocks.Clock("1").set(PERIOD, period=1e-7)
            assert await clocks.Clock("1").names() == []

    run(scenario)


def test_what_a_failed_method_has_set_never_comes(url, run):
    clocks = Clocks(url)

    async def scenario():
        async with clocks.app:
            with pytest.raises(ActorFailed, match="no"):
                await clocks.Clock("1").set_and_fail()
            await asyncio.sleep(0.2)
            assert "tick" not in clocks.did
            assert await clocks.Clock("1").names() == []

    run(scenario)


@pytest.mark.parametrize("many", ["set_many", "wind_many"])
def test_reminders_and_timers_are_bounded(url, run, monkeypatch, many):
    monkeypatch.setattr("perdure.blocks.actors.turn.REMINDERS_MAX", 3)
    monkeypatch.setattr("perdure.blocks.actors.turn.TIMERS_MAX", 3)
    clocks = Clocks(url)

    async def scenario():
        async with clocks.app:
            await getattr(clocks.Clock("1"), many)(3)
            with pytest.raises(ActorFailed, match="cancel one before"):
                await getattr(clocks.Clock("1"), many)(4)

    run(scenario)
    assert delayed.REMINDERS_MAX == timers.TIMERS_MAX == 1_000


# -- timers -----------------------------------------------------------------------------------------------------------


def test_a_timer_runs_a_method_as_a_turn_again_and_again_until_it_is_cancelled(url, run):
    clocks = Clocks(url)

    async def scenario():
        async with clocks.app:
            clocks.fails = 1
            await clocks.Clock("1").wind(0.02, 0.02)
            await until(lambda: clocks.did.count("tick") >= 4)
            await clocks.Clock("1").unwind()
            count = await clocks.Clock("1").read()
            assert count >= 3
            await asyncio.sleep(0.1)
            assert await clocks.Clock("1").read() == count

    run(scenario)


def test_a_timer_dies_with_the_activation(url, run, monkeypatch):
    monkeypatch.setattr(stage, "LOOK_SECONDS", 0.02)
    clocks = Clocks(url, idle=0.05)

    async def left_before_its_timer_came() -> bool:
        clocks.did.clear()
        await clocks.Clock("1").wind(0.3)
        await until(lambda: "deactivate" in clocks.did)
        return "tick" not in clocks.did

    async def scenario():
        async with clocks.app:
            while not await left_before_its_timer_came():
                pass  # because on a machine that stood still the timer came first, as it should
            await asyncio.sleep(0.5)
            assert "tick" not in clocks.did

    run(scenario)


# -- coming and going -------------------------------------------------------------------------------------------------


def test_an_actor_that_nobody_asks_leaves_memory_and_comes_back_with_its_state(url, run, monkeypatch):
    monkeypatch.setattr(stage, "LOOK_SECONDS", 0.02)
    clocks = Clocks(url, idle=0.05)

    async def scenario():
        async with clocks.app:
            assert await clocks.Clock("1").tick() == 1
            await until(lambda: clocks.did[-1] == "deactivate")
            assert await clocks.Clock("1").tick() == 2  # what the hook has changed is not kept
            assert clocks.did[:5] == ["activate", "tick", "deactivate", "activate", "tick"]

    run(scenario)


def test_actors_in_memory_are_bounded_and_all_leave_when_the_app_closes(url, run, monkeypatch):
    monkeypatch.setattr(stage, "ACTIVE_MAX", 3)
    clocks = Clocks(url)

    async def scenario():
        async with clocks.app:
            for number in range(10):
                await clocks.Clock(str(number)).tick()
            await until(lambda: clocks.did.count("deactivate") == 7)
        assert clocks.did.count("deactivate") == 10

    run(scenario)


def test_an_activation_that_fails_is_begun_again_with_the_next_call(url, run):
    app = App("clocks", store=url)
    tries = []

    @app.actor
    class Shy(Actor):
        number: int = 0

        async def on_activate(self) -> None:
            tries.append(1)
            self.number += 1
            if len(tries) == 1:
                raise ConnectionError("no network")

        async def read(self) -> int:
            return self.number

    async def scenario():
        async with app:
            with pytest.raises(ActorFailed, match="no network"):
                await Shy("1").read()
            assert await Shy("1").read() == 1
            assert len(tries) == 2

    run(scenario)


def test_what_a_method_has_left_running_asks_for_nothing_any_more(url, run):
    app = App("clocks", store=url)
    left = []

    @app.actor
    class Careless(Actor):
        async def leave(self) -> None:
            left.append(asyncio.create_task(self.late()))

        async def late(self) -> None:
            await asyncio.sleep(0.05)
            self.remind(self.late, due=1)

    async def scenario():
        async with app:
            await Careless("1").leave()
            with pytest.raises(InvalidArgument, match="await what it starts"):
                await left[0]

    run(scenario)
