"""A program in which some instances end their process: `python killer_app.py DIRECTORY [WORD]` runs until all rest.

It starts nothing. Each end appends a line to `deaths`; a file `repaired` mends the code, a file `stop` ends the
program in good order. With the word `off` nobody is quarantined, with `hasty` suspects have little time to run alone.
With `stay` it runs until it is told. "ready" tells that the engine is open.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from perdure import Actor, App, wait_for_event
from perdure.engine import quarantine

DIRECTORY = Path(sys.argv[1] if __name__ == "__main__" else ".")
SETTINGS = {"quarantine_deaths": None} if "off" in sys.argv else {}
HASTY_SECONDS = 4.0
STEPS = 3
STEP_SECONDS = 0.04
REST_LOOKS = 60 if "patient" in sys.argv else 15
"""So many times in a row nothing must be left to do, because a resume may lie in the mail of what stands still."""
app = App("killer", store=f"sqlite:///{DIRECTORY}/app.db", drain_seconds=0.0, **SETTINGS)


def die(who: str) -> str:
    """End this process as a crash in native code does, unless the code was repaired."""
    if not (DIRECTORY / "repaired").exists():
        file = os.open(DIRECTORY / "deaths", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{who}\n".encode())
        os.fsync(file)
        os.kill(os.getpid(), signal.SIGKILL)
    return f"{who} survived"


@app.activity
async def step(number: int) -> int:
    await asyncio.sleep(STEP_SECONDS)
    return number


@app.activity
async def deadly() -> str:
    return die("activity")


@app.activity
async def deadly_later() -> str:
    await asyncio.sleep(HASTY_SECONDS / 8)
    return die("later")


@app.activity
async def long() -> str:
    await asyncio.sleep(600)
    return "done"


@app.workflow
async def healthy() -> list[int]:
    return [await step(number) for number in range(STEPS)]


@app.workflow
async def killing_activity() -> str:
    return await deadly()


@app.workflow
async def killing_later() -> str:
    return await deadly_later()


@app.workflow
async def killing_event() -> str:
    return die(await wait_for_event("go", str))


@app.workflow
async def killing_timer() -> str:
    await asyncio.sleep(0.3)
    return die("timer")


@app.workflow
async def working() -> str:
    return await long()


@app.actor
class Killer(Actor):
    told: str = ""

    async def kill(self) -> None:
        self.told = die("message")

    async def kill_later(self) -> None:
        self.remind(self.remember, due=0.3)

    async def remember(self) -> None:
        self.told = die("reminder")


@app.actor
class Neighbour(Actor):
    count: int = 0

    async def add(self) -> int:
        self.count += 1
        return self.count

    async def add_slowly(self) -> None:
        await asyncio.sleep(STEP_SECONDS * 2)
        self.count += 1


async def is_over() -> bool:
    """Whether everything is finished or stands still."""
    return not [state async for state in app.client.list() if state.finished is None and state.stalled is None]


async def main() -> None:
    if "hasty" in sys.argv:
        quarantine.LANE_SECONDS = HASTY_SECONDS
    async with app:
        print("ready", flush=True)
        looks = 0
        while ("stay" in sys.argv or looks < REST_LOOKS) and not (DIRECTORY / "stop").exists():
            looks = looks + 1 if await is_over() else 0
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    asyncio.run(main())
