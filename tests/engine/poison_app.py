"""A program whose messages may end its process: `python poison_app.py DIRECTORY [WORD]` runs until none is left.

A message with "kills" ends it as a crash in native code does, unless a file `repaired` is there, one with "seconds"
takes so long. Each end appends a line to `deaths`, each message that is handled one to `handled`. With the word `off`
nobody is quarantined, with `stops` the program ends in good order a moment after it has a message in hand.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from perdure import App, CloudEvent

DIRECTORY = Path(sys.argv[1] if __name__ == "__main__" else ".")
SETTINGS = {"quarantine_deaths": None} if "off" in sys.argv else {}
app = App("poison", store=f"sqlite:///{DIRECTORY}/app.db", drain_seconds=0.0, **SETTINGS)
in_hand = asyncio.Event()


def append(name: str, line: str) -> None:
    file = os.open(DIRECTORY / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{line}\n".encode())
    os.fsync(file)
    os.close(file)


@app.subscribe("orders", dead_letter="graveyard")
async def handle(order: dict, event: CloudEvent) -> None:
    in_hand.set()
    await asyncio.sleep(order.get("seconds", 0))
    if order.get("kills") and not (DIRECTORY / "repaired").exists():
        append("deaths", event.id)
        os.kill(os.getpid(), signal.SIGKILL)
    append("handled", event.id)


@app.subscribe("graveyard")
async def bury(event: CloudEvent) -> None:
    append("buried", f"{event.extensions['deadletterreason']}")


def id_of(event: CloudEvent) -> str:
    """Code of the user that runs in the turn which comes past a message."""
    if event.data.get("kills"):
        append("deaths", event.id)
        os.kill(os.getpid(), signal.SIGKILL)
    return event.id


@app.workflow
async def ship(order: dict) -> None:
    """Only begun."""


app.subscribe("shipments", starts=ship, id=id_of, dead_letter="graveyard")


async def is_over() -> bool:
    """Whether no message is left, neither in a topic nor on its way from one to the graveyard."""
    topics = await app.client.topics()
    groups = [group for topic in topics for group in topic.groups]
    if not groups or any(group.left for group in groups):
        return False
    buried = sum(topic.published for topic in topics if topic.name == "graveyard")
    return buried == sum(group.dead for group in groups if group.dead_letter == "graveyard")


async def main() -> None:
    async with app:
        print("ready", flush=True)
        if "stops" in sys.argv:
            await in_hand.wait()
            return
        while not await is_over():
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    asyncio.run(main())
