"""Actors whose code is with a worker at a server: the same calls, state and clocks as beside the engine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from perdure import Actor, ActorFailed, Client, send
from tests.blocks.bank import Bank, settled
from tests.remote.native.serving import Served, served


def play(scenario: Any, store: str) -> None:
    async def within() -> None:
        async with asyncio.timeout(30), served(store, "bank") as there:
            await scenario(there)

    asyncio.run(within())


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/app.db"


def test_a_worker_at_a_server_runs_actors_for_whoever_calls_them(store: str) -> None:
    async def scenario(there: Served) -> None:
        bank = Bank(server=there.url)
        async with bank.app, Client(there.url, app_id="bank") as client:
            account = bank.Account("1")
            assert await account.deposit(100) == 100
            assert await account.with_options(client=client).deposit(5) == 105
            for _ in range(2):
                assert await account.with_options(request_id="r").deposit(5) == 110
            assert await (await bank.transfer.start("1", "2", 30)).result() == 30
            assert await (await bank.at_the_counter.start("2", 5)).result() == 40
            with pytest.raises(ActorFailed, match="only 80 left") as caught:
                await account.withdraw(1_000)
            assert caught.value.type == "ValueError"
            await account.pay("3", 4)
            await send(bank.Account("3").deposit, 2)
            await settled(bank.Account("3"), 6)
            with pytest.raises(ActorFailed, match="ActorReentered"):
                await bank.Account("a").circle("b")
        again = Bank(server=there.url)
        async with again.app:
            assert (await again.Account("1").statement())[0] == 76

    play(scenario, store)


def test_reminders_and_timers_come_to_a_worker_at_a_server(store: str) -> None:
    async def scenario(there: Served) -> None:
        bank = Bank(server=there.url)
        came: list[str] = []

        @bank.app.actor
        class Bell(Actor):
            async def set(self) -> None:
                self.remind(self.ring, due=0.05, args=("reminder",))
                self.timer(self.ring, due=0.05, args=("timer",))

            async def set_late(self) -> None:
                self.remind(self.ring, due=3_600, args=("late",))

            async def ring(self, what: str) -> None:
                came.append(what)

            async def names(self) -> list[str]:
                return sorted(self.reminders)

        async with bank.app:
            await Bell("2").set_late()
            assert await Bell("2").names() == ["ring"]
            await Bell("1").set()
            while len(came) < 2:
                await asyncio.sleep(0.01)
            assert sorted(came) == ["reminder", "timer"]
            assert await Bell("1").names() == []

    play(scenario, store)


def test_what_a_worker_has_under_way_when_it_goes_is_run_by_the_next(store: str) -> None:
    async def scenario(there: Served) -> None:
        first = Bank(server=there.url, drain_seconds=0.0)
        async with first.app, Client(there.url, app_id="bank") as client:
            await send(first.Account("1").slow)
            await send(first.Account("2").deposit, 5)
            await settled(first.Account("2"), 5)
            call = asyncio.create_task(first.Account("1").with_options(client=client).deposit(1))
            await asyncio.sleep(0.1)
            await first.app.close()
            second = Bank(server=there.url)
            second.Account._perdure.methods.pop("slow")  # as other code would, that is fit to go on
            async with second.app:
                assert await call == 1

    play(scenario, store)
