"""Models that follow a script, and a ledger of what was really done, for the tests of agents."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from perdure import activity_context


class Ledger:
    """How often each thing was done in the world, and under which idempotency keys."""

    def __init__(self, pause: Callable[[str], Awaitable[None]] | None = None) -> None:
        self.pause = pause or _moment
        self.begun: Counter[str] = Counter()
        self.keys: dict[str, set[str]] = {}

    async def do(self, what: str) -> None:
        """Do something in the world; it takes as long as `pause` does."""
        self.begun[what] += 1
        self.keys.setdefault(what, set()).add(activity_context().idempotency_key)
        await self.pause(what)

    def clear(self) -> None:
        self.begun.clear()
        self.keys.clear()
        self.pause = _moment


async def _moment(what: str) -> None:
    await asyncio.sleep(0.1)


def returned(messages: list[ModelMessage]) -> dict[str, Any]:
    """What the tools have answered so far, by the tool's name."""
    parts = [part for message in messages for part in message.parts]
    return {part.tool_name: part.content for part in parts if isinstance(part, ToolReturnPart)}


def scripted(
    name: str, ledger: Ledger, answer: Callable[[list[ModelMessage], AgentInfo], ModelResponse]
) -> FunctionModel:
    """A model that says what `answer` says, and enters each request, by its place in the conversation."""

    async def respond(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        await ledger.do(f"{name} request {len(messages)}")
        return answer(messages, info)

    return FunctionModel(respond)


def plain(answer: Callable[[list[ModelMessage], AgentInfo], ModelResponse]) -> FunctionModel:
    """As `scripted`, of which nobody takes note; not run in a thread, which virtual time does not know."""

    async def respond(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return answer(messages, info)

    return FunctionModel(respond)


def call(tool: str, id: str | None = None, **arguments: Any) -> ToolCallPart:
    """A call that the model asks for."""
    return ToolCallPart(tool, arguments, tool_call_id=id or f"call-{tool}")


def says(*parts: ToolCallPart | str) -> ModelResponse:
    """An answer of the model: text or calls."""
    return ModelResponse(parts=[TextPart(part) if isinstance(part, str) else part for part in parts])
