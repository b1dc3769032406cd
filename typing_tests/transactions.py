"""Transactions and outboxes, for a checker. Read by mypy --strict and pyright, never run."""

from __future__ import annotations

import sqlite3
from typing import Any, assert_type

from perdure import App, Retry, Transaction

app = App("bank", store="sqlite:///bank.db?shared=yes")


@app.transaction
def move(db: Transaction, source: str, amount: int) -> int:
    assert_type(db.execute("select 1"), list[tuple[Any, ...]])
    return amount


@app.transaction(name="moved", retry=Retry(max_attempts=2))
def move_again(db: Transaction, source: str) -> str:
    return source


@app.workflow
async def pay(source: str) -> int:
    assert_type(await move_again(source), str)
    return await move(source, 3)


def order(connection: sqlite3.Connection) -> str:
    app.outbox(connection).raise_event("id", "name", 1)
    return app.outbox(connection).start(pay.with_options(id="a"), "ada")
