"""Limits that are divided among agents, and what is refused as one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.usage import RequestUsage, RunUsage, UsageLimits

from perdure import App, Retry, WorkflowFailed
from perdure.agents import Approval, DurableAgent, StepOptions, WorkflowDurability, agent_tool
from perdure.agents.budget import share
from perdure.agents.steps import is_final
from perdure.errors import InvalidArgument, NotStarted, PerdureError
from tests.agents.scripts import call, returned, says


@pytest.mark.parametrize("limit", [Decimal(2), 2, 2.0, "2.00"])
@pytest.mark.parametrize("used, part", [(None, "0.5"), (Decimal(1), "0.25")])
def test_a_cost_is_divided_exactly(limit: Any, used: Decimal | None, part: str) -> None:
    left = share(UsageLimits(cost_limit=limit), RunUsage(cost=used), 4)
    assert Decimal(left["cost_limit"]) == Decimal(part)


@pytest.mark.parametrize("limit", [Decimal(2), 2, 2.0, "2.00"])
def test_a_cost_limit_holds_for_the_tree_however_it_is_written(perdure_app, limit):
    asked: list[str] = []

    def model(name: str, answer: Any) -> FunctionModel:
        async def respond(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            asked.append(name)
            response: ModelResponse = answer(messages)
            response.usage = RequestUsage(input_tokens=1, output_tokens=1, cost=Decimal("0.5"))
            return response

        return FunctionModel(respond)

    busy = Agent(model("busy", lambda messages: says(call("look"))), name="busy")

    @busy.tool_plain
    async def look() -> int:
        return 1

    hosted = DurableAgent(busy)
    lead = model("lead", lambda messages: says("done") if returned(messages) else says(call("ask_busy", prompt="Do.")))
    boss = DurableAgent(Agent(lead, name="boss", tools=[agent_tool(hosted)]), limits=UsageLimits(cost_limit=limit))
    env = perdure_app(App("firm", agents=[boss, hosted]))

    async def scenario():
        with pytest.raises(
            WorkflowFailed, match=r"child workflow agent.busy failed: UsageLimitExceeded: .* `cost_limit`"
        ):
            await (await boss.start("Do.")).result()

    env.run(scenario())
    assert asked.count("busy") == 4


def agent() -> Agent[None, str]:
    return Agent(TestModel(), name="x")


@pytest.mark.parametrize(
    "options, text",
    [
        ({"limits": UsageLimits(cost_limit="dear")}, "cost_limit is 'dear'; give dollars"),  # type: ignore[arg-type]
        ({"limits": {"cost_limit": 2}}, "give UsageLimits"),
        ({"approvals": Approval(timeout=0)}, "timeout 0; give seconds above 0, or None"),
        ({"approvals": {"pay": Approval(timeout="1 h")}}, "of pay has the timeout '1 h'"),  # type: ignore[arg-type]
    ],
)
def test_what_would_fail_a_run_is_refused_where_the_agent_is_hosted(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        DurableAgent(agent(), **options)


@pytest.mark.parametrize(
    "options, text",
    [
        ({"timeout": -1}, "the timeout of tool is -1; give seconds above 0"),
        ({"heartbeat_timeout": "soon"}, "the heartbeat_timeout of tool is 'soon'"),
        ({"retry": 5}, "the retry of tool is 5; give Retry"),
    ],
)
def test_an_option_of_steps_that_cannot_be_is_refused_where_it_is_given(options: Any, text: str) -> None:
    WorkflowDurability[None](tool=StepOptions(retry=Retry(max_attempts=2), timeout=0.5))
    with pytest.raises(Exception, match=text):
        WorkflowDurability[None](tool=options)


@pytest.mark.parametrize(
    "error", [NotImplementedError("no streams"), TypeError("no argument"), NotStarted("a workflow")]
)
def test_a_mistake_of_the_program_is_not_tried_again(error: Exception) -> None:
    assert is_final(error)
    assert not is_final(RuntimeError("anything else"))


def test_what_is_no_run_of_an_agent_says_so(perdure_app):
    hosted = DurableAgent(agent())
    app = App("shop", agents=[hosted])

    @app.workflow
    async def other() -> dict[str, int]:
        return {"a": 1}

    env = perdure_app(app)

    async def scenario():
        await (await other.with_options(id="o").start()).result()
        with pytest.raises(PerdureError, match="'o' has no answer of an agent"):
            await hosted.get("o").result()
        with pytest.raises(PerdureError, match="no instance 'nowhere'"):
            await hosted.get("nowhere").pending()
        with pytest.raises(PerdureError, match="no instance 'nowhere'"):
            await hosted.get("nowhere").approve("c1")

    env.run(scenario())


def test_a_tool_that_does_what_only_workflows_do_is_not_tried_again(perdure_app):
    tries: list[int] = []

    async def respond(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return says("done") if returned(messages) else says(call("ask"))

    asker = Agent(FunctionModel(respond), name="asker")
    hosted = DurableAgent(asker)
    app = App("shop", agents=[hosted])

    @app.workflow
    async def other() -> None: ...

    @asker.tool_plain
    async def ask() -> str:
        tries.append(1)
        await other()
        return "done"

    env = perdure_app(app)

    async def scenario():
        with pytest.raises(WorkflowFailed, match="NotStarted"):
            await (await hosted.start("Ask.")).result()

    env.run(scenario())
    assert tries == [1]
