"""What a history is expected to be: kinds and names of events, in order, as far as a test cares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import EllipsisType
from typing import Any

from perdure.codec import Payload, decode
from perdure.errors import InvalidArgument
from perdure.history.events import AnyEvent, Event, RunCompleted, TurnCompleted, TurnStarted
from perdure.sdk.handle import Handle

KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in AnyEvent.__args__}
SHOWN_MAX = 200
"""Characters of a line of a history that a message shows."""
_BORDERS = (TurnStarted, TurnCompleted)


@dataclass(frozen=True)
class Happened:
    """One event of a history, and what people call it."""

    event: Any
    name: str | None

    @property
    def kind(self) -> str:
        return type(self.event).__name__

    @property
    def label(self) -> str:
        return f"{self.kind}({self.name})" if self.name else self.kind

    def __str__(self) -> str:
        failure = getattr(self.event, "failure", None)
        return (self.label + (f": {failure.type}: {failure.message}" if failure is not None else ""))[:SHOWN_MAX]


@dataclass(frozen=True)
class Pattern:
    """An event of a kind, with some of its fields: what `event` makes."""

    kind: str
    fields: tuple[tuple[str, Any], ...] = ()

    def meets(self, happened: Happened) -> bool:
        return happened.kind == self.kind and all(_held(happened, name) == value for name, value in self.fields)

    def __str__(self) -> str:
        return (
            f"{self.kind}({', '.join(f'{name}={value!r}' for name, value in self.fields)})"
            if self.fields
            else self.kind
        )


def event(kind: str | type[Event], /, **fields: Any) -> Pattern:
    """An expected event of `assert_history`: of this kind, and with these fields; others may be anything.

    `name` is that of the activity, child or external event also where the event itself says only a number. Payloads
    (`input`, `result`, `data`, `output`) are given as values. Raises InvalidArgument for a kind or field there is not.
    """
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", repr(kind))
    if name not in KINDS:
        raise InvalidArgument(f"there is no event {name!r}; there are {', '.join(KINDS)}")
    unknown = sorted(set(fields) - {*KINDS[name].__struct_fields__, "name"})
    if unknown:
        raise InvalidArgument(f"{name} has no field {unknown[0]!r}; it has {', '.join(KINDS[name].__struct_fields__)}")
    return Pattern(name, tuple(fields.items()))


Expected = str | type[Event] | Pattern | EllipsisType
"""One entry for `assert_history`: "ActivityScheduled(charge)", "ActivityScheduled", a class of event, `event(...)`, or
`...` for any events, or none."""


async def assert_history(handle: Handle[Any], expected: Sequence[Expected]) -> None:
    """Raise AssertionError, with both shown beside each other, unless the history of the current run is as expected.

    Borders of turns are left out. Raises InvalidArgument if an entry can match no event there is.
    """
    events = [event async for event in handle.history()]
    difference = compare(told(events), [_pattern(entry) for entry in expected])
    if difference is not None:
        raise AssertionError(f"the history of {handle.id} is not as expected.\n{difference}")


def told(events: Sequence[Any]) -> list[Happened]:
    """A history without the borders of its turns, each event with the name that it is about."""
    names = {event.number: _own_name(event) for event in events if _own_name(event) and hasattr(event, "number")}
    return [
        Happened(event, _own_name(event) or names.get(getattr(event, "number", None)))
        for event in events
        if not isinstance(event, _BORDERS)
    ]


def compare(history: Sequence[Happened], expected: Sequence[Pattern | EllipsisType]) -> str | None:
    """None if a history is as expected, else where they part, for people."""
    furthest = (0, 0)

    @cache
    def matches(at: int, entry: int) -> bool:
        nonlocal furthest
        furthest = max(furthest, (entry, at))
        if entry == len(expected):
            return at == len(history)
        wanted = expected[entry]
        if isinstance(wanted, EllipsisType):
            return any(matches(later, entry + 1) for later in range(at, len(history) + 1))
        return at < len(history) and wanted.meets(history[at]) and matches(at + 1, entry + 1)

    if matches(0, 0):
        return None
    return _shown(history, expected, *furthest)


def _shown(history: Sequence[Happened], expected: Sequence[Pattern | EllipsisType], entry: int, at: int) -> str:
    lines = [f"    {happened}" for happened in history[:at]]
    lines += [f"  - {_entry(wanted)}" for wanted in expected[entry:]]
    lines += [f"  + {happened}" for happened in history[at:]]
    return "\n".join([f"Entry {entry + 1} of {len(expected)} is not there (- expected, + what happened):", *lines])


def _entry(wanted: Pattern | EllipsisType) -> str:
    return "..." if isinstance(wanted, EllipsisType) else str(wanted)


def _pattern(entry: Expected) -> Pattern | EllipsisType:
    if isinstance(entry, (Pattern, EllipsisType)):
        return entry
    if isinstance(entry, str) and entry.endswith(")"):
        kind, _, name = entry[:-1].partition("(")
        return event(kind, name=name)
    if not isinstance(entry, (str, type)):
        raise InvalidArgument(f"{entry!r} is no expected event; give a kind as text or class, event(...), or `...`")
    return event(entry)


def _own_name(event: Any) -> str | None:
    if isinstance(event, RunCompleted):
        return event.status
    return getattr(event, "name", None)


def _held(happened: Happened, field: str) -> Any:
    if field == "name":
        return happened.name
    value = getattr(happened.event, field)
    return decode(value) if isinstance(value, Payload) else value
