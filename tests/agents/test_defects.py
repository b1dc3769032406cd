"""What holds of agents here that is known to fail elsewhere: nine properties, each seen in a run that is disturbed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, UserPromptPart
from pydantic_ai.models.function import AgentInfo
from pydantic_ai.usage import UsageLimits

from perdure import App, Retry, WorkflowFailed, activity_context
from perdure.agents import DurableAgent, agent_tool, handoff
from perdure.events import ChildCreated
from perdure.testing import Environment
from tests.agents.scripts import Ledger, call, plain, returned, says, scripted

MESSAGES = 40
"""Requests of the conversation whose bytes are counted."""


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def dying(env: Environment, ledger: Ledger, where: str) -> Callable[[str], Awaitable[None]]:
    """A pause in which the app's process dies the first time that something is under way."""

    async def pause(what: str) -> None:
        await asyncio.sleep(0.1)
        if what == where and ledger.begun[what] == 1:
            env.restart()
            await asyncio.sleep(10)

    return pause


def test_1_a_sub_agent_known_by_name_alone_survives_the_death_of_its_caller(perdure_app, ledger):
    def advise(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return says("go")

    def lead(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        got = returned(messages)
        return says(f"advised to {got['ask_adviser']}") if got else says(call("ask_adviser", prompt="Go?"))

    adviser = DurableAgent(Agent(scripted("adviser", ledger, advise), name="adviser"))
    leader = DurableAgent(Agent(scripted("leader", ledger, lead), name="leader", tools=[agent_tool("adviser")]))
    env = perdure_app(App("team", agents=[leader, adviser]))

    ledger.pause = dying(env, ledger, "adviser request 1")

    async def scenario():
        return await (await leader.start("Shall we?")).result()

    assert env.run(scenario()) == "advised to go"
    assert ledger.begun == {"leader request 1": 1, "adviser request 1": 2, "leader request 3": 1}


def test_2_after_a_crash_the_model_is_told_all_that_it_was_told_before(perdure_app, ledger):
    heard: list[list[ModelMessage]] = []

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        heard.append(messages)
        return says("done") if returned(messages) else says(call("slow"))

    agent = Agent(scripted("clerk", ledger, answer), name="clerk", instructions="Be kind.")

    @agent.tool_plain
    async def slow() -> str:
        await ledger.do("slow")
        return "slept"

    hosted = DurableAgent(agent)
    env = perdure_app(App("office", agents=[hosted]))
    ledger.pause = dying(env, ledger, "slow")

    async def scenario():
        return await (await hosted.start("The task.")).result()

    assert env.run(scenario()) == "done"
    assert len(heard) == 2
    request, asked, results = heard[1]
    assert isinstance(request, ModelRequest)
    assert [part.content for part in request.parts if isinstance(part, UserPromptPart)] == ["The task."]
    assert request.instructions == "Be kind."
    assert isinstance(asked, ModelResponse)
    assert [part.tool_name for part in asked.tool_calls] == ["slow"]
    assert [getattr(part, "content", None) for part in results.parts] == ["slept"]


@pytest.mark.parametrize("sequential", [True, False])
def test_3_sequential_tools_run_one_after_the_other_and_others_side_by_side(perdure_app, sequential):
    spans: list[tuple[str, str]] = []

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return says("done") if returned(messages) else says(call("first"), call("second"))

    agent = Agent(plain(answer), name="tidy")

    async def work(name: str) -> str:
        spans.append(("begins", name))
        await asyncio.sleep(1)
        spans.append(("ends", name))
        return name

    @agent.tool_plain
    async def first() -> str:
        return await work("first")

    @agent.tool_plain
    async def second() -> str:
        return await work("second")

    hosted = DurableAgent(agent, sequential=sequential)
    env = perdure_app(App("tools", agents=[hosted]))

    async def scenario():
        await (await hosted.start("Do both.")).result()

    env.run(scenario())
    if sequential:
        assert spans == [("begins", "first"), ("ends", "first"), ("begins", "second"), ("ends", "second")]
    else:
        assert [what for what, _ in spans] == ["begins", "begins", "ends", "ends"]


def test_4_the_recorded_id_of_a_sub_agent_is_that_of_its_run(perdure_app):
    env = perdure_app(TEAM)
    TEAM_LEDGER.clear()
    TEAM_LEDGER.pause = dying(env, TEAM_LEDGER, "helper request 1")

    async def scenario():
        run = await LEAD.start("Go.", id="lead")
        await run.result()
        created = [event async for event in run.handle.history() if isinstance(event, ChildCreated)]
        assert len(created) == 1
        child = await TEAM.client.get(created[0].instance).state()
        assert (child.name, child.status, child.parent) == ("agent.helper", "completed", "lead")
        assert TEAM_LEDGER.begun["helper request 1"] == 2

    env.run(scenario())


def _help(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    return says("helped")


def _lead(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    return says("led") if returned(messages) else says(call("ask_helper", prompt="Help."))


TEAM_LEDGER = Ledger()
HELPER = DurableAgent(Agent(scripted("helper", TEAM_LEDGER, _help), name="helper"))
LEAD = DurableAgent(Agent(plain(_lead), name="lead", tools=[agent_tool(HELPER)]))
TEAM = App("helpers", agents=[LEAD, HELPER])


def test_5_no_request_is_made_that_nobody_asked_for(perdure_app, ledger):
    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return says("done") if returned(messages) else says(call("look"))

    agent = Agent(scripted("plain", ledger, answer), name="plain")

    @agent.tool_plain
    async def look() -> str:
        return "seen"

    hosted = DurableAgent(agent)
    env = perdure_app(App("counted", agents=[hosted]))

    async def scenario():
        run = await hosted.start("Look.")
        await run.result()
        await env.idle()
        return await run.usage()

    assert env.run(scenario()).requests == 2
    assert ledger.begun == {"plain request 1": 1, "plain request 3": 1}


def test_6_a_tool_is_tried_again_as_its_own_options_say_and_is_given_its_key(perdure_app, ledger):
    attempts: list[int] = []

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return says(str(returned(messages))) if returned(messages) else says(call("flaky"), call("slow"))

    agent = Agent(scripted("retrier", ledger, answer), name="retrier")

    @agent.tool_plain(metadata={"perdure": {"retry": Retry(max_attempts=5, initial_interval=60)}})
    async def flaky() -> str:
        await ledger.do("flaky")
        attempts.append(activity_context().attempt)
        if len(attempts) < 4:
            raise ConnectionError("no route")
        return "there"

    @agent.tool_plain(metadata={"perdure": {"timeout": 5, "retry": Retry(max_attempts=2)}})
    async def slow() -> str:
        await ledger.do("slow")
        await asyncio.sleep(100 if ledger.begun["slow"] == 1 else 1)
        return "in time"

    hosted = DurableAgent(agent)
    env = perdure_app(App("retries", agents=[hosted]))

    async def scenario():
        return await (await hosted.start("Try.")).result()

    assert env.run(scenario()) == "{'flaky': 'there', 'slow': 'in time'}"
    assert attempts == [1, 2, 3, 4]
    assert ledger.begun["slow"] == 2
    assert {what: len(keys) for what, keys in ledger.keys.items()} == dict.fromkeys(ledger.begun, 1)
    assert ledger.keys["flaky"] != ledger.keys["slow"]


def test_7_a_message_that_comes_twice_is_one_run(perdure_app):
    env = perdure_app(TEAM)
    TEAM_LEDGER.clear()

    async def scenario():
        first, second = await asyncio.gather(*(LEAD.start("Go.", id="message-8812") for _ in range(2)))
        assert first.id == second.id == "message-8812"
        assert await first.result() == await second.result() == "led"
        assert await (await LEAD.start("Go.", id="message-8812")).result() == "led"
        runs = [state.id async for state in TEAM.client.list(name="agent.lead")]
        assert runs == ["message-8812"]
        assert TEAM_LEDGER.begun == {"helper request 1": 1}

    env.run(scenario())


def test_8_a_step_adds_its_own_answer_and_does_not_write_the_conversation_again(perdure_app):
    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return (
            says("done") if len(messages) >= MESSAGES else says(call("note", id=f"c{len(messages)}", text="x" * 1_000))
        )

    agent = Agent(plain(answer), name="writer")

    @agent.tool_plain
    async def note(text: str) -> str:
        return text

    hosted = DurableAgent(agent)
    env = perdure_app(App("notes", agents=[hosted]))

    async def scenario():
        run = await hosted.start("Write.")
        await run.result()
        return [step.result for step in await run.steps()]

    sizes = [len(json.dumps(result)) for result in env.run(scenario())]
    assert len(sizes) == MESSAGES + 1
    assert max(sizes) < 2 * min(size for size in sizes if size > 1_000), "the last step is no larger than the first"


def test_9_the_output_has_a_type_the_tree_has_limits_and_a_conversation_can_be_handed_over(perdure_app, ledger):
    class Verdict(BaseModel):
        guilty: bool

    def judge(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        prompts = [p.content for m in messages for p in m.parts if isinstance(p, UserPromptPart)]
        assert prompts == ["Judge him.", "He is yours."], "the judge knows what was said before"
        return says(call(info.output_tools[0].name, guilty=False))

    def clerk(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return says(call("hand_over_to_judge", message="He is yours."))

    judging = DurableAgent(Agent(scripted("judge", ledger, judge), name="judge", output_type=Verdict))
    clerking: DurableAgent[None, str] = DurableAgent(
        Agent(scripted("clerk", ledger, clerk), name="clerk", output_type=[str, handoff(judging)])
    )
    env = perdure_app(App("court", agents=[judging, clerking]))

    async def scenario():
        run = await clerking.start("Judge him.")
        answer = await run.answer()
        assert answer.agent == "judge"
        assert judging.read(answer) == Verdict(guilty=False)
        assert answer.usage.requests == 2

    env.run(scenario())


def test_9_limits_hold_for_the_tree_of_agents(perdure_app, ledger):
    def endless(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return says(call("look", id=f"c{len(messages)}"))

    def lead(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return says(call("ask_digger", "a", prompt="dig"), call("ask_digger", "b", prompt="dig"))

    agent = Agent(scripted("digger", ledger, endless), name="digger")

    @agent.tool_plain
    async def look() -> str:
        return "nothing"

    digger = DurableAgent(agent)
    boss = DurableAgent(
        Agent(scripted("boss", ledger, lead), name="boss", tools=[agent_tool(digger)]),
        limits=UsageLimits(request_limit=9),
    )
    env = perdure_app(App("mine", agents=[boss, digger]))

    async def scenario():
        with pytest.raises(WorkflowFailed, match="request_limit"):
            await (await boss.start("Find gold.")).result()

    env.run(scenario())
    assert ledger.begun.total() == 9, "one of the boss, four of each digger: not one more"


def test_7_a_message_of_a_topic_that_is_published_twice_is_one_run(run, ledger):
    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return says("done")

    hosted = DurableAgent(Agent(scripted("listener", ledger, answer), name="listener"))
    app = App("topics", store="memory:", agents=[hosted])
    app.subscribe("questions", starts=hosted.workflow, id="data.deps.question")

    async def scenario():
        async with app:
            for number in (17, 17, 18):
                task = {"prompt": "What of it?", "deps": {"question": f"q-{number}"}}
                await app.client.publish("questions", task, key="all")
            while "q-18" not in [state.id async for state in app.client.list(name="agent.listener")]:
                await asyncio.sleep(0.01)
            assert await hosted.get("q-18").result(30) == "done"
            return sorted([state.id async for state in app.client.list(name="agent.listener")])

    assert run(scenario) == ["q-17", "q-18"]
    assert ledger.begun["listener request 1"] == 2
