"""The program of a node of either version: journeys that wait to be sent on, and a ledger of what was done.

python program.py URL LEDGER; each line of standard input is the id of an instance to start.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from perdure import App, Retry, activity_context, set_status, wait_for_event
from perdure.stores.contract import FORMAT

APP = "upgraded"
app = App(APP, slots=4, drain_seconds=5.0)


@app.activity(retry=Retry(max_attempts=3, initial_interval=0.05))
async def note(instance: str, step: str) -> str:
    """Write a line into the ledger; the first attempt of each step fails before it does."""
    if activity_context().attempt == 1:
        raise RuntimeError("not yet")
    with Path(sys.argv[2]).open("a") as ledger:
        ledger.write(f"{instance} {step}\n")
    return f"{step} by {FORMAT}"


@app.workflow
async def leg(instance: str) -> str:
    return await note(instance, "child")


@app.workflow
async def journey(instance: str) -> list[str]:
    steps = [await note(instance, "begin")]
    set_status("at one")
    await wait_for_event("one")
    steps += await asyncio.gather(*(note(instance, f"fan {number}") for number in range(3)))
    await asyncio.sleep(0.1)
    set_status("at two")
    await wait_for_event("two")
    return [*steps, await leg(instance), await note(instance, "end")]


STEPS = ("begin", "fan 0", "fan 1", "fan 2", "child", "end")


async def main(url: str) -> None:
    """Be a node until SIGTERM, then leave in good order."""
    leave = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, leave.set)
    await app.open(store=url)
    print("open", flush=True)
    starting = loop.create_task(start_what_is_asked_for())
    await leave.wait()
    starting.cancel()
    await app.close()


async def start_what_is_asked_for() -> None:
    asked = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(asked), sys.stdin)
    while line := (await asked.readline()).decode().strip():
        await journey.with_options(id=line).start(line)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
