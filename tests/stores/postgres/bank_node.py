"""A node of a bank whose accounts are actors: `python bank_node.py ADDRESS`. It runs until it is ended."""

from __future__ import annotations

import asyncio
import sys

from perdure import Actor, ActorFailed, App

ADDRESS = sys.argv[1] if __name__ == "__main__" else "memory:"
OPENING = 100
"""What each account has before it is first asked."""
app = App("bank", store=ADDRESS, drain_seconds=0.0, quarantine_deaths=None)


@app.actor(idle=1.0)
class Account(Actor):
    """`entries`: what each transfer has taken or brought, so that one that counts twice is seen."""

    balance: int = OPENING
    entries: list[tuple[str, int]] = []  # noqa: RUF012 because it is where each account begins

    async def withdraw(self, transfer: str, amount: int) -> int:
        self.balance -= amount
        self.entries.append((transfer, -amount))
        if self.balance < 0:
            raise ValueError(f"{-self.balance} is missing")
        return self.balance

    async def deposit(self, transfer: str, amount: int) -> int:
        self.balance += amount
        self.entries.append((transfer, amount))
        return self.balance


@app.workflow
async def transfer(name: str, source: str, target: str, amount: int) -> str:
    try:
        await Account(source).withdraw(name, amount)
    except ActorFailed:
        return "refused"
    await Account(target).deposit(name, amount)
    return "done"


async def main() -> None:
    async with app:
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
