"""Several views at the same time, and one agent that makes a whole of them.

One view that fails does not spoil the others: it is left out, and the answer says so.

python examples/agents/parallel.py
"""

import asyncio

from pydantic_ai import Agent
from scripted import model

from perdure import ActivityFailed, App, Retry
from perdure.agents import StepOptions, WorkflowDurability

app = App("parallel")
ONCE = StepOptions(retry=Retry(max_attempts=1))


def reviewer(name: str, finding: str) -> Agent[None, str]:
    def review(code: str, _: list[str]) -> str:
        if finding == "":
            raise ConnectionError("the model is away")
        return f"{finding} in {code}"

    return Agent(
        model(review),
        name=name,
        instructions=f"Review the code for {name}.",
        capabilities=[WorkflowDurability(model=ONCE)],
    )


REVIEWERS = [
    reviewer("security", "an open door"),
    reviewer("speed", "a slow loop"),
    reviewer("style", ""),
]
editor = Agent(
    model(lambda findings, _: f"Summary: {findings}"),
    name="editor",
    instructions="Make one review of these.",
    capabilities=[WorkflowDurability()],
)


@app.workflow
async def review(code: str) -> str:
    views = await asyncio.gather(*(each.run(code) for each in REVIEWERS), return_exceptions=True)
    findings = []
    for each, view in zip(REVIEWERS, views, strict=True):
        if isinstance(view, ActivityFailed):
            findings.append(f"{each.name} has no answer")
        elif isinstance(view, BaseException):
            raise view
        else:
            findings.append(view.output)
    return (await editor.run("; ".join(findings))).output


async def main() -> None:
    async with app:
        print(await (await review.start("main.py")).result(timeout=30))


if __name__ == "__main__":
    asyncio.run(main())
