"""Conversations: what was said before is known, what is said is added once, and its runs go one after the other."""

from __future__ import annotations

import asyncio

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, UserPromptPart
from pydantic_ai.models.function import AgentInfo

from perdure import App, WorkflowFailed
from perdure.agents import DurableAgent
from perdure.events import EntityCalled
from tests.agents.scripts import Ledger, plain, says, scripted

ledger = Ledger()


def prompts(messages: list[ModelMessage]) -> list[str]:
    return [str(part.content) for m in messages for part in m.parts if isinstance(part, UserPromptPart)]


def recall(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    said = prompts(messages)
    if said[-1] == "fail":
        raise ValueError("no")
    return says(" ".join(said))


teller = DurableAgent(Agent(scripted("teller", ledger, recall), name="teller"))
app = App("tales", agents=[teller])


@pytest.mark.durable(crash="every-commit")
@pytest.mark.long
def test_a_conversation_goes_on_wherever_a_process_dies(perdure_app):
    env = perdure_app(app)
    ledger.clear()

    async def scenario():
        for number, prompt in enumerate(("once", "upon"), 1):
            run = await teller.start(prompt, session="s1", id=f"r{number}")
            assert await run.result() == " ".join(("once", "upon")[:number])
        assert prompts(await teller.history("s1")) == ["once", "upon"]

    env.run(scenario())


def test_a_run_knows_what_was_said_before_in_its_conversation_and_not_in_others(perdure_app):
    env = perdure_app(app)
    ledger.clear()

    async def scenario():
        for number, prompt in enumerate(("once", "upon", "a", "time"), 1):
            run = await teller.start(prompt, session="s1", id=f"r{number}")
            assert await run.result() == " ".join(("once", "upon", "a", "time")[:number])
        assert await (await teller.start("hello", session="s2")).result() == "hello"
        assert await (await teller.start("alone")).result() == "alone"
        said = await teller.history("s1")
        assert prompts(said) == ["once", "upon", "a", "time"]
        assert len(said) == 8

    env.run(scenario())


def test_runs_of_one_conversation_wait_for_each_other_and_others_do_not(perdure_app):
    env = perdure_app(app)
    ledger.clear()

    async def scenario():
        runs = [await teller.start(word, session="busy") for word in ("a", "b", "c")]
        other = await teller.start("x", session="other")
        assert await other.result() == "x"
        assert [await run.result() for run in runs] == ["a", "a b", "a b c"]

    env.run(scenario())


def test_runs_that_a_topic_begins_wait_for_each_other_too(run, url):
    clerk = DurableAgent(Agent(plain(recall), name="clerk"))
    told = App("told", store=url, agents=[clerk])
    told.subscribe("words", starts=clerk.workflow, id="word-{id}")

    async def scenario():
        async with told:
            words = ["a", "b", "c"]
            for word in words:
                await told.client.publish("words", {"prompt": word, "session": "s"}, id=word)
            while len([state async for state in told.client.list(name="agent.clerk", status="COMPLETED")]) < 6:
                await asyncio.sleep(0.01)
            said = prompts(await clerk.history("s"))
            assert sorted(said) == words
            answers = {await clerk.get(f"word-{word}").result() for word in words}
            assert answers == {" ".join(said[:count]) for count in (1, 2, 3)}

    run(scenario)


def test_a_chapter_is_written_once_and_holds_what_its_run_said(perdure_app):
    env = perdure_app(app)
    ledger.clear()

    async def scenario():
        for word in ("a", "b", "c"):
            await (await teller.start(word, session="chapters")).result()
        sizes = [len(await teller.sessions.chapter("chapters", number).read()) for number in range(3)]
        assert sizes == [2, 2, 2]
        await teller.sessions.chapter("chapters", 0).write(["other"])
        assert prompts(await teller.history("chapters")) == ["a", "b", "c"]

    env.run(scenario())


def test_a_run_that_fails_adds_nothing_and_the_next_one_goes_on(perdure_app):
    env = perdure_app(app)
    ledger.clear()

    async def scenario():
        await (await teller.start("a", session="rough")).result()
        with pytest.raises(WorkflowFailed):
            await (await teller.start("fail", session="rough")).result()
        assert await (await teller.start("b", session="rough")).result() == "a b"

    env.run(scenario())


def test_a_run_that_is_terminated_while_it_adds_its_chapter_takes_nothing_from_the_next(perdure_app):
    env = perdure_app(app)
    ledger.clear()

    async def scenario():
        run = await teller.start("a", session="cut")
        assert await run.result() == "a"
        asked = [event.operation async for event in run.handle.history() if isinstance(event, EntityCalled)]
        assert asked[-2:] == ["turned", "write"]
        await teller.sessions.book("cut").turned(1)  # all that a run has done which is terminated between the two
        assert await (await teller.start("b", session="cut")).result() == "a b"
        assert await (await teller.start("c", session="cut")).result() == "a b c"

    env.run(scenario())


def test_a_fork_leaves_the_conversation_as_it_is(perdure_app):
    env = perdure_app(app)
    ledger.clear()

    async def scenario():
        run = await teller.start("a", session="forked")
        await run.result()
        fork = await run.fork("model#1", result="something else")
        assert await fork.result() == "something else"
        assert len(await teller.history("forked")) == 2

    env.run(scenario())


def test_a_conversation_of_a_store_is_there_for_the_next_process(run, url):
    def fresh() -> tuple[App, DurableAgent[None, str]]:
        agent = DurableAgent(Agent(scripted("keeper", Ledger(), recall), name="keeper"))
        return App("kept", store=url, agents=[agent]), agent

    async def scenario():
        for word in ("a", "b"):
            program, agent = fresh()
            async with program:
                answer = await (await agent.start(word, session="s")).result(30)
        return answer

    assert run(scenario) == "a b"
