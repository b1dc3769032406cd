"""An output, and dependencies, come back from the store as what they were, with the type that they had."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from msgspec import to_builtins
from pydantic import BaseModel, ConfigDict, Field, computed_field
from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ModelMessage, ModelResponse, ToolCallPart
from pydantic_ai.models.function import AgentInfo

from perdure import App
from perdure.agents import AgentStep, Answer, DurableAgent
from perdure.agents.outputs import Outputs
from perdure.agents.trail import edited
from perdure.errors import InvalidArgument, NotDecodable
from tests.agents.scripts import plain, says


class Accepted(BaseModel):
    message: str


class Refused(BaseModel):
    message: str


@dataclass
class Part:
    number: int


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    day: date
    who: str = Field("ann", alias="fromWhom")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def year(self) -> int:
        return self.day.year


@pytest.mark.parametrize(
    "spec, value",
    [
        ([Accepted, Refused], Refused(message="no")),
        (Accepted | Refused, Refused(message="no")),
        ([Accepted, Refused, str], "no"),
        ([Accepted, list[Part]], [Part(1)]),
        (Part, Part(3)),
        (Part | None, None),
        (Strict, Strict(day=date(2026, 1, 1), fromWhom="bob")),
    ],
)
def test_what_is_stored_is_read_as_what_it_was(spec: Any, value: Any) -> None:
    outputs = Outputs(spec)
    read = outputs.read(*outputs.store(value))
    assert (type(read), read) == (type(value), value)


def test_a_label_of_a_type_that_is_gone_leaves_the_types_that_there_are() -> None:
    stored, label = Outputs([Accepted, Refused]).store(Refused(message="no"))
    assert Outputs([str, Accepted]).read(stored, label) == Accepted(message="no")
    with pytest.raises(NotDecodable, match="output_type, which may have changed"):
        Outputs(Part).read(stored, label)


def test_an_agent_gives_the_output_that_its_model_chose_and_gets_the_deps_that_were_given(perdure_app):
    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        refused = next(tool.name for tool in info.output_tools if "Refused" in tool.name)
        return says(ToolCallPart(refused, {"message": info.instructions}))

    agent = Agent(plain(answer), name="judge", output_type=[Accepted, Refused], deps_type=Strict)

    @agent.instructions
    def told(ctx: RunContext[Strict]) -> str:
        return f"{ctx.deps.who} {ctx.deps.day:%d.%m.%Y}"

    judge = DurableAgent(agent)
    env = perdure_app(App("court", agents=[judge]))

    async def scenario():
        return await (await judge.start("It.", deps=Strict(day=date(2026, 1, 2), fromWhom="bob"))).result()

    assert env.run(scenario()) == Refused(message="bob 02.01.2026")


def test_the_answer_of_an_agent_is_edited_to_another_of_its_types() -> None:
    outputs = Outputs([Accepted, list[Part]])
    stored, label = outputs.store(Accepted(message="yes"))
    answered = AgentStep(
        number=1,
        name="judge#1",
        kind="agent",
        state="completed",
        result=to_builtins(Answer(agent="judge", output=stored, kind=label)),
    )
    answer = edited(answered, [{"number": 1}])
    assert outputs.read(answer.output, answer.kind) == [Part(1)]


class Pool:
    """Something that cannot be stored."""


def test_what_no_run_can_be_started_with_is_refused_at_once(perdure_app):
    plainly = DurableAgent(Agent(plain(lambda messages, info: says("yes")), name="plainly", deps_type=Pool))
    env = perdure_app(App("court", agents=[plainly]))

    async def scenario():
        with pytest.raises(InvalidArgument, match="a function that makes them"):
            await plainly.start("It.", deps=Pool())
        for prompt in (5, None, b"text", {"a": 1}):
            with pytest.raises(InvalidArgument, match="give text, or a list of parts"):
                await plainly.start(prompt)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument, match="the prompt has a part that is none"):
            await plainly.start(["It.", 5])  # type: ignore[list-item]
        for session in ("", "s" * 91, 7):
            with pytest.raises(InvalidArgument, match="1 to 90 characters"):
                await plainly.start("It.", session=session)  # type: ignore[arg-type]
        return [state async for state in env.client.list()]

    assert env.run(scenario()) == []
