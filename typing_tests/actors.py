"""Actors as a checker sees them. Read by mypy --strict and pyright, never run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import assert_type

from perdure import Actor, ActorFailed, App, Client, send


@dataclass
class Line:
    amount: int
    note: str = ""


app = App("bank", store="memory:")


@app.actor
class Account(Actor):
    balance: int = 0
    lines: list[Line] = field(default_factory=list[Line])

    async def deposit(self, amount: int, *, note: str = "") -> int:
        self.balance += amount
        return self.balance

    async def statement(self) -> list[Line]:
        return self.lines

    async def remember(self) -> None:
        self.remind(self.deposit, due=60.0, period=timedelta(hours=1), name="interest", args=(1,))
        self.timer(self.deposit, due=1.0)
        self.cancel_reminder("interest")
        self.cancel_timer("deposit")
        assert_type(self.reminders, frozenset[str])
        assert_type(self.key, str)


@app.actor(name="till", idle=timedelta(minutes=5))
class Till(Actor):
    async def open(self) -> bool:
        return True


@app.workflow
async def interest(key: str) -> int:
    total = await Account(key).deposit(1, note="interest")
    assert_type(total, int)
    await send(Account(key).deposit, 1, note="later")
    return total


async def program(client: Client) -> None:
    assert_type(Account("1"), Account)
    assert_type(await Account("1").deposit(1), int)
    assert_type(await Account("1").statement(), list[Line])
    assert_type(await Till("t").open(), bool)
    account = Account("1").with_options(request_id="r", timeout=3.0, client=client)
    assert_type(account, Account)
    assert_type(await send(account.with_options(delay=60).deposit, 1), None)
    app.include(Till)
    try:
        await Account("1").deposit("1")  # type: ignore[arg-type]
        await send(Account("1").deposit, "1")  # type: ignore[arg-type]
        await send(Account("1").deposit)  # type: ignore[call-arg]
    except ActorFailed as error:
        assert_type(error.type, str)
