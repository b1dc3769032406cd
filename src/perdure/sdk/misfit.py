"""How recorded data and the type that code reads it as differ, in the words of whoever changed the type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from perdure.codec import Payload


class Misfit(msgspec.Struct, frozen=True):
    """Data that the code cannot read: of which event, as which type, what has changed, and at which paths."""

    event: str
    expected: str
    changes: list[str]

    def __str__(self) -> str:
        return f"{self.event} no longer decodes as {self.expected}: {'; '.join(self.changes)}"


def misfit(event: str, expected: Any, error: BaseException) -> Misfit:
    """What an error of decoding says about the type. `event` is where the data was recorded."""
    cause = error.__cause__
    described = list(_of_pydantic(cause)) if hasattr(cause, "errors") else [_of_msgspec(str(cause or error))]
    return Misfit(event, getattr(expected, "__qualname__", None) or str(expected), described)


def holder_of(payload: Payload | None, events: list[Any]) -> str:
    """Which of the events brought the payload; the start, whose input is read as a whole, if none did."""
    for event in events:
        if any(getattr(event, field, None) is payload for field in _FIELDS):
            number, name = getattr(event, "number", None), getattr(event, "name", None)
            return f"{type(event).__name__}({number or name or ''})".replace("()", "")
    return "RunStarted"


_FIELDS = ("result", "data", "input")
_MISSING = re.compile(r"Object missing required field `(.+?)`(?: - at `(.+?)`)?$")
_UNKNOWN = re.compile(r"Object contains unknown field `(.+?)`(?: - at `(.+?)`)?$")
_OTHER = re.compile(r"Expected `(.+?)`, got `(.+?)`(?: - at `(.+?)`)?$")


def _of_msgspec(text: str) -> str:
    if found := _MISSING.search(text):
        return _added(f"{found[2] or '$'}.{found[1]}")
    if found := _UNKNOWN.search(text):
        return _removed(f"{found[2] or '$'}.{found[1]}")
    if found := _OTHER.search(text):
        return f"the type of {found[3] or '$'} has changed: recorded is {found[2]}, the code expects {found[1]}"
    return text


def _of_pydantic(error: Any) -> Iterator[str]:
    for each in error.errors(include_url=False):
        path = "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in each["loc"])
        match each["type"]:
            case "missing":
                yield _added(path)
            case "extra_forbidden":
                yield _removed(path)
            case _:
                recorded = type(each.get("input")).__name__
                yield f"the type of {path} has changed: recorded is {recorded}, and {each['msg'].lower()}"


def _added(path: str) -> str:
    return f"field {path} was added without a default"


def _removed(path: str) -> str:
    return f"field {path} was removed, and the type forbids what it does not know"
