"""A hosted agent: people who decide, agents that ask agents, dependencies, and what is refused."""

from __future__ import annotations

import asyncio
import threading
import types
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, RunContext
from pydantic_ai.exceptions import CallDeferred
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models.function import AgentInfo
from pydantic_ai.models.test import TestModel

from perdure import App, WorkflowCancelled, WorkflowFailed
from perdure.agents import AgentRun, Approval, DurableAgent, WorkflowDurability, agent_tool, handoff
from perdure.errors import InvalidArgument
from perdure.stores.memory import MemoryStore
from tests.agents.across import paid_across
from tests.agents.scripts import Ledger, call, plain, returned, says, scripted
from tests.remote.native.serving import served


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def buyer(ledger: Ledger, name: str = "buyer", **options: Any) -> DurableAgent[None, str]:
    """An agent whose tools need approval."""

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        got = returned(messages)
        return says(str(got["buy"])) if "buy" in got else says(call("buy", "b1", what="tea"))

    agent = Agent(scripted(name, ledger, answer), name=name)

    @agent.tool_plain(requires_approval=True)
    async def buy(what: str) -> str:
        await ledger.do(f"buy {what}")
        return f"bought {what}"

    return DurableAgent(agent, **options)


async def asked(env: Any, run: AgentRun[Any]) -> None:
    while not await run.pending():
        await env.sleep(seconds=1)


@pytest.mark.parametrize(
    "decide, answer, bought",
    [
        (lambda run: run.approve("b1", by="ann"), "bought tea", ["buy tea"]),
        (lambda run: run.approve("b1", arguments={"what": "milk"}), "bought milk", ["buy milk"]),
        (lambda run: run.deny("b1", reason="too dear"), "too dear", []),
    ],
)
def test_a_person_approves_changes_or_denies_a_call_after_a_restart(perdure_app, ledger, decide, answer, bought):
    agent = buyer(ledger)
    env = perdure_app(App("shop", agents=[agent]))

    async def scenario():
        run = await agent.start("Tea, please.")
        await asked(env, run)
        (pending,) = await run.pending()
        assert (pending.tool, pending.arguments, pending.kind, pending.until) == (
            "buy",
            {"what": "tea"},
            "approval",
            None,
        )
        await env.sleep(days=100)
        env.restart()
        await decide(run)
        assert await run.result() == answer
        assert await run.pending() == []

    env.run(scenario())
    assert [what for what in ledger.begun if what.startswith("buy ")] == bought


@pytest.mark.parametrize("default, answer", [("deny", "nobody decided within 60 s"), ("approve", "bought tea")])
def test_when_nobody_decides_the_default_does(perdure_app, ledger, default, answer):
    agent = buyer(ledger, approvals={"buy": Approval(timeout=60, default=default)})
    env = perdure_app(App("shop", agents=[agent]))

    async def scenario():
        return await (await agent.start("Tea, please.")).result()

    assert env.run(scenario()) == answer


def test_a_call_that_does_not_wait_cannot_be_decided(perdure_app, ledger):
    agent = buyer(ledger)
    env = perdure_app(App("shop", agents=[agent]))

    async def scenario():
        run = await agent.start("Tea, please.")
        await asked(env, run)
        with pytest.raises(InvalidArgument, match="there are: b1"):
            await run.approve("b2")

    env.run(scenario())


