"""A process that dies at any point of an agent's run changes nothing of what comes out, and little of what is done."""

from __future__ import annotations

import asyncio

import pytest

from perdure.testing import Environment
from tests.agents.desk import REPORT, STEPS, desk
from tests.agents.scripts import Ledger

IN_FLIGHT_MAX = 2
"""Steps that one crash can find under way: the two tools that run side by side."""
ledger = Ledger()
app, agent = desk(ledger)


def answer_the_same(env: Environment) -> None:
    """One question, whose run may be disturbed once."""

    async def scenario() -> None:
        run = await agent.start("What of order 17?", id="r1")
        while not await run.pending():
            await env.sleep(seconds=1)
        await run.approve("approve-me", by="ann")
        assert await run.result() == REPORT

    env.run(scenario())
    assert sorted(ledger.begun) == sorted(STEPS)
    assert all(len(keys) == 1 for keys in ledger.keys.values()), "a step in flight is made again under its own key"
    assert ledger.begun.total() <= len(STEPS) + IN_FLIGHT_MAX, "what has completed is never made again"


@pytest.mark.parametrize("dies_in", STEPS)
def test_an_agent_answers_the_same_when_its_process_dies_in_a_step(perdure_app, monkeypatch, dies_in):
    env = perdure_app(app)
    ledger.clear()

    async def die_once(what: str) -> None:
        await asyncio.sleep(0.1)
        if what == dies_in and ledger.begun[what] == 1:
            env.restart()
            await asyncio.sleep(10)

    monkeypatch.setattr(ledger, "pause", die_once)
    answer_the_same(env)
    assert ledger.begun[dies_in] == 2
    others = [what for what in STEPS if what not in (dies_in, "weather", "stock")]
    assert all(ledger.begun[what] == 1 for what in others)


@pytest.mark.long
@pytest.mark.durable(crash="every-step")
@pytest.mark.timeout(120)
def test_an_agent_answers_the_same_wherever_its_process_dies(perdure_app):
    ledger.clear()
    answer_the_same(perdure_app(app))
