"""Spans of an agent's run by OpenTelemetry's conventions for GenAI: each once, though the code runs again."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic_ai import Agent
from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.instrumented import InstrumentationSettings

from perdure import App, wait_for_event
from perdure.agents import DurableAgent


def _answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    if len(messages) == 1:
        return ModelResponse([ToolCallPart("look", {"place": "Rome"}), ToolCallPart("wait", {})])
    return ModelResponse([TextPart("far")])


def _desk(url: str, found: InMemorySpanExporter) -> tuple[App, DurableAgent[None, str]]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    settings = InstrumentationSettings(tracer_provider=provider)
    agent = Agent(FunctionModel(_answer), name="clerk", capabilities=[Instrumentation(settings)])

    @agent.tool_plain
    async def look(place: str) -> str:
        return f"{place} is far"

    @agent.tool_plain(metadata={"perdure": False})
    async def wait() -> str:
        return await wait_for_event("go", str)

    hosted = DurableAgent(agent)
    return App("desk", store=url, agents=[hosted]), hosted


def _named(spans: tuple[ReadableSpan, ...]) -> Counter[str]:
    return Counter(span.name for span in spans)


def test_a_run_that_is_replayed_in_another_life_has_each_span_once(url: str) -> None:
    found = InMemorySpanExporter()

    async def begin() -> str:
        app, hosted = _desk(url, found)
        async with app:
            run = await hosted.start("how far?", id="r-1")
            while not any(span.name == "execute_tool look" for span in found.get_finished_spans()):
                await asyncio.sleep(0.01)
            return run.id

    async def go_on() -> Any:
        app, hosted = _desk(url, found)
        async with app:
            run = hosted.get("r-1")
            await run.handle.raise_event("go", "here")
            return await run.result()

    async def scenario() -> None:
        async with asyncio.timeout(30):
            await begin()
            assert _named(found.get_finished_spans()) == {"chat function:_answer:": 1, "execute_tool look": 1}
            assert await go_on() == "far"

    asyncio.run(scenario())
    spans = found.get_finished_spans()
    assert _named(spans) == {
        "chat function:_answer:": 2,
        "execute_tool look": 1,
        "execute_tool wait": 1,
        "invoke_agent clerk": 1,
    }
    told = {span.name: dict(span.attributes or {}) for span in spans}
    assert told["invoke_agent clerk"]["gen_ai.operation.name"] == "invoke_agent"
    assert told["invoke_agent clerk"]["gen_ai.agent.name"] == "clerk"
    assert told["execute_tool look"]["gen_ai.tool.name"] == "look"
    assert told["chat function:_answer:"]["gen_ai.operation.name"] == "chat"
    assert told["chat function:_answer:"]["gen_ai.usage.output_tokens"] > 0
