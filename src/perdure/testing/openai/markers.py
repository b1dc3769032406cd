"""Knows the marks in a prompt that say what the model shall answer.

`[[call NAME {"argument": 1}]]` calls a tool; several calls in one step are made in parallel.
`[[then]]` ends a step: what follows is asked for once the tools before it have answered.
`[[say TEXT]]` is the answer in words, and `[[answer {...}]]` the answer where a schema is asked for.

So `[[call add {"a": 1}]] [[call add {"a": 2}]] [[then]] [[call save {}]] [[then]] [[say done]]` makes three requests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_MARK = re.compile(r"\[\[(call|then|say|answer)\b\s*")
_NAME = re.compile(r"([\w.-]+)\s*")
_END = re.compile(r"\s*\]\]")
_JSON = json.JSONDecoder()


@dataclass(frozen=True)
class Step:
    """What one answer of the model holds; `value` is JSON, and None where the prompt does not say."""

    calls: tuple[tuple[str, Any], ...] = ()
    text: str | None = None
    value: Any = None

    @property
    def is_empty(self) -> bool:
        return not self.calls and self.text is None and self.value is None


def has_marks(prompt: str) -> bool:
    return _MARK.search(prompt) is not None


def steps_of(prompt: str) -> list[Step]:
    """The steps a prompt asks for, in order; ValueError where a mark cannot be read."""
    steps: list[Step] = []
    step = Step()
    for verb, argument in _marks(prompt):
        match verb:
            case "call":
                step = Step((*step.calls, argument), step.text, step.value)
            case "say":
                step = Step(step.calls, argument, step.value)
            case "answer":
                step = Step(step.calls, step.text, argument)
            case _:
                steps.append(step)
                step = Step()
    return [each for each in (*steps, step) if not each.is_empty]


def _marks(prompt: str) -> Iterator[tuple[str, Any]]:
    at = 0
    while (mark := _MARK.search(prompt, at)) is not None:
        verb, at = mark.group(1), mark.end()
        argument: Any = None
        if verb == "call":
            name, at = _name(prompt, at)
            value, at = _value(prompt, at)
            argument = (name, value)
        elif verb == "answer":
            argument, at = _value(prompt, at)
        elif verb == "say":
            argument, at = _text(prompt, at)
        at = _end(prompt, at)
        yield verb, argument


def _name(prompt: str, at: int) -> tuple[str, int]:
    found = _NAME.match(prompt, at)
    if found is None:
        raise ValueError(f"[[call ...]] needs the name of a tool at {prompt[at : at + 40]!r}")
    return found.group(1), found.end()


def _value(prompt: str, at: int) -> tuple[Any, int]:
    if _END.match(prompt, at):
        return {}, at
    try:
        return _JSON.raw_decode(prompt, at)
    except json.JSONDecodeError as error:
        raise ValueError(f"a mark holds no JSON at {prompt[at : at + 40]!r}: {error}") from None


def _text(prompt: str, at: int) -> tuple[str, int]:
    end = prompt.find("]]", at)
    if end < 0:
        raise ValueError(f"[[say ...]] has no end at {prompt[at : at + 40]!r}")
    return prompt[at:end].strip(), end


def _end(prompt: str, at: int) -> int:
    end = _END.match(prompt, at)
    if end is None:
        raise ValueError(f"a mark has no end ]] at {prompt[at : at + 40]!r}")
    return end.end()
