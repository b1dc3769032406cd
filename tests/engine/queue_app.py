"""A program whose calls and workflows wait in queues, killed and started again: `python queue_app.py DIRECTORY`."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from perdure import App, Queue, Rate

DIRECTORY = Path(sys.argv[1] if __name__ == "__main__" else ".")
CALLS, WORKFLOWS = 40, 6
LANES, SINGLE = Queue("lanes", concurrency=4, per_key=2), Queue("single", concurrency=1)
METERED = Queue("metered", rate=Rate(4, per=1.0))
# without quarantine, because the test kills the owner more often than an instance may have been in flight
app = App("queues", store=f"sqlite:///{DIRECTORY}/app.db", drain_seconds=0.0, quarantine_deaths=None)


def note(*words: object) -> None:
    """One line, with the process and the time."""
    file = os.open(DIRECTORY / "ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, (" ".join(map(str, (os.getpid(), time.time(), *words))) + "\n").encode())
    finally:
        os.close(file)


@app.activity(queue=LANES)
async def step(number: int) -> int:
    note("begin", "lanes", number % 3)
    await asyncio.sleep(0.03)
    note("end", "lanes", number % 3)
    return number


@app.activity(queue=METERED)
async def metered(number: int) -> int:
    note("begin", "metered", "-")
    note("end", "metered", "-")
    return number


@app.activity
async def alone() -> None:
    note("begin", "single", "-")
    await asyncio.sleep(0.05)
    note("end", "single", "-")


@app.workflow
async def job() -> int:
    calls = [step.with_options(key=str(number % 3))(number) for number in range(CALLS)]
    return sum(await asyncio.gather(*calls, *(metered(number) for number in range(12))))


@app.workflow(queue=SINGLE)
async def lonely(number: int) -> int:
    await alone()
    return number


async def main() -> None:
    async with app:
        print("ready", flush=True)
        handles = [await job.with_options(id="job", if_exists="return").start()]
        for number in range(WORKFLOWS):
            options = lonely.with_options(id=f"lonely {number}", if_exists="return")
            handles.append(await options.start(number))
        print(*await asyncio.gather(*(handle.result() for handle in handles)), flush=True)
        print("finished", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
