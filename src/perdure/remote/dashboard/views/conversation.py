"""An agent's run as a conversation to read: who said what, which tools were called with what, and what it has cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from perdure.codec import encode
from perdure.history.transcript import (
    Answered,
    AnyEntry,
    Ended,
    Failed,
    Prompted,
    Returned,
    Transcript,
    Usage,
    Waited,
)
from perdure.remote.dashboard.views import moments
from perdure.remote.dashboard.views.values import CHARACTERS_MAX, Shown, cut, shown

SECOND = 1_000_000
CENT = Decimal("0.01")


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was said or done. `side`: of people, the agent, a tool or the run. `tone` is "bad" or nothing.

    `values` are for reading, by name; `instance` is that of a child; `facts` stand small beside it.
    """

    side: str
    who: str
    at: int
    text: str = ""
    note: str = ""
    facts: tuple[str, ...] = ()
    values: tuple[tuple[str, Shown], ...] = ()
    tone: str = ""
    instance: str | None = None


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """What a page shows of a run. `open`: requests and tools that are under way."""

    turns: Sequence[Turn]
    requests: int
    tools: int
    usage: Usage
    models: Sequence[str]
    open: Sequence[str]

    @property
    def cost(self) -> str:
        return money(self.usage.cost)


def conversation_of(events: Iterable[Any]) -> Conversation:
    """From the history of a run, in order."""
    reader = Transcript()
    entries = [entry for event in events for entry in reader.read(event)]
    answers = [entry for entry in entries if isinstance(entry, Answered)]
    return Conversation(
        turns=[turn for entry in entries if (turn := _turn(entry)) is not None],
        requests=len(answers),
        tools=sum(isinstance(entry, Returned) for entry in entries),
        usage=reader.usage,
        models=sorted({answer.model for answer in answers if answer.model}),
        open=reader.under_way,
    )


def money(cost: Decimal | None) -> str:
    """Dollars: to the cent, and small amounts to two digits that count."""
    if cost is None:
        return "not known"
    if cost >= CENT or not cost:
        return f"${cost:.2f}"
    return f"${cost:.{1 - cost.adjusted()}f}"


def _turn(entry: AnyEntry) -> Turn | None:
    match entry:
        case Prompted():
            return _prompted(entry)
        case Answered():
            return _answered(entry)
        case Returned():
            return _returned(entry)
        case Failed():
            facts = (f"attempt {entry.attempt}",) if entry.attempt > 1 else ()
            return Turn(
                side="tool", who=entry.what, at=entry.at, text=entry.message, facts=facts, tone="bad",
                instance=entry.instance,
            )  # fmt: skip
        case Waited():
            return Turn(side="run", who="waits", at=entry.at, text=f"for {entry.what}, from somebody outside")
        case Ended():
            return _ended(entry)
        case _:
            return None


def _prompted(entry: Prompted) -> Turn:
    """The prompt; a hosted agent's input has it beside other things."""
    given = entry.input
    prompt = given.get("prompt", given) if isinstance(given, dict) else given
    session = given.get("session") if isinstance(given, dict) else None
    facts = (f"session {session}",) if session else ()
    return Turn(side="people", who="prompt", at=entry.at, facts=facts, **_said(prompt))


def _answered(entry: Answered) -> Turn:
    if not entry.is_readable:
        note = "packed by a codec that this dashboard does not have"
        return Turn(side="agent", who=entry.agent, at=entry.at, note=note)
    values = [("Thinking", Shown(*cut(entry.thinking), encoding="text"))] if entry.thinking else []
    values += [(f"calls {call.tool}", _shown(call.arguments)) for call in entry.calls]
    used = entry.usage
    facts = [f"{used.input_tokens:,} in, {used.output_tokens:,} out", moments.span(round(entry.seconds * SECOND))]
    if used.cost is not None:
        facts.append(money(used.cost))
    if entry.attempt > 1:
        facts.append(f"attempt {entry.attempt}")
    text, note = cut(entry.text)
    return Turn(
        side="agent", who=entry.agent, at=entry.at, text=text, note=note, facts=tuple(facts), values=tuple(values)
    )


def _returned(entry: Returned) -> Turn:
    facts = [moments.span(round(entry.seconds * SECOND))]
    if entry.attempt > 1:
        facts.append(f"attempt {entry.attempt}")
    values = [("Arguments", _shown(entry.call.arguments))] if entry.call is not None else []
    values.append(("Result", _shown(entry.result)))
    who = entry.call.tool if entry.call is not None else entry.tool
    return Turn(
        side="tool", who=who, at=entry.at, facts=tuple(facts), values=tuple(values), instance=entry.instance
    )  # fmt: skip


def _ended(entry: Ended) -> Turn:
    if entry.status != "completed":
        return Turn(side="run", who=entry.status, at=entry.at, text=entry.message, tone="bad")
    output = entry.output
    is_answer = isinstance(output, dict) and "agent" in output and "output" in output
    return Turn(side="run", who="result", at=entry.at, **_said(output["output"] if is_answer else output))


def _said(value: Any) -> dict[str, Any]:
    """Words as words, anything else as a value to read."""
    if isinstance(value, str):
        text, note = cut(value, CHARACTERS_MAX)
        return {"text": text, "note": note}
    return {"values": (("Value", _shown(value)),)}


def _shown(value: Any) -> Shown:
    found = shown(encode(value))
    return found if found is not None else Shown("null")
