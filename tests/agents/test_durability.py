"""The capability by itself: any agent in any workflow, its names in the history, its errors, its waits, its spans."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic_ai import Agent, DeferredToolRequests, FunctionToolset, RunContext
from pydantic_ai.capabilities import Instrumentation, RequestInput
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models.function import AgentInfo
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.toolsets import DynamicToolset

from perdure import App, Retry, Workflow, WorkflowFailed, now, workflow_context
from perdure.agents import DurableAgent, WorkflowDurability, fail, resolve
from perdure.errors import InvalidArgument, OnlyInWorkflow
from perdure.events import ActivityScheduled
from tests.agents.scripts import Ledger, call, plain, returned, says, scripted

Answers = tuple[str, ...]


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def asking(agent: Agent[Any, Any], app: App, **options: Any) -> Workflow[[str], Any]:
    """A workflow that asks the agent."""

    @app.workflow(name="ask")
    async def ask(prompt: str) -> Any:
        return (await agent.run(prompt, **options)).output

    return ask


def in_turn(*answers: Any) -> Any:
    """A model that gives these answers one after the other."""

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return answers[len(messages) // 2]

    return answer


def test_the_names_of_steps_are_those_that_running_instances_hold(perdure_app):
    """These names are in stores. Whoever changes one strands the runs that are under way."""
    named = FunctionToolset[None](id="shelf")

    @named.tool_plain
    async def take() -> str:
        return "taken"

    async def dynamic(ctx: RunContext[None]) -> FunctionToolset[None]:
        made = FunctionToolset[None]()

        @made.tool_plain
        async def find() -> str:
            return "found"

        return made

    agent = Agent(
        plain(in_turn(says(call("own"), call("take"), call("find")), says("done"))),
        name="golden",
        toolsets=[named, DynamicToolset(dynamic, id="today")],
        capabilities=[WorkflowDurability()],
    )

    @agent.tool_plain
    async def own() -> str:
        return "own"

    app = App("names")
    ask = asking(agent, app)
    env = perdure_app(app)

    async def scenario():
        handle = await ask.start("Go.")
        assert await handle.result() == "done"
        asked = [event async for event in handle.history() if isinstance(event, ActivityScheduled)]
        return [(event.name, (event.tags or {}).get("perdure.step")) for event in asked]

    assert env.run(scenario()) == [
        ("golden__dynamic_toolset__today.get_tools", "toolset"),
        ("golden__model.request", "model"),
        ("golden__function_toolset__<agent>.call_tool:own", "tool"),
        ("golden__function_toolset__shelf.call_tool:take", "tool"),
        ("golden__dynamic_toolset__today.call_tool:find", "tool"),
        ("golden__dynamic_toolset__today.get_tools", "toolset"),
        ("golden__model.request", "model"),
    ]


def test_outside_a_workflow_the_agent_is_an_ordinary_one(run):
    seen: list[bool] = []
    agent = Agent(plain(in_turn(says(call("look")), says("done"))), name="free", capabilities=[WorkflowDurability()])

    @agent.tool_plain
    async def look() -> str:
        with pytest.raises(OnlyInWorkflow):
            workflow_context()
        seen.append(True)
        return "seen"

    async def scenario():
        return (await agent.run("Look.")).output

    assert run(scenario) == "done"
    assert seen == [True]


def test_a_refused_request_fails_at_once_and_a_busy_provider_is_asked_again(perdure_app, ledger):
    statuses = iter([503, 429, 401])

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        raise ModelHTTPError(next(statuses), "model-x", {"error": "no"})

    agent = Agent(scripted("poor", ledger, answer), name="poor", capabilities=[WorkflowDurability()])
    app = App("refused")
    ask = asking(agent, app)
    env = perdure_app(app)

    async def scenario():
        with pytest.raises(WorkflowFailed, match="401"):
            await (await ask.start("Please.")).result()

    env.run(scenario())
    assert ledger.begun.total() == 3


def test_a_result_that_cannot_be_stored_fails_without_another_try(perdure_app, ledger):
    agent = Agent(plain(in_turn(says(call("odd")), says("done"))), name="odd", capabilities=[WorkflowDurability()])

    @agent.tool_plain
    async def odd() -> object:
        await ledger.do("odd")
        return object()

    app = App("odd")
    ask = asking(agent, app)
    env = perdure_app(app)

    async def scenario():
        with pytest.raises(WorkflowFailed):
            await (await ask.start("Go.")).result()

    env.run(scenario())
    assert ledger.begun["odd"] == 1


@pytest.mark.parametrize(
    "metadata, text",
    [({"perdure": {"retries": 3}}, "have no 'retries'"), ({"perdure": 5}, "give a dict of options")],
)
def test_options_of_a_tool_that_do_not_exist_are_refused_by_name(perdure_app, metadata, text):
    agent = Agent(plain(in_turn(says(call("tool")), says("done"))), name="wrong", capabilities=[WorkflowDurability()])

    @agent.tool_plain(metadata=metadata)
    async def tool() -> str:
        return "x"

    app = App("wrong")
    ask = asking(agent, app)
    env = perdure_app(app)

    async def scenario():
        with pytest.raises(WorkflowFailed, match=text):
            await (await ask.start("Go.")).result()

    env.run(scenario())


def test_a_tool_may_run_in_the_workflow_and_call_what_a_workflow_calls(perdure_app):
    app = App("inline")

    @app.activity
    async def price(sku: str) -> int:
        return 7

    agent = Agent(plain(in_turn(says(call("quote")), says("done"))), name="inline", capabilities=[WorkflowDurability()])

    @agent.tool_plain(metadata={"perdure": False})
    async def quote() -> str:
        cents = await price("a")
        await asyncio.sleep(3_600)
        return f"{cents} at {now():%H:%M}"

    ask = asking(agent, app)
    env = perdure_app(app)

    async def scenario():
        handle = await ask.start("Go.")
        assert await handle.result() == "done"
        return [event.name async for event in handle.history() if isinstance(event, ActivityScheduled)]

    assert env.run(scenario()) == ["inline__model.request", "price", "inline__model.request"]


def test_toolsets_of_a_single_run_are_refused_because_a_replay_could_not_know_them(perdure_app):
    agent = Agent(plain(in_turn(says("done"))), name="late", capabilities=[WorkflowDurability()])
    app = App("late")
    ask = asking(agent, app, toolsets=[FunctionToolset(id="late")])
    env = perdure_app(app)

    async def scenario():
        with pytest.raises(WorkflowFailed, match="toolset"):
            await (await ask.start("Go.")).result()

    env.run(scenario())


# -- waiting for something outside ---------------------------------------------------------------------------------


def waiting(ledger: Ledger, tokens: list[str], timeout: timedelta | None = None) -> tuple[App, Workflow[[str], Any]]:
    """An agent whose tool needs a decision, for which somebody is asked."""

    async def ask_somebody(ctx: RunContext[None], requests: DeferredToolRequests, token: str) -> None:
        await ledger.do("ask")
        tokens.append(token)

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return says(str(returned(messages)["pay"])) if returned(messages) else says(call("pay", "p1"))

    agent = Agent(
        plain(answer),
        name="payer",
        capabilities=[WorkflowDurability(), RequestInput(ask_somebody, timeout=timeout)],
    )

    @agent.tool_plain(requires_approval=True)
    async def pay() -> str:
        await ledger.do("pay")
        return "paid"

    app = App("payer")
    return app, asking(agent, app)


@pytest.mark.parametrize("approved", [True, False])
def test_a_run_waits_for_a_token_over_restarts_and_asks_once(perdure_app, ledger, approved):
    tokens: list[str] = []
    app, ask = waiting(ledger, tokens)
    env = perdure_app(app)

    async def scenario():
        handle = await ask.start("Pay.")
        await env.sleep(days=20)
        env.restart()
        await env.sleep(days=20)
        event, instance = tokens[0].split("@")
        for nonsense in (5, None, {"valeu": True}):
            await app.client.get(instance).raise_event(event, nonsense)
        await resolve(app.client, tokens[0], {"approvals": {"p1": approved}})
        return await handle.result()

    assert env.run(scenario()) == ("paid" if approved else "The tool call was denied.")
    assert ledger.begun["ask"] == 1
    assert ledger.begun["pay"] == int(approved)


def test_a_wait_ends_by_its_timeout_or_by_a_failure(perdure_app, ledger):
    tokens: list[str] = []
    app, ask = waiting(ledger, tokens, timedelta(hours=1))
    env = perdure_app(app)

    async def scenario():
        first = await ask.start("Pay.")
        assert "was not resolved within" in await first.result()
        second = await ask.start("Pay.")
        await env.sleep(seconds=60)
        await fail(app.client, tokens[1], "the boss is away")
        assert "the boss is away" in await second.result()
        with pytest.raises(InvalidArgument, match="is no token"):
            await resolve(app.client, "nonsense")

    env.run(scenario())
    assert ledger.begun["pay"] == 0


# -- what is told of a run -------------------------------------------------------------------------------------------


def test_spans_of_what_was_done_are_told_once_however_often_it_is_replayed(perdure_app, ledger):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    agent = Agent(
        scripted("traced", ledger, in_turn(says(call("look")), says(call("look")), says("done"))),
        name="traced",
        capabilities=[
            WorkflowDurability(),
            Instrumentation(settings=InstrumentationSettings(tracer_provider=provider)),
        ],
    )

    @agent.tool_plain
    async def look() -> str:
        await ledger.do("look")
        env.restart() if ledger.begun["look"] == 1 else None
        await asyncio.sleep(1)
        return "seen"

    hosted = DurableAgent(agent)
    env = perdure_app(App("traced", agents=[hosted]))

    async def scenario():
        return await (await hosted.start("Look twice.")).result()

    assert env.run(scenario()) == "done"
    names = sorted(span.name for span in exporter.get_finished_spans())
    assert ledger.begun["look"] == 3, "two calls, one of them made again"
    assert [name for name in names if name.startswith("chat")] == ["chat function:respond:"] * 3
    assert len([name for name in names if name.startswith("execute_tool")]) == 2
    assert len([name for name in names if name.startswith("invoke_agent")]) == 1


def test_retries_of_all_tools_and_requests_are_as_the_capability_says(perdure_app, ledger):
    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        if ledger.begun.total() < 3:
            raise ConnectionError("away")
        return says(call("tool")) if not returned(messages) else says("done")

    durability = WorkflowDurability[None](
        model={"retry": Retry(max_attempts=3, initial_interval=1)}, tool={"retry": Retry(max_attempts=1)}
    )
    agent = Agent(scripted("set", ledger, answer), name="set", capabilities=[durability])

    @agent.tool_plain
    async def tool() -> str:
        await ledger.do("tool")
        raise ConnectionError("gone")

    app = App("set")
    ask = asking(agent, app)
    env = perdure_app(app)

    async def scenario():
        with pytest.raises(WorkflowFailed, match="gone"):
            await (await ask.start("Go.")).result()

    env.run(scenario())
    assert ledger.begun == {"set request 1": 3, "tool": 1}
