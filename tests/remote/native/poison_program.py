"""A worker that messages may end: `python poison_program.py SERVER LEDGER`; what it handles, and of what it dies, goes
to a ledger."""

from __future__ import annotations

import asyncio
import os
import sys

from perdure import App, CloudEvent, Retry

url, ledger = sys.argv[1], sys.argv[2]
app = App("shop", server=url, drain_seconds=0.0)


def note(word: str, id: str) -> None:
    file = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{word} {id}\n".encode())
    os.close(file)


@app.subscribe("orders", dead_letter="letters", retry=Retry(max_attempts=3, initial_interval=0.02, max_interval=0.05))
async def handle(kills: bool, event: CloudEvent) -> None:
    """Each takes so long that a message that kills ends all that came with it."""
    await asyncio.sleep(0.1)
    if kills:
        note("died", event.id)
        os._exit(9)
    await asyncio.sleep(0.2)
    note("handled", event.id)


async def main() -> None:
    async with app:
        print("ready", flush=True)
        await asyncio.Event().wait()


asyncio.run(main())
