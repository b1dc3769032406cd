"""A bank whose accounts are actors."""

from __future__ import annotations

import asyncio
from dataclasses import field
from typing import Any

from perdure import Actor, App, send


class Bank:
    """An app with accounts, and what happened outside of their state."""

    def __init__(self, store: str | None = None, **settings: Any) -> None:
        self.app = app = App("bank", store=store, **settings)
        self.ran: list[str] = []
        self.free = asyncio.Event()
        """What `slow` waits for."""
        ran, free = self.ran, self.free

        @app.actor
        class Account(Actor):
            balance: int = 0
            lines: list[str] = field(default_factory=list)

            async def deposit(self, amount: int) -> int:
                ran.append(f"deposit {self.key} {amount}")
                self.balance += amount
                self.lines.append(f"+{amount}")
                return self.balance

            async def withdraw(self, amount: int) -> int:
                self.lines.append(f"-{amount}")
                if amount > self.balance:
                    raise ValueError(f"only {self.balance} left") from KeyError("card")
                self.balance -= amount
                return self.balance

            async def statement(self) -> tuple[int, list[str]]:
                return self.balance, self.lines

            async def pay(self, to: str, amount: int) -> int:
                await self.withdraw(amount)
                return await Account(to).deposit(amount)

            async def pay_later(self, to: str, amount: int) -> None:
                await send(Account(to).deposit, amount)
                await self.withdraw(amount)

            async def circle(self, through: str) -> None:
                await Account(through).circle(self.key)

            async def slow(self) -> None:
                ran.append(f"slow {self.key}")
                await free.wait()

            async def wait_for(self, other: str) -> None:
                await Account(other).with_options(timeout=0.05).slow()

        self.Account = Account

        @app.workflow
        async def transfer(source: str, target: str, amount: int) -> int:
            await Account(source).withdraw(amount)
            return await Account(target).deposit(amount)

        @app.workflow
        async def tip(target: str, amount: int) -> None:
            await send(Account(target).deposit, amount)
            await send(Account(target).with_options(delay=0.05).deposit, amount)

        @app.activity
        async def cash(target: str, amount: int) -> int:
            await Account(target).deposit(amount)
            return await Account(target).deposit(amount)

        @app.workflow
        async def at_the_counter(target: str, amount: int) -> int:
            return await cash(target, amount)

        self.transfer, self.tip, self.at_the_counter = transfer, tip, at_the_counter


async def settled(account: object, wanted: int) -> None:
    """Wait until an account has as much as it is to have."""
    async with asyncio.timeout(30):
        while (await account.statement())[0] != wanted:  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)
