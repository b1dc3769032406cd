"""A web application with durable workflows inside, in as many worker processes as you like.

    uvicorn examples.fastapi_app:web --workers 4

All processes share one SQLite file. One of them owns it and runs the workflows; the others can start, steer,
await and list them all the same, and one takes over if the owner dies.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from perdure import App, InstanceExists, InstanceNotFound, Retry, set_status, wait_for_event

app = App("shop")


@dataclass
class Order:
    item: str
    cents: int


@app.activity(retry=Retry(max_attempts=5, initial_interval=0.1))
async def charge(order: Order) -> str:
    return f"{order.cents / 100:.2f} paid for {order.item}"


@app.activity
async def ship(order: Order) -> str:
    return f"{order.item} shipped by process {os.getpid()}"


@app.workflow
async def checkout(order: Order) -> list[str]:
    paid = await charge(order)
    if order.cents >= 10_000:
        set_status("waiting for approval")
        await wait_for_event("approved")
    set_status("approved")
    return [paid, await ship(order)]


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with app:  # takes up what was in flight, or stands by while another process has the file
        yield


web = FastAPI(title="Shop", lifespan=lifespan)


class OrderState(BaseModel):
    id: str
    status: str
    note: str | None
    output: list[str] | None


@web.put("/orders/{id}", status_code=202)
async def place(id: str, order: Order) -> str:
    """Durable when this returns."""
    try:
        handle = await checkout.with_options(id=id, tags={"item": order.item}).start(order)
    except InstanceExists:
        raise HTTPException(409, f"order {id} is under way") from None
    return handle.id


@web.post("/orders/{id}/approval", status_code=202)
async def approve(id: str) -> None:
    try:
        await app.client.get(id).raise_event("approved")
    except InstanceNotFound:
        raise HTTPException(404, f"no order {id}") from None


@web.get("/orders/{id}")
async def show(id: str) -> OrderState:
    try:
        return _shown(await app.client.get(id).state())
    except InstanceNotFound:
        raise HTTPException(404, f"no order {id}") from None


@web.get("/orders/{id}/result")
async def result(id: str, seconds: float = 10.0) -> list[str]:
    """Wait for the outcome, whichever process brings it about."""
    try:
        lines: list[str] = await app.client.get(id).result(timeout=seconds)
    except TimeoutError:
        raise HTTPException(504, f"order {id} is still under way") from None
    except InstanceNotFound:
        raise HTTPException(404, f"no order {id}") from None
    return lines


@web.get("/orders")
async def orders(item: str | None = None, limit: int = 100) -> list[OrderState]:
    """The newest ones."""
    tags = {"item": item} if item else None
    return [_shown(state) async for state in app.client.list(name="checkout", tags=tags, limit=limit)]


@web.get("/process")
async def process() -> dict[str, Any]:
    """Which of the worker processes has answered, and whether it is the one that runs the workflows."""
    return {"pid": os.getpid(), "owner": app.is_owner}


def _shown(state: Any) -> OrderState:
    return OrderState(id=state.id, status=state.status, note=state.custom_status, output=state.output)