def test_what_a_sub_agent_waits_for_is_decided_at_the_run_that_asked_it(perdure_app, ledger):
    agent = buyer(ledger)

    def lead(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        got = returned(messages)
        return says(got["ask_buyer"]) if got else says(call("ask_buyer", prompt="Buy."))

    boss = DurableAgent(Agent(plain(lead), name="boss", tools=[agent_tool(agent)]))
    env = perdure_app(App("firm", agents=[boss, agent]))

    async def scenario():
        run = await boss.start("Get tea.")
        await asked(env, run)
        (pending,) = await run.pending()
        assert pending.agent == "buyer"
        assert pending.run != run.id
        await run.approve("b1")
        assert await run.result() == "bought tea"
        usage = await run.usage()
        assert (usage.requests, usage.tool_calls) == (4, 2)
        assert usage.total_tokens > 0

    env.run(scenario())


def test_a_tool_that_runs_elsewhere_gets_its_result_from_there(perdure_app, ledger):
    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        got = returned(messages)
        return says(str(got["measure"])) if got else says(call("measure", "m1"))

    agent = Agent(plain(answer), name="lab")

    @agent.tool_plain
    async def measure() -> float:
        raise CallDeferred

    hosted = DurableAgent(agent)
    env = perdure_app(App("lab", agents=[hosted]))

    async def scenario():
        run = await hosted.start("Measure.")
        await asked(env, run)
        assert [pending.kind for pending in await run.pending()] == ["result"]
        await run.provide("m1", 21.5, by="probe")
        return await run.result()

    assert env.run(scenario()) == "21.5"


def test_a_task_that_is_sent_round_in_a_circle_ends(perdure_app, ledger):
    def pass_on(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return says(call(info.output_tools[0].name, message="You do it."))

    ping: DurableAgent[None, str] = DurableAgent(
        Agent(scripted("ping", ledger, pass_on), name="ping", output_type=[str, handoff("pong")])
    )
    pong: DurableAgent[None, str] = DurableAgent(
        Agent(scripted("pong", ledger, pass_on), name="pong", output_type=[str, handoff(ping)])
    )
    env = perdure_app(App("circle", agents=[ping, pong]))

    async def scenario():
        with pytest.raises(WorkflowFailed, match="handed over 10 times"):
            await (await ping.start("Do it.")).result()

    env.run(scenario())
    assert ledger.begun.total() == 11


@dataclass
class Desk:
    city: str
    floor: int = 1


def test_dependencies_are_stored_with_the_task_or_made_from_it(perdure_app):
    def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        got = returned(messages)
        return says(str(got["where"])) if got else says(call("where"))

    def agent(name: str) -> Agent[Desk, str]:
        made = Agent(plain(model), name=name, deps_type=Desk)

        @made.tool
        async def where(ctx: RunContext[Desk]) -> str:
            return f"{ctx.deps.city} {ctx.deps.floor}"

        return made

    stored = DurableAgent(agent("stored"))
    made = DurableAgent(agent("made"), deps=lambda city: Desk(city, 9))
    env = perdure_app(App("places", agents=[stored, made]))

    async def scenario():
        first = await (await stored.start("Where?", deps=Desk("Rome", 3))).result()
        second = await (await made.start("Where?", deps="Oslo")).result()
        return first, second

    assert env.run(scenario()) == ("Rome 3", "Oslo 9")
    stored.check_deps({"city": "Rome"})
    made.check_deps({"what": "its function makes of this, a run sees"})
    with pytest.raises(InvalidArgument, match=r"deps_type: city: Field required; floor: Input should be a valid int"):
        stored.check_deps({"floor": "x"})


def test_an_agent_is_awaited_in_a_workflow_and_gives_its_type(perdure_app):
    class Verdict(BaseModel):
        good: bool

    judge = DurableAgent(Agent(TestModel(custom_output_args={"good": True}), name="judge", output_type=Verdict))
    app = App("court", agents=[judge])

    @app.workflow
    async def trial(case: str) -> bool:
        one, two = await asyncio.gather(judge(case), judge(case))
        return one.good and two.good

    env = perdure_app(app)

    async def scenario():
        return await (await trial.start("It.")).result()

    assert env.run(scenario()) is True


def test_a_run_is_cancelled_and_says_so(perdure_app, ledger):
    agent = buyer(ledger)
    env = perdure_app(App("shop", agents=[agent]))

    async def scenario():
        run = await agent.start("Tea, please.", id="r")
        await asked(env, run)
        await agent.get("r").cancel("no tea")
        with pytest.raises(WorkflowCancelled):
            await run.result()

    env.run(scenario())


def test_an_agent_of_another_app_is_asked_by_name(run):
    store = {"store": MemoryStore()}
    assert run(lambda: paid_across(store, store)) == ("paid", 4)


def test_an_agent_of_another_app_is_asked_by_way_of_a_server_of_both(run, url):
    async def scenario():
        async with served(url, "front-app", "billing-app") as there:
            front, billing = there.urls
            return await paid_across({"server": front}, {"server": billing})

    assert run(scenario) == ("paid", 4)


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: DurableAgent(Agent(TestModel())), "has no name"),
        (lambda: DurableAgent("support"), "give a pydantic_ai.Agent"),  # type: ignore[arg-type]
        (lambda: DurableAgent(Agent(TestModel(), name="x"), approvals={"t": 5}), "give an Approval"),  # type: ignore[dict-item]
        (lambda: App("x", agents=["support"]), "include takes"),  # type: ignore[list-item]
    ],
)
def test_what_is_no_agent_is_refused(make, text):
    with pytest.raises(InvalidArgument, match=text):
        make()


@pytest.mark.parametrize("hosted", [True, False])
def test_plain_functions_of_an_agent_run_in_the_workflow_and_its_plain_tools_in_threads(run, hosted):
    """In real time, because a tool that is a plain `def` runs in a thread."""
    threads: dict[str, str] = {}

    def note(what: str) -> None:
        threads[what] = threading.current_thread().name

    def labelled(text: str) -> str:
        note("output")
        return f"<{text}>"

    durability = [] if hosted else [WorkflowDurability[None]()]
    agent = Agent(
        plain(
            lambda messages, info: (
                says(call(info.output_tools[0].name, text="hi")) if returned(messages) else says(call("look"))
            )
        ),
        name="plain",
        output_type=labelled,
        capabilities=durability,
    )

    @agent.instructions
    def instruct() -> str:
        note("instructions")
        return "Be kind."

    @agent.output_validator
    def validate(output: str) -> str:
        note("validator")
        return output

    @agent.tool_plain
    def look() -> str:
        note("tool")
        return "seen"

    app = App("functions", store="memory:")
    agents = DurableAgent(agent)
    app.include(agents)

    @app.workflow
    async def ask(prompt: str) -> str:
        return (await agent.run(prompt)).output

    async def scenario():
        async with app:
            if hosted:
                return await (await agents.start("Hi.")).result(30)
            return await (await ask.start("Hi.")).result(30)

    assert run(scenario) == "<hi>"
    main = threading.main_thread().name
    assert {what for what, name in threads.items() if name == main} == {"instructions", "validator", "output"}
    assert threads["tool"] != main


def test_the_agents_of_a_module_are_included_with_it_and_a_module_with_apps_gives_all_of_them():
    module = types.ModuleType("agents_of_mine")
    module.helper = DurableAgent(Agent(TestModel(), name="helper"))  # type: ignore[attr-defined]
    assert "agent.helper" in App("one").include(module).definitions.workflows
    module.app, module.other = App("first"), App("second", agents=[DurableAgent(Agent(TestModel(), name="second"))])
    assert set(App("two").include(module).definitions.workflows) == {"agent.second"}
