"""A run that goes on from one of its steps, with the result that the step should have had."""

from __future__ import annotations

import pytest
from pydantic_ai.messages import ModelResponse

from perdure.agents import AgentRun
from perdure.errors import InvalidArgument
from perdure.testing import Environment
from tests.agents.desk import REPORT, Report, desk
from tests.agents.scripts import Ledger, call

ledger = Ledger()
app, agent = desk(ledger)


async def answered(env: Environment, run: AgentRun[Report]) -> Report:
    while not await run.pending():
        await env.sleep(seconds=1)
    await run.approve("approve-me")
    return await run.result()


async def first(env: Environment) -> AgentRun[Report]:
    """A run that has ended; the ledger is empty after it."""
    run = await agent.start("What of order 17?")
    assert await answered(env, run) == REPORT
    ledger.clear()
    return run


def test_the_steps_of_a_run_have_names(perdure_app):
    env = perdure_app(app)

    async def scenario():
        steps = await (await first(env)).steps()
        assert [(step.name, step.kind, step.state) for step in steps] == [
            ("model#1", "model", "completed"),
            ("weather#1", "tool", "completed"),
            ("stock#1", "tool", "completed"),
            ("model#2", "model", "completed"),
            ("researcher#1", "agent", "completed"),
            ("model#3", "model", "completed"),
            ("refund#1", "tool", "completed"),
            ("model#4", "model", "completed"),
        ]
        assert steps[1].result == {"kind": "tool_return", "result": "sunny in Paris"}

    env.run(scenario())


@pytest.mark.parametrize(
    "step, result, changes, not_again",
    [
        ("weather#1", "rain", {"weather": "rain"}, {"weather", "stock", "desk request 1"}),
        ("stock#1", 99, {"stock": 99}, {"weather", "stock", "desk request 1"}),
        ("researcher#1", "keep it", {"advice": "keep it"}, {"researcher request 1", "weather", "desk request 3"}),
        ("refund#1", "by hand", {"refund": "by hand"}, {"refund", "desk request 5", "researcher request 1"}),
    ],
)
def test_a_fork_goes_on_with_the_edited_result_and_repeats_nothing_before(
    perdure_app, step, result, changes, not_again
):
    env = perdure_app(app)

    async def scenario():
        fork = await (await first(env)).fork(step, result=result)
        report = await (fork.result() if step == "refund#1" else answered(env, fork))
        assert report == REPORT.model_copy(update=changes)
        assert not not_again & set(ledger.begun)
        assert ledger.begun["desk request 7"] == 1

    env.run(scenario())


def test_the_answer_of_the_model_can_be_edited_too(perdure_app):
    env = perdure_app(app)

    async def scenario():
        run = await first(env)
        report = REPORT.model_copy(update={"advice": "written by hand"})
        answer = ModelResponse(parts=[call("final_result", **report.model_dump())])
        fork = await run.fork("model#4", result=answer, id="edited")
        assert fork.id == "edited"
        assert await fork.result() == report
        assert not ledger.begun

    env.run(scenario())


def test_a_fork_without_a_result_makes_the_step_again(perdure_app):
    env = perdure_app(app)

    async def scenario():
        fork = await (await first(env)).fork("researcher#1")
        assert await answered(env, fork) == REPORT
        assert ledger.begun["researcher request 1"] == 1
        assert ledger.begun["weather"] == 0

    env.run(scenario())


@pytest.mark.parametrize("result", [5, {"parts": 5}])
def test_what_is_no_answer_of_a_model_is_refused(perdure_app, result):
    env = perdure_app(app)

    async def scenario():
        run = await first(env)
        with pytest.raises(InvalidArgument, match="give text or a ModelResponse"):
            await run.fork("model#1", result=result)

    env.run(scenario())


def test_what_is_no_step_is_refused_by_its_name(perdure_app):
    env = perdure_app(app)

    async def scenario():
        run = await first(env)
        with pytest.raises(InvalidArgument, match="there are: model#1, weather#1"):
            await run.fork("wether#1", result="x")

    env.run(scenario())
