"""Whether a store, opened after the power was cut, still knows all that was answered before."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from perdure import Client
from perdure.errors import StoreCorrupt
from perdure.sdk.snapshot import State
from perdure.stores.contract import Status
from tests.power.trace import Fact
from tests.power.workload import app, buy, give_address, is_secretive, price

FINISH_SECONDS = 20.0
FILE = "shop.db"


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a store: nothing, where both are empty."""

    lost: tuple[str, ...] = ()
    damage: str = ""

    @property
    def is_clean(self) -> bool:
        return not self.lost and not self.damage


async def judge(folder: Path, facts: dict[str, Fact], *, finish: bool = True, durable: bool = True) -> Verdict:
    """Look the facts up, check the file, and let the engine finish every instance that it finds there.

    `durable` says whether what the engine does then must survive another power cut, which takes time.
    """
    url = f"sqlite:///{folder / FILE}?synchronous={'full' if durable else 'unsafe_normal'}"
    try:
        states = await found(url)
        damage = integrity(folder / FILE)
    except (StoreCorrupt, sqlite3.DatabaseError) as error:
        return Verdict(damage=repr(error))
    lost = [
        f"{id} {fact}: {said(states.get(id))}" for id, fact in facts.items() if not is_kept(id, fact, states.get(id))
    ]
    if finish and not lost and not damage:
        lost = await finished(url, states, facts)
    return Verdict(tuple(lost), damage)


def is_kept(id: str, fact: Fact, state: State | None) -> bool:
    """Whether the instance's state is one that may follow the fact."""
    # because the customer may have asked for the purge and been cut off before the answer
    may_be_purged = fact is Fact.PURGED or (fact is Fact.FINISHED and is_secretive(order_of(id)))
    if state is None:
        return may_be_purged
    if fact is Fact.PURGED:
        return False
    return fact is not Fact.FINISHED or state.status is Status.COMPLETED


async def found(url: str) -> dict[str, State]:
    """The shop's instances of `buy`, looked up without an engine that would go on with them."""
    async with Client(url, app_id=app.id) as client:
        return {state.id: state async for state in client.list(name=buy.name)}


async def finished(url: str, states: dict[str, State], facts: dict[str, Fact]) -> list[str]:
    """Open the app and see every instance through; what did not end as it must."""

    async def see_through(id: str) -> str:
        handle = app.client.get(id)
        if states[id].status is not Status.COMPLETED and facts.get(id) not in (Fact.RAISED, Fact.FINISHED):
            # because a customer without an answer asks again
            await give_address(handle)
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                result = await handle.result()
        except TimeoutError:
            return f"{id} {facts.get(id)}: did not finish, {said(await handle.state())}"
        return "" if result == price(order_of(id)) else f"{id}: finished with {result!r}"

    await app.open(store=url)
    try:
        return [wrong for wrong in await asyncio.gather(*map(see_through, states)) if wrong]
    finally:
        await app.close()


def integrity(path: Path) -> str:
    """What SQLite finds wrong with the file; empty if nothing."""
    connection = sqlite3.connect(path)
    try:
        found = [row[0] for row in connection.execute("pragma integrity_check")]
    finally:
        connection.close()
    return "" if found == ["ok"] else "; ".join(found)


def order_of(id: str) -> int:
    return int(id.rpartition("-")[2])


def said(state: State | None) -> str:
    return "is not there" if state is None else f"is {state.status}"
