"""A history as rows: what happened when, and the values that came with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from perdure.codec import Payload
from perdure.history.events import Failure
from perdure.remote.dashboard.views import moments
from perdure.remote.dashboard.views.values import Shown, brief, cut, shown

FACTS_MAX = 20
CAUSES_MAX = 8
CAUSE_CHARACTERS_MAX = 400
TEXT_CHARACTERS_MAX = 2_000
"""Characters of a fact that is no payload."""
_INSTANTS = frozenset(("due", "scheduled", "started"))
_APART = frozenset(("at", "at_nanos", "number", "name", "history", "arrivals", "event_id"))


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One event. `values` are payloads and failures, to be unfolded, `facts` the other fields that say something."""

    index: int
    clock: str
    offset: str
    type: str
    tone: str
    number: int
    name: str
    brief: str
    facts: list[tuple[str, str]]
    values: list[tuple[str, Shown]]


def entries_of(events: Iterable[Any], first: int = 1, begin: int | None = None) -> Iterator[Entry]:
    """Rows from index `first`; offsets count from `begin`, or from the first event."""
    names: dict[int, str] = {}
    for index, event in enumerate(events, first):
        begin = event.at if begin is None else begin
        number, name = getattr(event, "number", None) or 0, getattr(event, "name", None) or ""
        if number and name:
            names[number] = name
        yield _entry(index, event, begin, name or names.get(number, ""))


def failure_text(failure: Failure) -> str:
    """A failure with its causes, outermost first, and stacks where there are any."""
    told: list[str] = []
    found: Failure | None = failure
    while found is not None:
        lead = "caused by " if told else ""
        told.append(f"{lead}{found.type}: {found.message}")
        if found.stack:
            told.append(found.stack.rstrip())
        found = found.cause
    return "\n".join(told)


def causes_of(failure: Failure) -> list[str]:
    """A failure and its causes, a line each, outermost first; bounded."""
    told: list[str] = []
    found: Failure | None = failure
    while found is not None and len(told) < CAUSES_MAX:
        told.append(cut(f"{found.type}: {found.message}", CAUSE_CHARACTERS_MAX)[0])
        found = found.cause
    return told


def _entry(index: int, event: Any, begin: int, name: str) -> Entry:
    facts: list[tuple[str, str]] = []
    values: list[tuple[str, Shown]] = []
    for field, value in msgspec.structs.asdict(event).items():
        if field in _APART or value in (None, "", 0, [], {}) or field.endswith("_nanos"):
            continue
        if isinstance(value, Payload):
            told = shown(value)
            if told is not None:
                values.append((field, told))
        elif isinstance(value, Failure):
            values.append((field, Shown(*cut(failure_text(value)), encoding="text")))
        elif len(facts) < FACTS_MAX:
            facts.append((field, _fact(field, value)))
    return Entry(
        index=index,
        clock=moments.clock(event.at),
        offset=f"+{moments.span(event.at - begin)}",
        type=type(event).__name__,
        tone=_tone(type(event).__name__, event),
        number=getattr(event, "number", None) or 0,
        name=name,
        brief=_brief(event, values),
        facts=facts,
        values=values,
    )


def _fact(name: str, value: Any) -> str:
    if name in _INSTANTS and isinstance(value, int):
        return f"{moments.clock(value)} UTC"
    if isinstance(value, str):
        return cut(value, TEXT_CHARACTERS_MAX)[0]
    text = msgspec.json.encode(msgspec.to_builtins(value, str_keys=True, enc_hook=str)).decode()
    return cut(text, TEXT_CHARACTERS_MAX)[0]


def _brief(event: Any, values: list[tuple[str, Shown]]) -> str:
    failure = getattr(event, "failure", None)
    if isinstance(failure, Failure):
        return cut(f"{failure.type}: {failure.message}", 160)[0]
    for name in ("result", "output", "data", "input", "reason"):
        value = getattr(event, name, None)
        if isinstance(value, Payload):
            return brief(value, 90)
    return ""


def _tone(type_: str, event: Any) -> str:
    if type_.endswith("Failed") or type_ == "RunStalled" or getattr(event, "status", "") == "failed":
        return "bad"
    if type_.endswith(("Cancelled", "Suspended", "Terminated", "CancelRequested")):
        return "halt"
    if type_ in ("TurnStarted", "TurnCompleted"):
        return "quiet"
    return "good" if type_.endswith(("Completed", "Fired", "Granted")) else "plain"
