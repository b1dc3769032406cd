"""What people see: tables, sentences, times; every character that could act on a terminal is escaped."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from perdure.cli import documents
from perdure.cli.targets import NamedTarget
from perdure.clock import to_datetime
from perdure.history.alike import FailureGroup
from perdure.history.audit_log import Entry
from perdure.history.nodes import NodeState
from perdure.history.queued import QueueState
from perdure.history.state import CauseGroup, Explanation
from perdure.history.topic_state import TopicState
from perdure.sdk.snapshot import State

PIPE_COLUMNS = 4_000
"""Width where no terminal gives one: rows that a program cuts apart must not be wrapped."""
VALUE_CHARACTERS_MAX = 2_000
"""Characters of a value that a table shows; `--json` has all of them."""
CELL_CHARACTERS_MAX = 60
_COLOURS = {
    "pending": "yellow",
    "running": "blue",
    "completed": "green",
    "failed": "red",
    "canceled": "magenta",
    "terminated": "magenta",
}


def console(*, stderr: bool = False) -> Console:
    """A console that takes text literally."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPE_COLUMNS
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


def say(text: str) -> None:
    """A sentence beside the answer, on standard error."""
    print("\n".join(map(clean, text.splitlines())), file=sys.stderr, flush=True)


def clean(text: str) -> str:
    """Text on one line, with control and other unprintable characters as escapes, such as `\\x1b`."""
    if text.isprintable():
        return text
    whole = text.encode("utf-8", "backslashreplace").decode()  # because half a surrogate pair cannot be written
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in whole)


def cut(text: str, characters: int) -> str:
    """At most so many characters."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def value(anything: Any, characters: int = VALUE_CHARACTERS_MAX) -> Text:
    """A value as JSON, cut."""
    return Text(cut(clean(json.dumps(anything, ensure_ascii=False, default=str)), characters))


def status(state: State) -> Text:
    """The status, and what stands beside it."""
    text = Text(state.status.value, style=_COLOURS[state.status.value])
    if state.suspended is not None:
        text.append(" suspended", style="yellow")
    if state.stalled is not None:
        text.append(" stalled", style="bold red")
    return text


def clock(at: datetime | None) -> str:
    """A time on the clock of this machine."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at is not None else ""


