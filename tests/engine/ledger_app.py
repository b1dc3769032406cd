"""A program that is killed and started again: `python ledger_app.py DIRECTORY` works until all is done.

Each attempt of an activity appends a line to `ledger` before it works; "ready" tells that the engine is open.
With `stay` after the directory it keeps the engine open when all is done.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from perdure import App, Retry, activity_context, wait_for_event

DIRECTORY = Path(sys.argv[1] if __name__ == "__main__" else ".")
INSTANCES = 8
STEPS = 40
STEP_SECONDS = 0.06
app = App("ledger", store=f"sqlite:///{DIRECTORY}/app.db", quarantine_deaths=None, drain_seconds=0.0)


def note(kind: str, name: str) -> None:
    """One durable line: kind, what, the attempt's key and number."""
    context = activity_context()
    line = f"{kind} {name} {context.idempotency_key} {context.attempt}\n"
    file = os.open(DIRECTORY / "ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
        os.fsync(file)
    finally:
        os.close(file)


@app.activity
async def step(name: str) -> str:
    note("begin", name)
    await asyncio.sleep(STEP_SECONDS)
    note("end", name)
    return name


@app.activity(retry=Retry(max_attempts=5, initial_interval=0.05))
def flaky(name: str) -> str:
    note("begin", name)
    if activity_context().attempt < 2:
        raise ValueError(name)
    return name


@app.workflow
async def part(name: str) -> str:
    await asyncio.sleep(0.05)
    return await step(f"{name}.child")


@app.workflow
async def job(name: str) -> list[str]:
    found = [await step(f"{name}.{number}") for number in range(STEPS)]
    found += await asyncio.gather(*(step(f"{name}.wide{number}") for number in range(5)))
    found.append(await flaky(f"{name}.flaky"))
    found.append(await part(name))
    found.append(await wait_for_event("go", str))
    return found


def expected(name: str) -> list[str]:
    """What `job(name)` returns."""
    parts = [f"{name}.{number}" for number in range(STEPS)] + [f"{name}.wide{number}" for number in range(5)]
    return [*parts, f"{name}.flaky", f"{name}.child", f"event for {name}"]


async def main() -> None:
    async with app:
        print("ready", flush=True)
        while not app.is_owner:
            await asyncio.sleep(0.01)
        print("owner", flush=True)
        names = [f"j{number}" for number in range(INSTANCES)]
        handles = [
            await job.with_options(id=name, if_exists="return").start(name) for name in names if not await done(name)
        ]
        for handle in handles:
            if not (await handle.state()).custom_status:
                await handle.raise_event("go", f"event for {handle.id}")
        await asyncio.gather(*(handle.result() for handle in handles))
        print("finished", flush=True)
        if "stay" in sys.argv:
            await asyncio.Event().wait()


async def done(name: str) -> bool:
    found = [state async for state in app.client.list(text=name, name="job") if state.id == name]
    return bool(found) and found[0].status == "completed"


if __name__ == "__main__":
    asyncio.run(main())
