"""Messages of a topic that begin runs of an agent: each one run, however often it comes."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from perdure import App
from perdure.agents import DurableAgent, Task


def _clerk() -> tuple[DurableAgent[None, str], list[str]]:
    asked: list[str] = []

    def reply(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        asked.append(str(messages[-1].parts[-1].content))  # type: ignore[union-attr]
        return ModelResponse([TextPart(f"seen: {asked[-1]}")])

    return DurableAgent(Agent(FunctionModel(reply), name="clerk")), asked


async def _result(app: App, id: str) -> Any:
    while id not in [state.id async for state in app.client.list()]:
        await asyncio.sleep(0.01)
    return await app.client.get(id).result(timeout=30)


def test_a_task_in_a_message_is_a_run_and_the_same_event_the_same_run(run, url) -> None:
    clerk, asked = _clerk()
    app = App("desk", store=url, agents=[clerk])
    app.subscribe("tasks", starts=clerk.workflow, id="task-{id}")

    async def scenario() -> None:
        async with app:
            for _ in range(3):
                await app.client.publish("tasks", Task(prompt="is 17 paid?"), id="m-1", source="mail")
            answer = await _result(app, "task-m-1")
            assert answer["output"] == "seen: is 17 paid?"
            assert await clerk.get("task-m-1").result() == "seen: is 17 paid?"

    run(scenario)
    run(scenario)  # published again in another life
    assert asked == ["is 17 paid?"]


def test_a_message_of_any_form_is_put_to_an_agent_by_a_workflow(run, url) -> None:
    clerk, asked = _clerk()
    app = App("desk", store=url, agents=[clerk])

    @app.workflow
    async def triage(ticket: dict[str, Any]) -> str:
        return await clerk(f"Ticket of {ticket['who']}: {ticket['text']}")

    app.subscribe("tickets", starts=triage, id="ticket-{data.number}")

    async def scenario() -> None:
        async with app:
            ticket = {"number": 7, "who": "ann", "text": "it hums"}
            await app.client.publish("tickets", ticket)
            await app.client.publish("tickets", ticket)
            assert await _result(app, "ticket-7") == "seen: Ticket of ann: it hums"

    run(scenario)
    assert asked == ["Ticket of ann: it hums"]
