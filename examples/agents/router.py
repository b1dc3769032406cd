"""A router: one agent decides who a question is for, and that one answers it.

python examples/agents/router.py
"""

import asyncio
from typing import Literal

from pydantic_ai import Agent
from scripted import model

from perdure import App
from perdure.agents import WorkflowDurability

app = App("router")


def sort(question: str, _: list[str]) -> dict[str, str]:
    return {"response": "billing" if "invoice" in question else "technics"}


router = Agent(
    model(sort),
    name="router",
    output_type=Literal["billing", "technics"],
    instructions="Decide who answers the question.",
    capabilities=[WorkflowDurability()],
)
billing = Agent(
    model(lambda question, _: f"The books say: {question} is settled."),
    name="billing",
    instructions="You know the invoices.",
    capabilities=[WorkflowDurability()],
)
technics = Agent(
    model(lambda question, _: f"Switch it off and on: {question}"),
    name="technics",
    instructions="You know the machines.",
    capabilities=[WorkflowDurability()],
)
SPECIALISTS = {"billing": billing, "technics": technics}


@app.workflow
async def answer(question: str) -> str:
    chosen = (await router.run(question)).output
    return f"{chosen}: {(await SPECIALISTS[chosen].run(question)).output}"


async def main() -> None:
    async with app:
        for question in ("invoice 17", "the printer hums"):
            print(await (await answer.start(question)).result(timeout=30))


if __name__ == "__main__":
    asyncio.run(main())
