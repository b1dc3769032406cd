"""An evaluator and an optimiser: one agent writes, another judges, until the judge is content or the rounds are over.

python examples/agents/evaluator.py
"""

import asyncio

from pydantic import BaseModel
from pydantic_ai import Agent
from scripted import model

from perdure import App
from perdure.agents import WorkflowDurability

app = App("evaluator")
ROUNDS_MAX = 4


class Judgement(BaseModel):
    is_good: bool
    advice: str = ""


def write(wish: str, _: list[str]) -> str:
    return "Buy our tea. It is warm." if "shorter" in wish else "You really should consider buying our excellent tea."


def judge(draft: str, _: list[str]) -> dict[str, object]:
    words = len(draft.split())
    return {"is_good": words <= 6, "advice": "" if words <= 6 else f"{words} words; make it shorter"}


writer = Agent(
    model(write),
    name="writer",
    instructions="Write a slogan.",
    capabilities=[WorkflowDurability()],
)
critic = Agent(
    model(judge),
    name="critic",
    output_type=Judgement,
    instructions="Judge the slogan: at most six words.",
    capabilities=[WorkflowDurability()],
)


@app.workflow
async def slogan(subject: str) -> str:
    draft = await writer.run(subject)
    for _ in range(ROUNDS_MAX):
        judgement = (await critic.run(draft.output)).output
        if judgement.is_good:
            break
        draft = await writer.run(judgement.advice, message_history=draft.all_messages())
    return draft.output


async def main() -> None:
    async with app:
        print(await (await slogan.start("tea")).result(timeout=30))


if __name__ == "__main__":
    asyncio.run(main())
