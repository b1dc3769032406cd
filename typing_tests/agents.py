"""Agents that are hosted, and steps, for a checker. Read by mypy --strict and pyright, never run."""

from __future__ import annotations

from typing import Any, assert_type

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.usage import UsageLimits

from perdure import App, Retry, step
from perdure.agents import (
    AgentRun,
    AgentStep,
    Answer,
    Approval,
    DurableAgent,
    Pending,
    Spent,
    WorkflowDurability,
    agent_tool,
)


class Report(BaseModel):
    city: str


researcher = DurableAgent(Agent("test", name="researcher", output_type=Report))
support = DurableAgent(
    Agent("test", name="support", tools=[agent_tool(researcher), agent_tool("billing", app_id="billing-app")]),
    limits=UsageLimits(request_limit=30),
    approvals={"refund": Approval(timeout=60.0, default="approve")},
)
app = App("desk", store="memory:", agents=[support, researcher])
app.include(researcher)
plain = Agent(
    "test",
    name="plain",
    capabilities=[WorkflowDurability(model={"retry": Retry(max_attempts=3)}, tool={"timeout": 5.0})],
)


@app.workflow
async def main(prompt: str) -> str:
    assert_type(await researcher(prompt), Report)

    async def body() -> int:
        return 1

    assert_type(await step("one", body, type=int), int)
    assert_type(await step("any", body), Any)
    return (await plain.run(prompt)).output


async def use() -> None:
    run = await researcher.start("Paris?", session="s", id="i")
    assert_type(run, AgentRun[Report])
    assert_type(await run.result(timeout=5), Report)
    assert_type(await run.answer(), Answer)
    assert_type(await run.usage(), Spent)
    assert_type(await run.pending(), list[Pending])
    assert_type(await run.steps(), list[AgentStep])
    assert_type(await run.fork("model#1", result="text"), AgentRun[Report])
    await run.approve("call", by="ann")
