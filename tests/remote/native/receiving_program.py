"""A worker that subscribes, as a process of its own; what it handles goes to a ledger, which outlives it."""

from __future__ import annotations

import asyncio
import os
import sys

from perdure import App, CloudEvent, Retry, wait_for_event

url, ledger = sys.argv[1], sys.argv[2]
PATIENT = Retry(max_attempts=1_000, initial_interval=0.02, max_interval=0.1)
app = App("shop", server=url, drain_seconds=3.0)


@app.workflow
async def checkout(number: int) -> list[int]:
    return [number, await wait_for_event("paid", int)]


app.subscribe("orders", starts=checkout, id="order-{data}")
app.subscribe("payments", raises="paid", id="order-{data}", retry=PATIENT)


@app.subscribe("orders", group="audit", in_hand_max=4, retry=PATIENT)
async def audit(number: int, event: CloudEvent) -> None:
    await asyncio.sleep(0.01)
    file = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{event.key} {number} {os.getpid()}\n".encode())
    os.close(file)


async def main() -> None:
    async with app:
        print("ready", flush=True)
        await asyncio.Event().wait()


asyncio.run(main())
