"""What the decorators make of functions, for a checker. Read by mypy --strict and pyright, never run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from perdure import (
    Activity,
    App,
    Client,
    Handle,
    InstanceState,
    Retry,
    Schedule,
    ScheduleState,
    Workflow,
    continue_as_new,
    patched,
    wait_for_event,
)
from perdure.events import ActivityCompleted
from perdure.testing import Finding, Recording, Verdict, decode_recording, replay_history, replay_recording


@dataclass
class Order:
    id: str


@dataclass
class Receipt:
    total: int


app = App("shop", store="memory:", slots=10)


@app.activity
async def charge(order: Order) -> Receipt:
    return Receipt(1)


@app.activity
def weigh(order: Order, *, precise: bool = False) -> float:
    return 1.0


@app.activity(retry=Retry(max_attempts=3, non_retryable=(KeyError, "CardRefused")), timeout=timedelta(seconds=5))
async def ship(order: Order, parcels: int) -> list[str]:
    return []


@app.activity(name="weigh-in-a-thread", heartbeat_timeout=3.0)
def weigh_slowly(order: Order) -> float:
    return 1.0


@app.workflow
async def checkout(order: Order) -> Receipt:
    assert_type(await charge(order), Receipt)
    assert_type(await weigh(order, precise=True), float)
    assert_type(await ship(order, 2), list[str])
    assert_type(await weigh_slowly(order), float)
    assert_type(await charge.with_options(timeout=5, retry=Retry(), app_id="bank")(order), Receipt)
    assert_type(await wait_for_event("approved", bool), bool)
    return Receipt(1)


@app.workflow(name="second")
async def parent(order: Order, times: int = 1) -> int:
    receipt = await checkout(order)
    assert_type(receipt, Receipt)
    assert_type(await checkout.with_options(id="kid", tags={"a": "b"})(order), Receipt)
    detached = await checkout.start(order)
    assert_type(detached, Handle[Receipt])
    return receipt.total


@app.workflow(name="versioned", version="2", latest=True)
async def versioned(order: Order) -> Receipt:
    assert_type(patched("check-first"), bool)
    return await checkout(order)


async def gate(handle: Handle[Receipt], line: bytes) -> None:
    verdict = replay_history(app, [event async for event in handle.history()])
    assert_type(verdict, Verdict)
    assert_type(verdict.finding, Finding)
    assert_type(verdict.remedy, str | None)
    assert_type(decode_recording(line), Recording)
    assert_type(replay_recording(app, decode_recording(line)).is_compatible, bool)
    assert_type(await (await versioned.start(Order("1"))).result(), Receipt)


@app.workflow
async def monitor(total: int) -> int:
    if total > 10:
        return total
    return continue_as_new(total + 1, keep_events=True)


assert_type(charge.name, str)
assert_type(checkout.name, str)


def keep(activity: Activity[[Order], Receipt], workflow: Workflow[[Order], Receipt]) -> None:
    """Definitions can be passed on with their types."""


keep(charge, checkout)


async def outside(order: Order) -> None:
    assert_type(await charge(order), Receipt)
    assert_type(await weigh(order), float)
    handle = await checkout.with_options(
        id="order-1", at=datetime.now(UTC), run_timeout=60.0, if_exists="return"
    ).start(order)
    assert_type(handle, Handle[Receipt])
    assert_type(await handle.result(timeout=5), Receipt)
    assert_type(await handle.state(), InstanceState)
    assert_type(await handle.rerun(2, input=order), Handle[Receipt])
    async for event in handle.history():
        if isinstance(event, ActivityCompleted):
            assert_type(event.number, int)
    assert_type(await handle.purge(), int)
    assert_type(await (await parent.start(order, times=2)).result(), int)


async def untyped(client: Client) -> None:
    handle = await client.workflow("checkout").with_options(id="x").start(1, 2, a=3)
    assert_type(handle, Handle[Any])
    assert_type(client.get("x"), Handle[Any])
    async for state in client.list(status=["failed", "running"], limit=5):
        assert_type(state, InstanceState)
    assert_type(await client.purge_all(name="x"), int)


async def scheduled(client: Client, order: Order) -> None:
    schedule = await checkout.with_schedule("s", cron="0 3 * * *", timezone="Europe/Berlin", overlap="queue").create(
        order
    )
    assert_type(schedule, Schedule)
    parent.with_schedule("p", every=timedelta(hours=1)).declare(order, times=2)
    assert_type(await schedule.describe(), ScheduleState)
    assert_type(await schedule.trigger(), Handle[Any])
    assert_type(await schedule.backfill(datetime.now(UTC), datetime.now(UTC), overlap="allow"), int)
    assert_type(client.get_schedule("s"), Schedule)
    assert_type(await client.workflow("checkout").with_schedule("s", every=5.0).create(1, 2, a=3), Schedule)
    async for state in client.schedules():
        assert_type(state, ScheduleState)


async def running() -> None:
    async with app as opened:
        assert_type(opened, App)
    async with Client("sqlite:///shop.db", app_id="shop") as client:
        assert_type(client, Client)
