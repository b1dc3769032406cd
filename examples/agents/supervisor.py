"""A supervisor with workers: its tool starts a child workflow for each task, and they run at the same time.

A tool with the metadata {"perdure": False} runs in the workflow's own code, where it may call workflows.

python examples/agents/supervisor.py
"""

import asyncio

from pydantic_ai import Agent
from pydantic_ai.messages import ToolCallPart
from scripted import Reply, model

from perdure import App
from perdure.agents import WorkflowDurability

app = App("supervisor")


def supervise(goal: str, returned: list[str]) -> Reply:
    if not returned:
        return [ToolCallPart("delegate", {"task": f"{part} of {goal}"}) for part in ("the walls", "the roof")]
    return f"{goal}: {' and '.join(returned)}"


supervisor = Agent(
    model(supervise),
    name="supervisor",
    instructions="Divide the goal into tasks, delegate each, and report.",
    capabilities=[WorkflowDurability()],
)
worker = Agent(
    model(lambda task, _: f"{task} done"),
    name="worker",
    instructions="Do the task.",
    capabilities=[WorkflowDurability()],
)


@app.workflow
async def work(task: str) -> str:
    return (await worker.run(task)).output


@supervisor.tool_plain(metadata={"perdure": False})
async def delegate(task: str) -> str:
    """Have a worker do a task, and tell what came of it."""
    return await work(task)


@app.workflow
async def project(goal: str) -> str:
    return (await supervisor.run(goal)).output


async def main() -> None:
    async with app:
        handle = await project.start("the house")
        print(await handle.result(timeout=30))
        workers = [each async for each in app.client.list(name="work") if each.parent == handle.id]
        print(f"by {len(workers)} workers")


if __name__ == "__main__":
    asyncio.run(main())