def span(duration: timedelta) -> str:
    """A duration in its two largest units: `0.25s`, `12s`, `3m05s`, `2h10m`, `4d03h`."""
    total = max(duration.total_seconds(), 0.0)
    if total < 10:
        return f"{total:.2f}s"
    minutes, left = divmod(int(total), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{left:02}s" if minutes else f"{left}s"


def instances(states: Iterable[State], now: datetime) -> Table:
    """Instances, a row each."""
    table = _table("ID", "WORKFLOW", "STATUS", "CREATED", "AGE", "CUSTOM STATUS")
    for state in states:
        table.add_row(
            Text(clean(state.id)),
            Text(clean(state.name)),
            status(state),
            clock(state.created),
            span((state.finished or now) - state.created),
            "" if state.custom_status is None else value(state.custom_status, CELL_CHARACTERS_MAX),
        )
    return table


def instance(state: State, told: Explanation | None, now: datetime) -> Table:
    """One instance, a row for each thing that is known."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, shown in _facts(state, told, now):
        table.add_row(name, shown)
    return table


def history(events: Iterable[dict[str, Any]]) -> Table:
    """Events as `documents.event` gives them."""
    table = _table("#", "TIME", "EVENT", "NUMBER", "NAME", "DETAILS")
    for event in events:
        rest = {name: told for name, told in event.items() if name not in _IN_COLUMNS}
        table.add_row(
            str(event["index"]),
            clock(datetime.fromisoformat(event["at"])),
            event["type"],
            str(event.get("number", "")),
            Text(clean(str(event.get("name", "")))),
            value(rest, CELL_CHARACTERS_MAX * 2) if rest else "",
        )
    return table


def causes(error: BaseException) -> Iterator[str]:
    """An outcome and what caused it, a line each; the innermost one with its stack."""
    document: dict[str, Any] | None = documents.failure(error)
    while document is not None:
        yield clean(f"{document['type']}: {document['message']}")
        if document["cause"] is None and document["stack"]:
            yield from map(clean, document["stack"].rstrip().splitlines())
        document = document["cause"]


_IN_COLUMNS = ("index", "at", "type", "number", "name")


def _facts(state: State, told: Explanation | None, now: datetime) -> Iterator[tuple[str, Text | str]]:
    yield "id", Text(clean(state.id))
    yield "workflow", Text(clean(state.name))
    yield "app", Text(clean(state.app))
    yield "status", status(state)
    yield "run", str(state.run)
    yield "created", clock(state.created)
    if state.finished is not None:
        yield "finished", f"{clock(state.finished)} (after {span(state.finished - state.created)})"
    else:
        yield "updated", f"{clock(state.updated)} ({span(now - state.updated)} ago)"
    yield "input", value(state.input)
    if state.custom_status is not None:
        yield "custom status", value(state.custom_status)
    if state.tags:
        yield "tags", Text(clean(" ".join(f"{key}={one}" for key, one in state.tags.items())))
    if state.parent is not None:
        yield "parent", Text(clean(state.parent))
    if state.suspended is not None:
        yield (
            "suspended",
            Text(clean(f"since {clock_of(state.suspended.since)} {state.suspended.reason}")),
        )
    if state.stalled is not None:
        text = f"since {clock_of(state.stalled.since)} {state.stalled.reason}: {state.stalled.description or ''}"
        yield "stalled", Text(clean(text))
    if told is not None:
        yield "waits", Text(clean(told.sentence))
    if state.failure is not None:
        yield "failure", Text("\n".join(causes(state.failure)))
    elif state.finished is not None:
        yield "output", value(state.output)


def clock_of(at: int) -> str:
    """A time in microseconds since 1970 on the clock of this machine."""
    return clock(to_datetime(at))


def explanation(told: Explanation, command: Callable[[Explanation], str | None], now: datetime) -> Iterator[str]:
    """Why an instance is not finished: the sentence, since when, what happens by itself, and what moves it."""
    yield clean(told.sentence)
    if told.since is not None:
        yield f"  since {clock(told.since)}, {span(now - told.since)} ago"
    yield f"  next: {clean(told.next)}"
    words = command(told)
    if words is not None:
        yield f"  {clean(words)}"


def cause(group: CauseGroup, command: Callable[[Explanation], str | None], now: datetime) -> Iterator[str]:
    """Instances that are not finished for one cause: how many, and the oldest as an example."""
    age = f", the oldest for {span(now - group.oldest)}" if group.oldest is not None else ""
    normal = "" if group.is_normal else "  !"
    yield f"{group.count:,} {group.cause}{age}{normal}"
    yield f"  {clean(group.example.sentence)}"
    words = command(group.example)
    if words is not None:
        yield f"  {clean(words)}"


def queues(states: Iterable[QueueState], now: datetime) -> Table:
    """Queues, a row each."""
    table = _table("QUEUE", "WAITING", "RUNNING", "OLDEST", "LIMITS")
    for state in states:
        oldest = "" if state.oldest is None else span(now - state.oldest)
        table.add_row(Text(clean(state.name)), str(state.waiting), str(state.running), oldest, state.limits)
    return table


def topics(states: Iterable[TopicState], now: datetime) -> Table:
    """Topics, a row for each group; one without a group has a row too."""
    table = _table("TOPIC", "PUBLISHED", "GROUP", "LEFT", "OLDEST", "RETRYING", "DEAD")
    for state in states:
        name = Text(clean(state.name))
        if not state.groups:
            table.add_row(name, str(state.published), "nobody subscribes", "", "", "", "")
        for group in state.groups:
            oldest = "" if group.oldest is None else span(now - group.oldest)
            counts = str(group.left), oldest, str(group.retrying or ""), str(group.dead or "")
            table.add_row(name, str(state.published), Text(clean(group.name)), *counts)
    return table


def failures(groups: Iterable[FailureGroup], now: datetime) -> Table:
    """Groups of failures, a row each."""
    table = _table("FINGERPRINT", "COUNT", "RERUN", "LAST", "FIRST", "WORKFLOW", "ERROR", "CODE", "EXAMPLE")
    for group in groups:
        table.add_row(
            group.fingerprint,
            f"{group.count} stalled" if group.is_stalled else str(group.count),
            str(group.rerun or ""),
            f"{span(now - group.last)} ago",
            f"{span(now - group.first)} ago",
            Text(clean(", ".join(group.workflows))),
            Text(cut(clean(group.sentence), CELL_CHARACTERS_MAX * 2)),
            Text(clean(group.place or "")),
            Text(clean(group.example)),
        )
    return table


def targets(found: Iterable[tuple[NamedTarget, str]]) -> Table:
    """Stores and servers by name, and whether they answer."""
    table = _table("TARGET", "ROLE", "APP", "ADDRESS", "STATE")
    for target, state in found:
        row = (target.name, target.role.word, target.app or "", target.address, state)
        table.add_row(*(Text(clean(cell)) for cell in row))
    return table


def nodes(states: Iterable[NodeState], now: datetime) -> Table:
    """Nodes, a row each."""
    table = _table("NODE", "SHARDS", "SLOTS", "BEAT", "UP", "VERSION", "PID", "CODE", "ADDRESSES")
    for state in states:
        code = f"{len(state.workflows)} workflows, {len(state.activities)} activities" if state.has_code else "none"
        table.add_row(
            Text(clean(state.owner)),
            str(len(state.shards)),
            # because who holds a lock tells no beat, and so not how many are busy
            str(state.slots) if state.beat is None else f"{state.busy} of {state.slots} busy",
            "" if state.beat is None else f"{span(now - state.beat)} ago",
            "" if state.started is None else span(now - state.started),
            Text(clean(state.version)),
            str(state.pid or ""),
            code,
            Text(clean(" ".join(state.doors))),
        )
    return table


def audit(entries: Sequence[Entry]) -> Table:
    """Management actions, a row each, with what became of them where that is among the entries."""
    table = _table("NUMBER", "AT", "ACTION", "INSTANCE", "WHO", "FROM", "BEFORE", "OUTCOME", "DETAILS")
    outcomes = {entry.of: entry for entry in entries if entry.of is not None}
    for entry in entries:
        if entry.of is not None:
            continue
        ended = outcomes.get(entry.number)
        after = f", {ended.after.status}" if ended is not None and ended.after is not None else ""
        table.add_row(
            str(entry.number),
            clock_of(entry.at),
            Text(clean(entry.action)),
            Text(clean(entry.instance)),
            Text(clean(f"{entry.actor.kind} {entry.actor.name}")),
            Text(clean(entry.actor.place)),
            entry.before.status if entry.before is not None else "",
            Text(clean(f"{ended.outcome}{after}" if ended is not None else "")),
            Text(clean(" ".join(f"{key}={one}" for key, one in entry.details.items()))),
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
