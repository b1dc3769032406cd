"""A shop whose customers write down what they were told.

    python -m tests.power.workload URL PREFIX

serves customers without end and prints each answer as a line of JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Callable

import msgspec

from perdure import App, wait_for_event
from perdure.sdk.handle import Handle
from perdure.stores.contract import EngineStore
from perdure.stores.sql.sqlite import open_store
from tests.power.trace import Answered, Fact

CUSTOMERS_AT_ONCE = 6
PARCEL_BYTES = 1_500
"""So that rows differ in size and some of them leave the page that they began on."""

CHECKPOINT_PAGES = 64
"""So that pages move from the log into the file often enough to be cut short."""

app = App("shop")


@app.activity
async def charge(order: int) -> str:
    return f"{order}:" + "x" * (PARCEL_BYTES * (order % 4))


@app.workflow
async def ship(order: int) -> int:
    await asyncio.sleep(0.005)
    return order * 2


@app.workflow
async def buy(order: int) -> int:
    receipt = await charge(order)
    address = await wait_for_event("address", str)
    return await ship(order) + len(receipt) + len(address)


def price(order: int) -> int:
    """What `buy` returns."""
    return order * 2 + len(f"{order}:") + PARCEL_BYTES * (order % 4) + len("here")


def is_forgetful(order: int) -> bool:
    """Whether the customer goes away before saying where to ship to, so that the instance goes on waiting."""
    return order % 7 == 3


def is_secretive(order: int) -> bool:
    """Whether the customer has the instance purged in the end."""
    return order % 5 == 0


Told = Callable[[Answered], object]


async def serve(order: int, id: str, told: Told) -> None:
    """One customer, from the order to the parcel."""
    handle = await buy.with_options(id=id).start(order)
    told(Answered(id, Fact.STARTED))
    if is_forgetful(order):
        return
    await give_address(handle)
    told(Answered(id, Fact.RAISED))
    assert await handle.result() == price(order)
    told(Answered(id, Fact.FINISHED))
    if is_secretive(order):
        await handle.purge()
        told(Answered(id, Fact.PURGED))


async def give_address(handle: Handle[int]) -> None:
    await handle.raise_event("address", "here")


async def open_shop(store: str | EngineStore, orders: range, prefix: str, told: Told) -> None:
    """Open the app, serve all of them, and close it."""
    gate = asyncio.Semaphore(CUSTOMERS_AT_ONCE)

    async def queue(order: int) -> None:
        async with gate:
            await serve(order, f"{prefix}-{order}", told)

    await app.open(store=store)
    try:
        async with asyncio.TaskGroup() as customers:
            for order in orders:
                customers.create_task(queue(order))
    finally:
        await app.close()


async def endless(url: str, prefix: str) -> None:
    def say(answer: Answered) -> None:
        print(msgspec.json.encode(answer).decode(), flush=True)

    orders = itertools.count(1)

    async def customer() -> None:
        for order in orders:
            await serve(order, f"{prefix}-{order}", say)

    async with asyncio.TaskGroup() as customers:
        await app.open(store=open_store(url, checkpoint_pages=CHECKPOINT_PAGES))
        for _ in range(CUSTOMERS_AT_ONCE):
            customers.create_task(customer())


if __name__ == "__main__":
    asyncio.run(endless(*sys.argv[1:]))
