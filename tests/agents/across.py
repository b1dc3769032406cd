"""An agent that asks an agent of another app, which has to be allowed what it is about to do, wherever the two run."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models.function import AgentInfo

from perdure import App
from perdure.agents import DurableAgent, agent_tool
from tests.agents.scripts import call, plain, returned, says

SECONDS = 30.0


def _front(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    got = returned(messages)
    return says(str(got["ask_billing"])) if got else says(call("ask_billing", prompt="Pay."))


def _billing(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    got = returned(messages)
    return says(str(got["pay"])) if got else says(call("pay", "p1"))


async def paid_across(front: dict[str, Any], billing: dict[str, Any]) -> tuple[str, int]:
    """What the first agent answers, and the requests of both. The arguments say where their apps run."""
    asker = DurableAgent(Agent(plain(_front), name="front", tools=[agent_tool("billing", app_id="billing-app")]))
    asked: DurableAgent[None, str] = DurableAgent(Agent(plain(_billing), name="billing"))

    @asked.agent.tool_plain(requires_approval=True)
    async def pay() -> str:
        return "paid"

    one, other = App("front-app", agents=[asker], **front), App("billing-app", agents=[asked], **billing)
    async with asyncio.timeout(SECONDS), one, other:
        run = await asker.start("Pay.")
        while not (begun := [state.id async for state in other.client.list(name="agent.billing")]):
            await asyncio.sleep(0.01)
        at = asked.get(begun[0])
        while not await at.pending():
            await asyncio.sleep(0.01)
        assert await run.pending() == []  # because it is decided where the agent is
        await at.approve("p1")
        return await run.result(), (await run.usage()).requests
