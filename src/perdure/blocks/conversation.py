"""What is said to a language model and what it says, and both as OpenAI's protocol writes them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from perdure.errors import MalformedMessage

CHOICES_MAX = 100
"""Choices of one answer that are read."""
_OWN = frozenset(("model", "messages", "tools", "stream"))
"""Fields of a request that parameters cannot set."""


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the model wants called. `arguments` is JSON."""

    name: str
    arguments: str = ""
    id: str = ""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """`role` is developer, system, user, assistant or tool; `tool_id` is of the call that a tool's message answers."""

    role: str
    text: str = ""
    name: str = ""
    tool_calls: Sequence[ToolCall] = ()
    tool_id: str = ""


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """`parameters` is a JSON schema."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """Messages so far, and how the next one is to be. `parameters` are fields of the request that only the model knows;
    `answer_format` is OpenAI's `response_format`."""

    messages: Sequence[Message]
    tools: Sequence[Tool] = ()
    tool_choice: str | None = None
    temperature: float | None = None
    answer_format: Mapping[str, Any] | None = None
    parameters: Mapping[str, Any] = {}


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One of the messages that the model would say next; `finish` tells why it ends there."""

    message: Message
    finish: str = "stop"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`usage` counts tokens, as the provider does."""

    choices: Sequence[Choice]
    model: str = ""
    usage: Mapping[str, Any] | None = None


def request_of(asked: Conversation, model: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a request for the next message. `settings` count where the conversation says nothing."""
    body: dict[str, Any] = {
        **settings,
        **{name: value for name, value in asked.parameters.items() if name not in _OWN},
        "model": model,
        "messages": [_message(each) for each in asked.messages],
    }
    if asked.temperature is not None:
        body["temperature"] = asked.temperature
    if asked.tools:
        body["tools"] = [_tool(each) for each in asked.tools]
        if asked.tool_choice:
            body["tool_choice"] = _tool_choice(asked.tool_choice)
    if asked.answer_format is not None:
        body["response_format"] = asked.answer_format
    return body


def _message(message: Message) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.tool_id, "content": message.text}
    written: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.name:
        written["name"] = message.name
    if message.tool_calls:
        written["content"] = message.text or None
        written["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return written


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    return {"type": "function", "function": function}


def _tool_choice(choice: str) -> Any:
    if choice in ("none", "auto", "required"):
        return choice
    return {"type": "function", "function": {"name": choice}}


class _Function(msgspec.Struct):
    name: str = ""
    arguments: str = ""


class _Call(msgspec.Struct):
    function: _Function
    id: str = ""


class _Said(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    message: _Said
    finish_reason: str | None = None


class _Body(msgspec.Struct):
    choices: list[_Choice]
    model: str = ""
    usage: dict[str, Any] | None = None


def answer_of(body: bytes) -> Answer:
    """The answer in the body of a response. Raises MalformedMessage."""
    try:
        found = msgspec.json.decode(body, type=_Body)
    except msgspec.MsgspecError as error:
        raise MalformedMessage(
            f"the model's answer is none of OpenAI's protocol ({error}); check the endpoint"
        ) from None
    return Answer(
        choices=tuple(_choice(each) for each in found.choices[:CHOICES_MAX]), model=found.model, usage=found.usage
    )


def _choice(found: _Choice) -> Choice:
    calls = tuple(
        ToolCall(name=call.function.name, arguments=call.function.arguments, id=call.id)
        for call in found.message.tool_calls or ()
    )
    message = Message(role="assistant", text=found.message.content or "", tool_calls=calls)
    return Choice(message=message, finish=found.finish_reason or ("tool_calls" if calls else "stop"))
