"""The agents of the proof: two tools side by side, an agent that is asked, an approval, and an answer with a type."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models.function import AgentInfo

from perdure import App
from perdure.agents import Approval, DurableAgent, agent_tool
from tests.agents.scripts import Ledger, call, returned, says, scripted


class Report(BaseModel):
    """What the desk answers."""

    order: str
    weather: str
    stock: int
    advice: str
    refund: str


STEPS = (
    "researcher request 1",
    "desk request 1",
    "desk request 3",
    "desk request 5",
    "desk request 7",
    "weather",
    "stock",
    "refund",
)
"""What is done in the world for one report."""
REPORT = Report(order="17", weather="sunny in Paris", stock=3, advice="refund it", refund="refunded 17")


def desk(ledger: Ledger, **settings: Any) -> tuple[App, DurableAgent[None, Report]]:
    """The app, and the agent that answers."""

    def advise(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return says("refund it")

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        got = returned(messages)
        if "weather" not in got:
            return says(call("weather", city="Paris"), call("stock", sku="a"))
        if "ask_researcher" not in got:
            return says(call("ask_researcher", prompt="What now?"))
        if "refund" not in got:
            return says(call("refund", "approve-me", order="17"))
        report = {
            "order": "17",
            "weather": got["weather"],
            "stock": got["stock"],
            "advice": got["ask_researcher"],
            "refund": got["refund"],
        }
        return says(call(info.output_tools[0].name, **report))

    researcher = DurableAgent(Agent(scripted("researcher", ledger, advise), name="researcher"))
    agent = Agent(scripted("desk", ledger, answer), name="desk", output_type=Report, tools=[agent_tool(researcher)])

    @agent.tool_plain
    async def weather(city: str) -> str:
        await ledger.do("weather")
        return f"sunny in {city}"

    @agent.tool_plain
    async def stock(sku: str) -> int:
        await ledger.do("stock")
        return 3

    @agent.tool_plain(requires_approval=True)
    async def refund(order: str) -> str:
        await ledger.do("refund")
        return f"refunded {order}"

    hosted = DurableAgent(agent, approvals=Approval(timeout=86_400))
    return App("desk", agents=[hosted, researcher], **settings), hosted
