"""A round table: agents speak in turn, each hears all that was said, and the workflow keeps the order.

python examples/agents/round_robin.py
"""

import asyncio

from pydantic_ai import Agent
from scripted import model

from perdure import App, set_state
from perdure.agents import WorkflowDurability

app = App("round_robin")
ROUNDS = 2


def speaker(name: str, opinion: str) -> Agent[None, str]:
    def speak(heard: str, _: list[str]) -> str:
        return f"{opinion} (after {len(heard.splitlines()) - 1} others)"

    return Agent(
        model(speak),
        name=name,
        instructions=f"You are {name}. Add one sentence to the discussion.",
        capabilities=[WorkflowDurability()],
    )


TABLE = [
    speaker("optimist", "It will work."),
    speaker("pessimist", "It will break."),
    speaker("realist", "Test it."),
]


@app.workflow
async def discuss(subject: str) -> list[str]:
    said: list[str] = []
    for _ in range(ROUNDS):
        for each in TABLE:
            heard = "\n".join([subject, *said])
            said.append(f"{each.name}: {(await each.run(heard)).output}")
            set_state(said)  # for whoever listens: `handle.query(list[str])`
    return said


async def main() -> None:
    async with app:
        handle = await discuss.start("Shall we deploy on Friday?")
        print(*await handle.result(timeout=30), sep="\n")


if __name__ == "__main__":
    asyncio.run(main())
