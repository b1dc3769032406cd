"""Whoever the chair chooses: after each contribution an agent decides who speaks next, or that all is said.

python examples/agents/selected.py
"""

import asyncio
from typing import Literal

from pydantic import BaseModel
from pydantic_ai import Agent
from scripted import model

from perdure import App
from perdure.agents import WorkflowDurability

app = App("selected")
TURNS_MAX = 6
"""However the chair chooses, it ends."""


class Choice(BaseModel):
    next: Literal["researcher", "writer", "nobody"]
    task: str = ""


def choose(minutes: str, _: list[str]) -> dict[str, str]:
    if "researcher:" not in minutes:
        return {"next": "researcher", "task": "find out how high the tower is"}
    if "writer:" not in minutes:
        return {"next": "writer", "task": "say it in a sentence"}
    return {"next": "nobody"}


chair = Agent(
    model(choose),
    name="chair",
    output_type=Choice,
    instructions="Decide who does what next, from the minutes so far.",
    capabilities=[WorkflowDurability()],
)
researcher = Agent(
    model(lambda task, _: "330 metres"),
    name="researcher",
    instructions="Find things out.",
    capabilities=[WorkflowDurability()],
)
writer = Agent(
    model(lambda task, _: "The tower is 330 metres high."),
    name="writer",
    instructions="Write.",
    capabilities=[WorkflowDurability()],
)
MEMBERS = {"researcher": researcher, "writer": writer}


@app.workflow
async def meeting(goal: str) -> list[str]:
    minutes = [goal]
    for _ in range(TURNS_MAX):
        choice = (await chair.run("\n".join(minutes))).output
        if choice.next == "nobody":
            break
        said = (await MEMBERS[choice.next].run("\n".join([*minutes, choice.task]))).output
        minutes.append(f"{choice.next}: {said}")
    return minutes[1:]


async def main() -> None:
    async with app:
        handle = await meeting.start("A sentence about the height of the tower")
        print(*await handle.result(timeout=30), sep="\n")


if __name__ == "__main__":
    asyncio.run(main())
