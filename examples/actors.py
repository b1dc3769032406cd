"""Accounts as actors: transfers by a workflow, a monthly fee by a reminder."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from perdure import Actor, ActorFailed, App

app = App("bank", store="memory:")  # so that each run begins with the same balance


@dataclass
class Line:
    what: str
    amount: int


@app.actor
class Account(Actor):
    balance: int = 0
    lines: list[Line] = field(default_factory=list[Line])

    async def deposit(self, what: str, amount: int) -> int:
        self.balance += amount
        self.lines.append(Line(what, amount))
        return self.balance

    async def withdraw(self, what: str, amount: int) -> int:
        if amount > self.balance:
            raise ValueError(f"only {self.balance} left")
        return await self.deposit(what, -amount)

    async def charge_every(self, seconds: float) -> None:
        """A fee comes at each period, also if nobody asks for the account meanwhile."""
        self.remind(self.withdraw, due=seconds, period=seconds, args=("fee", 1))

    async def statement(self) -> list[Line]:
        return self.lines


@app.workflow
async def transfer(source: str, target: str, amount: int) -> str:
    try:
        await Account(source).withdraw(f"to {target}", amount)
    except ActorFailed as error:
        return f"refused: {error.__cause__}"
    await Account(target).deposit(f"from {source}", amount)
    return "done"


async def main() -> None:
    async with app:
        await Account("ada").deposit("salary", 100)
        await Account("ada").charge_every(0.5)
        for amount in (30, 500):
            handle = await transfer.start("ada", "bob", amount)
            print(amount, (await handle.result()).splitlines()[0])
        while len(await Account("ada").statement()) < 4:
            await asyncio.sleep(0.05)
        for line in (await Account("ada").statement())[:4]:
            print(line.what, line.amount)


if __name__ == "__main__":
    asyncio.run(main())
