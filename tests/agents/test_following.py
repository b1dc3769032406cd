"""Reading a run while it goes on: live, late, from any offset, and after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel

from perdure import App, Retry
from perdure.agents import StepOptions, WorkflowDurability
from perdure.agents.following import Told, follow
from perdure.agents.live import LiveModel
from perdure.errors import InstanceNotFound, InvalidArgument, StoreUnavailable
from perdure.transcript import Answered, Delta, Ended, Restarted, Returned, transcript


def _desk(stream: Any, **options: Any) -> tuple[App, Any]:
    """An app with an agent that looks something up and says it, live."""
    app = App("desk", store="memory:")
    agent = Agent(
        LiveModel(FunctionModel(stream_function=stream)),
        name="desk",
        capabilities=[WorkflowDurability(model=StepOptions(retry=Retry(max_attempts=3, initial_interval=0.01)))],
    )

    @agent.tool_plain
    async def look(place: str) -> str:
        return f"{place} is far"

    @app.workflow
    async def talk(prompt: str) -> str:
        return (await agent.run(prompt)).output

    return app, talk


async def _words(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
    if len(messages) == 1:
        yield "let me "
        yield "see"
        yield {1: DeltaToolCall(name="look", json_args='{"place": "Rome"}', tool_call_id="c1")}
        return
    for word in ("Rome ", "is ", "far"):
        yield word


async def _all(told: AsyncIterator[Told]) -> list[Told]:
    return [each async for each in told]


def test_pieces_are_read_while_the_answer_is_made() -> None:
    go_on = asyncio.Event()

    async def slowly(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        yield "first "
        await go_on.wait()
        yield "second"

    app, talk = _desk(slowly)

    async def scenario() -> list[str]:
        async with app:
            handle = await talk.start("hello")
            pieces = []
            async for told in follow(app.client, handle.id):
                if isinstance(told.entry, Delta):
                    pieces.append(told.entry.text)
                    assert not (await handle.state()).finished or len(pieces) == 2
                    go_on.set()
            return pieces

    assert asyncio.run(asyncio.wait_for(scenario(), 30)) == ["first ", "second"]


def test_a_reader_goes_on_from_any_offset_and_misses_nothing() -> None:
    app, talk = _desk(_words)

    async def scenario() -> None:
        async with app:
            handle = await talk.start("how far?")
            whole = await _all(follow(app.client, handle.id))
            kinds = [type(each.entry).__name__ for each in whole]
            assert kinds == [
                "Prompted", "Asked", "Restarted", "Delta", "Delta", "Answered", "Returned",
                "Asked", "Restarted", "Delta", "Delta", "Delta", "Answered", "Ended",
            ]  # fmt: skip
            for at in range(len(whole)):
                assert await _all(follow(app.client, handle.id, whole[at].offset)) == whole[at + 1 :], whole[at]
            entries = [each.entry for each in whole]
            history = [event async for event in handle.history()]
            assert [each for each in entries if not isinstance(each, (Delta, Restarted))] == transcript(history)
            assert "".join(each.text for each in entries[8:12] if isinstance(each, Delta)) == "Rome is far"

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_another_attempt_says_that_it_begins_anew() -> None:
    tried = 0

    async def twice(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        nonlocal tried
        tried += 1
        yield "half"
        if tried == 1:
            raise ConnectionError("the model hung up")
        yield " and whole"

    app, talk = _desk(twice)

    async def scenario() -> tuple[str, list[Any]]:
        async with app:
            handle = await talk.start("hello")
            entries = [each.entry for each in await _all(follow(app.client, handle.id))]
            return await handle.result(), entries

    result, entries = asyncio.run(asyncio.wait_for(scenario(), 30))
    told = [each for each in entries if isinstance(each, (Delta, Restarted))]
    assert [each.attempt if isinstance(each, Restarted) else each.text for each in told] == [
        1, "half", 2, "half", " and whole",
    ]  # fmt: skip
    assert result == "half and whole"
    assert [each.attempt for each in entries if isinstance(each, Answered)] == [2]


def test_an_agent_that_is_not_live_is_followed_too() -> None:
    app = App("desk", store="memory:")

    def reply(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        if len(messages) == 1:
            return ModelResponse([ToolCallPart("add", {"a": 1}), ToolCallPart("add", {"a": 2})])
        return ModelResponse([TextPart("sum")])

    agent = Agent(FunctionModel(reply), name="desk", capabilities=[WorkflowDurability()])

    @agent.tool_plain
    async def add(a: int) -> int:
        await asyncio.sleep(0.05 / a)  # so that the second returns first
        return a + 10

    @app.workflow
    async def talk(prompt: str) -> str:
        return (await agent.run(prompt)).output

    async def scenario() -> list[Any]:
        async with app:
            handle = await talk.start("add")
            return [each.entry for each in await _all(follow(app.client, handle.id))]

    entries = asyncio.run(asyncio.wait_for(scenario(), 30))
    returned = {each.call.arguments["a"]: each.result for each in entries if isinstance(each, Returned) and each.call}
    assert returned == {1: 11, 2: 12}
    assert isinstance(entries[-1], Ended)
    assert (entries[-1].status, entries[-1].output) == ("completed", "sum")


def test_a_run_that_fails_ends_its_stream_with_the_reason() -> None:
    async def never(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        yield "well"
        raise ConnectionError("the model is away")

    app, talk = _desk(never)

    async def scenario() -> list[Any]:
        async with app:
            handle = await talk.start("hello")
            return [each.entry for each in await _all(follow(app.client, handle.id))]

    entries = asyncio.run(asyncio.wait_for(scenario(), 30))
    assert [type(each).__name__ for each in entries][-2:] == ["Failed", "Ended"]
    assert entries[-1].status == "failed"
    assert "the model is away" in entries[-1].message
    assert sum(isinstance(each, Restarted) for each in entries) == 3


def test_a_run_that_is_terminated_ends_its_stream_too() -> None:
    async def endless(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        yield "well"
        await asyncio.Event().wait()

    app, talk = _desk(endless)

    async def scenario() -> list[Any]:
        async with app:
            handle = await talk.start("hello")
            entries = []
            async for told in follow(app.client, handle.id):
                entries.append(told.entry)
                if isinstance(told.entry, Delta):
                    await handle.terminate()
            return entries

    entries = asyncio.run(asyncio.wait_for(scenario(), 30))
    assert isinstance(entries[-1], Ended)
    assert entries[-1].status == "terminated"


def test_a_store_that_is_away_is_no_end_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = asyncio.Event()

    async def slowly(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        await go_on.wait()
        yield "well"

    app, talk = _desk(slowly)

    async def away(*_: Any) -> Any:
        raise StoreUnavailable("away")

    async def scenario() -> None:
        async with app:
            handle = await talk.start("hello")
            monkeypatch.setattr(type(app.client.gateway), "outcome", away)
            with pytest.raises(StoreUnavailable):
                await _all(follow(app.client, handle.id))
            monkeypatch.undo()
            go_on.set()
            assert await handle.result() == "well"

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_what_is_no_run_and_no_offset_is_refused() -> None:
    app, talk = _desk(_words)

    async def scenario() -> None:
        async with app:
            handle = await talk.start("hello")
            with pytest.raises(InvalidArgument, match="no offset"):
                await _all(follow(app.client, handle.id, "1.x"))
            with pytest.raises(InstanceNotFound):
                await _all(follow(app.client, "nobody"))

    asyncio.run(asyncio.wait_for(scenario(), 30))
