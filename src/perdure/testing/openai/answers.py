"""Knows what the model answers to a request: what the prompt's marks ask for, else what it was asked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from perdure.testing.openai.filling import fill
from perdure.testing.openai.markers import Step, has_marks, steps_of


@dataclass(frozen=True)
class Call:
    """A tool to call; `arguments` is what JSON can hold."""

    tool: str
    arguments: Any


@dataclass(frozen=True)
class Answer:
    """What the model says: tools to call, or text."""

    text: str | None = None
    calls: tuple[Call, ...] = ()


def answer_by_prompt(request: dict[str, Any]) -> Answer:
    """The answer to a chat request (its JSON body); ValueError where a mark cannot be read.

    The last message of a user that holds marks says what to do, step by step, one step for each answer of the model
    that called tools since. Without marks, and when the steps are done: a schema or a required tool is filled, and
    otherwise the model repeats the last words of the user.
    """
    messages = request.get("messages") or []
    at, prompt = _prompt(messages)
    steps = steps_of(prompt)
    done = sum(1 for message in messages[at + 1 :] if message.get("tool_calls"))
    step = steps[done] if done < len(steps) else Step()
    if step.calls:
        return Answer(step.text, tuple(Call(name, arguments) for name, arguments in step.calls))
    return _final(request, step, prompt)


def text_of(message: dict[str, Any]) -> str:
    """The words of a message, whose content is a string or a list of parts."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content or ""


def _prompt(messages: list[dict[str, Any]]) -> tuple[int, str]:
    """Where the prompt stands and what it is: the last one with marks, else the last one."""
    asked = [(at, text_of(each)) for at, each in enumerate(messages) if each.get("role") == "user"]
    marked = [each for each in asked if has_marks(each[1])]
    return (marked or asked or [(-1, "")])[-1]


def _final(request: dict[str, Any], step: Step, prompt: str) -> Answer:
    schema = _schema(request)
    if schema is not None:
        return Answer(json.dumps(fill(schema) if step.value is None else step.value))
    tool = _required_tool(request) if step.text is None else None
    if tool is not None:
        arguments = fill(tool.get("parameters") or {}) if step.value is None else step.value
        return Answer(None, (Call(tool["name"], arguments),))
    if step.value is not None:
        return Answer(json.dumps(step.value))
    return Answer(prompt if step.text is None else step.text)


def _schema(request: dict[str, Any]) -> dict[str, Any] | None:
    asked = request.get("response_format") or {}
    if asked.get("type") == "json_schema":
        return dict(asked["json_schema"].get("schema") or {})
    return {"type": "object"} if asked.get("type") == "json_object" else None


def _required_tool(request: dict[str, Any]) -> dict[str, Any] | None:
    """The tool that has to be called: the one that was named, else the last, where libraries put a typed answer."""
    choice = request.get("tool_choice")
    tools = [each["function"] for each in request.get("tools") or [] if "function" in each]
    if isinstance(choice, dict):
        name = choice.get("function", {}).get("name")
        tools = [each for each in tools if each["name"] == name]
    elif choice != "required":
        return None
    return tools[-1] if tools else None
