"""A decision is for the call that was asked about: not for one that is asked later, nor for one of another run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.exceptions import CallDeferred
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models.function import AgentInfo

from perdure import App
from perdure.agents import AgentRun, Approval, DurableAgent, agent_tool
from perdure.errors import InvalidArgument
from tests.agents.scripts import call, plain, returned, says


class Till:
    """What an agent has paid, whose model gives all its calls the same id."""

    def __init__(self, name: str = "payer", payments: int = 1, id: str = "c1", **options: Any) -> None:
        self.paid: list[int] = []

        def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            tried = sum(part.part_kind == "tool-return" for message in messages for part in message.parts)
            return says("done") if tried == payments else says(call("pay", id, cents=tried + 1))

        agent = Agent(plain(answer), name=name)

        @agent.tool_plain(requires_approval=True)
        async def pay(cents: int) -> str:
            self.paid.append(cents)
            return "paid"

        self.agent = DurableAgent(agent, **options)


async def asked(env: Any, run: AgentRun[Any], cents: int) -> None:
    while [pending.arguments for pending in await run.pending()] != [{"cents": cents}]:
        await env.sleep(seconds=1)


def test_a_decision_that_comes_twice_does_not_decide_the_next_call_of_its_id(perdure_app):
    till = Till(payments=3)
    env = perdure_app(App("till", agents=[till.agent]))

    async def scenario():
        run = await till.agent.start("Pay.")
        await asked(env, run, 1)
        await asyncio.gather(run.approve("c1"), run.approve("c1"), run.approve("c1"))
        await asked(env, run, 2)
        assert till.paid == [1]
        await run.deny("c1")
        await asked(env, run, 3)
        env.restart()
        await run.approve("c1")
        assert await run.result() == "done"

    env.run(scenario())
    assert till.paid == [1, 3]


def test_a_decision_that_comes_too_late_does_not_decide_the_next_call_of_its_id(perdure_app):
    till = Till(payments=2, approvals=Approval(timeout=60))
    env = perdure_app(App("till", agents=[till.agent]))

    async def scenario():
        run = await till.agent.start("Pay.")
        await asked(env, run, 1)
        (pending,) = await run.pending()
        await asked(env, run, 2)  # after a minute
        await run.handle.raise_event(pending.event, {"approved": True})
        return await run.result()

    assert env.run(scenario()) == "done"
    assert till.paid == []


@pytest.mark.parametrize("event", [True, None, {}, {"approved": "no"}, {"aproved": False}, {"approved": False, "x": 1}])
def test_what_is_no_decision_decides_nothing_and_does_no_harm(perdure_app, event):
    till = Till()
    env = perdure_app(App("till", agents=[till.agent]))

    async def scenario():
        run = await till.agent.start("Pay.")
        await asked(env, run, 1)
        await run.handle.raise_event("agent.decision.c1", event)
        await env.sleep(days=1)
        assert till.paid == []
        assert (await run.handle.state()).stalled is None
        await run.approve("c1")
        return await run.result()

    assert env.run(scenario()) == "done"


@pytest.mark.parametrize("id", ["c" * 500, "a\nb", "é|#@", "a/b:c"])
def test_ids_of_calls_are_as_the_model_gives_them(perdure_app, id):
    till = Till(id=id)
    env = perdure_app(App("till", agents=[till.agent]))

    async def scenario():
        run = await till.agent.start("Pay.")
        await asked(env, run, 1)
        await run.approve(id)
        return await run.result()

    assert env.run(scenario()) == "done"
    assert till.paid == [1]


def test_calls_of_two_runs_under_one_id_are_decided_each_at_its_own(perdure_app):
    one, other = Till("one"), Till("other")

    def lead(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        got = returned(messages)
        return says("done") if got else says(call("ask_one", prompt="Pay."), call("ask_other", prompt="Pay."))

    boss = DurableAgent(Agent(plain(lead), name="boss", tools=[agent_tool(one.agent), agent_tool(other.agent)]))
    env = perdure_app(App("firm", agents=[boss, one.agent, other.agent]))

    async def scenario():
        run = await boss.start("Pay.")
        while len(waiting := await run.pending()) < 2:
            await env.sleep(seconds=1)
        with pytest.raises(InvalidArgument, match="decide each at its run"):
            await run.approve("c1")
        for pending in waiting:
            at = boss.get(pending.run)
            await (at.approve("c1") if pending.agent == "one" else at.deny("c1"))
        return await run.result()

    assert env.run(scenario()) == "done"
    assert (one.paid, other.paid) == ([1], [])


def test_a_call_is_decided_as_it_asks_to_be(perdure_app):
    till = Till()

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        got = returned(messages)
        return says(str(got["measure"])) if got else says(call("measure", "m1"))

    lab: DurableAgent[None, str] = DurableAgent(Agent(plain(answer), name="lab"))

    @lab.agent.tool_plain
    async def measure() -> float:
        raise CallDeferred

    env = perdure_app(App("till", agents=[till.agent, lab]))

    async def scenario():
        run, measured = await till.agent.start("Pay."), await lab.start("Measure.")
        while not (await run.pending() and await measured.pending()):
            await env.sleep(seconds=1)
        with pytest.raises(InvalidArgument, match="waits for its approval; approve or deny it"):
            await run.provide("c1", "paid, believe me")
        with pytest.raises(InvalidArgument, match="waits for its result; provide it, or deny it"):
            await measured.approve("m1")
        await run.deny("c1")
        await measured.deny("m1", reason="broken")
        return await run.result(), await measured.result()

    assert env.run(scenario()) == ("done", "broken")
    assert till.paid == []
