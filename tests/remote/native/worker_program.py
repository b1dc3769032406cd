"""A worker that is a process of its own: its effects go to a ledger, a line for each, which outlives it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator

from perdure import App, Retry, activity_context, wait_for_event

url, ledger = sys.argv[1], sys.argv[2]
app = App("shop", server=url, drain_seconds=3.0)


def note(*words: object) -> None:
    """Write a line of the ledger, whole and at once."""
    file = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, (" ".join(map(str, words)) + "\n").encode())
    os.close(file)


@app.activity(retry=Retry(max_attempts=5, initial_interval=0.05))
async def effect(number: int) -> int:
    context = activity_context()
    note("begin", context.idempotency_key, context.attempt, os.getpid())
    await asyncio.sleep(0.01)
    note("end", context.idempotency_key, context.attempt, os.getpid())
    return number


@app.activity
async def long(seconds: float) -> int:
    note("long begin", os.getpid())
    await asyncio.sleep(seconds)
    note("long end", os.getpid())
    return os.getpid()


@app.activity
async def words(count: int) -> AsyncIterator[int]:
    note("words begin", activity_context().stream_offset)
    for number in range(activity_context().stream_offset, count):
        yield number
        note("word", number)
        await asyncio.sleep(0.01)


@app.activity(heartbeat_timeout=5.0)
async def beating(seconds: float) -> int:
    note("beating begin", os.getpid())
    for _ in range(round(seconds / 0.02)):
        activity_context().heartbeat()
        await asyncio.sleep(0.02)
    return os.getpid()


@app.workflow
async def speaks(count: int) -> int:
    return await words(count)


@app.workflow
async def beats(seconds: float) -> int:
    return await beating(seconds)


@app.workflow
async def chain(steps: int) -> int:
    total = 0
    for number in range(steps):
        total += await effect(number)
    return total


@app.workflow
async def wide(count: int) -> int:
    return sum(await asyncio.gather(*(effect(number) for number in range(count))))


@app.workflow
async def patient(seconds: float) -> int:
    return await long(seconds)


@app.workflow
async def waits() -> list[str]:
    return [await wait_for_event("one", str), await wait_for_event("two", str)]


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(15, stop.set)
    async with app:
        while not app.is_owner:
            await asyncio.sleep(0.01)
        print("ready", flush=True)
        await stop.wait()
    print("drained", flush=True)


asyncio.run(main())
