"""The same workflows on Perdure, through its public names alone.

Imported only in a process that measures Perdure: the store's address is read from PERDURE_STORE here.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.load import GATE, LATENESS, MARKS, receipt
from perdure import App, now, wait_for_event

app = App("bench", slots=20_000)  # because 10,000 activities are held in flight at once


@app.activity
async def activity(argument: Any) -> dict[str, Any]:
    return receipt(argument)


@app.activity
async def yielding(count: int) -> AsyncIterator[dict[str, Any]]:
    for number in range(count):
        yield receipt(number)


@app.activity
async def marked(argument: int) -> int:
    MARKS.mark()
    return argument


@app.activity
async def done_before(number: int) -> int:
    GATE.repeated += 1
    return number


@app.activity
async def held(number: int) -> int:
    await GATE.enter(number)
    return number


@app.activity
async def woke(due: float) -> None:
    LATENESS.woke(due)


@app.workflow
async def one(order: dict[str, Any]) -> dict[str, Any]:
    return await activity(order)


@app.workflow
async def sequence(steps: int) -> Any:
    last = None
    for step in range(steps):
        last = await activity(step)
    return last


@app.workflow
async def stream(items: int) -> int:
    return await yielding(items)


@app.workflow
async def long_run(steps: int) -> int:
    for step in range(steps):
        await marked(step)
    return steps


@app.workflow
async def fan_out(calls: int) -> int:
    return len(await asyncio.gather(*(activity(call) for call in range(calls))))


@app.workflow
async def in_flight(number: int) -> int:
    await done_before(number)
    return await held(number)


@app.workflow
async def unfinished(number: int) -> None:
    await done_before(number)
    await held(number)
    await wait_for_event("never")


@app.workflow
async def sleeper(due: float) -> None:
    await asyncio.sleep(due - now().timestamp())
    await woke(due)


WORKFLOWS: dict[str, Any] = {
    workflow.function.__name__: workflow
    for workflow in (one, sequence, stream, long_run, fan_out, in_flight, unfinished, sleeper)
}


class Perdure:
    """The embedded engine, driven as a user's program drives it."""

    async def start(self, workflow: str, id: str, argument: Any) -> Any:
        """Start a workflow; the handle is returned once the start is durable."""
        return await WORKFLOWS[workflow].with_options(id=id).start(argument)

    async def run(self, workflow: str, id: str, argument: Any) -> Any:
        """Start a workflow and wait for its result."""
        handle = await self.start(workflow, id, argument)
        return await handle.result()


@asynccontextmanager
async def opened() -> AsyncIterator[Perdure]:
    """The app on the store that PERDURE_STORE names."""
    async with app:
        yield Perdure()
