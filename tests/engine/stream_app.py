"""A program that yields numbers and notes in a file what it knows to be durable; it is meant to be killed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from perdure import App, activity_context

DIRECTORY = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
ITEMS = 3_000
app = App("numbers", store=f"sqlite:///{DIRECTORY}/app.db", quarantine_deaths=None, drain_seconds=0.0)


def note(name: str, offset: int) -> None:
    """What the operating system has been given survives the process."""
    with (DIRECTORY / name).open("a") as file:
        file.write(f"{offset}\n")


@app.activity
async def counted() -> AsyncIterator[int]:
    context = activity_context()
    for number in range(context.stream_offset, ITEMS):
        note("counted", context.stream_offset)
        yield number
        await asyncio.sleep(0)


@app.activity
def drawn() -> Iterator[int]:
    context = activity_context()
    for number in range(context.stream_offset, ITEMS):
        note("drawn", context.stream_offset)
        yield number


@app.workflow
async def main() -> list[int]:
    return list(await asyncio.gather(counted(), drawn()))


async def live() -> None:
    async with app:
        handle = await main.with_options(id="numbers", if_exists="return").start()
        os.write(1, b"ready\n")
        if await handle.result() == [ITEMS, ITEMS]:
            os.write(1, b"finished\n")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(live())
