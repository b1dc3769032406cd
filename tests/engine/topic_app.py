"""A program that handles the messages of a topic and is killed: `python topic_app.py DIRECTORY`.

Each message that is handled appends a line to `handled`. The handler publishes those whose number ends in 0 on, in the
turn of the message, and each of these starts a workflow, which appends a line to `started`. "ready" tells that the
engine is open.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from perdure import App, CloudEvent, publish, workflow_context

DIRECTORY = Path(sys.argv[1] if __name__ == "__main__" else ".")
IN_HAND_MAX = 20
DEATHS = 1_000
"""More than it dies, because who is killed on purpose again and again must set no message aside."""
app = App("topics", store=f"sqlite:///{DIRECTORY}/app.db", drain_seconds=0.0, quarantine_deaths=DEATHS)


def append(name: str, line: str) -> None:
    """One write at the end of a file, so that a kill leaves whole lines."""
    file = os.open(DIRECTORY / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


@app.subscribe("orders", in_hand_max=IN_HAND_MAX)
async def handle(number: int, event: CloudEvent) -> None:
    append("handled", f"{event.key} {number}")
    if number % 10 == 0:
        await publish("tenths", {"id": f"{event.key}-{number}"})


@app.activity
async def note(instance: str, execution: str) -> None:
    append("started", f"{instance} {execution}")


@app.workflow
async def start(order: dict) -> None:
    await note(workflow_context().instance_id, workflow_context().execution_id)


app.subscribe("tenths", starts=start, id="data.id")


async def main() -> None:
    async with app:
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
