"""The commands `audit ...`: who did what to which instance, and whether the log is as it was written."""

from __future__ import annotations

import csv
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer

from perdure.app import Client
from perdure.cli import documents, screen
from perdure.cli.commands import command
from perdure.cli.target import Target
from perdure.cli.values import instant
from perdure.clock import to_datetime, to_microseconds
from perdure.errors import InvalidArgument
from perdure.history.audit_log import Anchor, Entry, Finding, Verifier, anchor_of, read

BROKEN = 1
"""What `verify` ends with if an entry is not as it was written."""
PAGE = 1_000
"""Entries that are read at once."""
AnchorOption = Annotated[
    str | None,
    typer.Option("--anchor", metavar="NUMBER:DIGEST", help="What an earlier verify printed, kept elsewhere."),
]


class Form(StrEnum):
    """How entries are exported."""

    JSONL = "jsonl"
    CSV = "csv"


@dataclass(frozen=True)
class Chosen:
    """The options that choose entries; all must fit."""

    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="ISO 8601, or -2h for two hours ago.")
    ] = None
    until: Annotated[str | None, typer.Option("--until", metavar="TIME")] = None
    instance: Annotated[str | None, typer.Option("--instance", metavar="ID", help="About this instance.")] = None

    def fits(self, entry: Entry, now: datetime) -> bool:
        """Whether an entry is chosen."""
        since = to_microseconds(instant(self.since, "--since", now)) if self.since else None
        until = to_microseconds(instant(self.until, "--until", now)) if self.until else None
        return (
            (since is None or entry.at >= since)
            and (until is None or entry.at < until)
            and (self.instance is None or entry.instance == self.instance)
        )


async def verify(*, target: Target, anchor: AnchorOption = None) -> int:
    """Look whether each entry is as it was written and none is missing; 1 and the first that is not, if so."""
    known = anchor_of(anchor) if anchor is not None else None
    if anchor is not None and known is None:
        raise InvalidArgument(f"anchor {anchor[:80]!r} is none; give what `perdure audit verify` has printed")
    async with target.client() as client:
        found = await _verified(client, known)
    if target.json:
        documents.write({**msgspec.to_builtins(found), "anchor": str(found.anchor)})
    elif found.broken is not None:
        screen.say(f"The audit log is broken: {found.sentence}. {found.entries} entries before it are unbroken.")
    else:
        print(f"{found.entries} entries, none changed or missing. Keep the anchor elsewhere: {found.anchor}")
    return BROKEN if found.broken is not None else 0


async def _verified(client: Client, known: Anchor | None) -> Finding:
    verifier, after = Verifier(known), 0
    while True:
        page = await client.audited(after, PAGE)
        if not page.entries:
            # the anchor was read before it was seen that nothing follows, so it cannot go further than the entries
            return verifier.end(page.anchor)
        verifier.take(page.entries)
        after = page.entries[-1][0]


async def show(
    *,
    target: Target,
    chosen: Chosen,
    limit: Annotated[int, typer.Option("--limit", min=0, help="At most so many, the newest; 0 for all.")] = 100,
) -> int:
    """Management actions, oldest first: who, from where, what, when, and what became of it."""
    async with target.client() as client:
        entries = [entry async for entry in _entries(client, chosen)]
    entries = entries[-limit:] if limit else entries
    if target.json:
        for entry in entries:
            documents.write(_document(entry))
    else:
        screen.console().print(screen.audit(entries))
    return 0


async def export(
    *,
    target: Target,
    chosen: Chosen,
    form: Annotated[Form, typer.Option("--format", help="A line of JSON for each entry, or CSV.")] = Form.JSONL,
) -> int:
    """Write entries to standard output for other programs, outcomes as entries of their own."""
    rows = csv.DictWriter(sys.stdout, _FIELDS, lineterminator="\n") if form is Form.CSV else None
    if rows is not None:
        rows.writeheader()
    async with target.client() as client:
        async for entry in _entries(client, chosen):
            if rows is None:
                documents.write(_document(entry))
            else:
                rows.writerow(_row(entry))
    return 0


_FIELDS = (
    *("number", "at", "app", "action", "instance", "actor_kind", "actor", "place", "of", "outcome"),
    *("status_before", "execution_before", "run_before", "status_after", "details", "previous"),
)


async def _entries(client: Client, chosen: Chosen) -> AsyncIterator[Entry]:
    """Those that are chosen. One that cannot be read is for `verify` to tell."""
    after, now = 0, datetime.now(UTC)
    while page := (await client.audited(after, PAGE)).entries:
        for number, stored in page:
            entry = read(stored)
            if entry is not None and chosen.fits(entry, now):
                yield entry
            after = number


def _document(entry: Entry) -> dict[str, Any]:
    return {**msgspec.to_builtins(entry), "at": to_datetime(entry.at).isoformat()}


def _row(entry: Entry) -> dict[str, Any]:
    before, after = entry.before, entry.after
    return {
        "number": entry.number,
        "at": to_datetime(entry.at).isoformat(),
        "app": entry.app,
        "action": entry.action,
        "instance": _plain(entry.instance),
        "actor_kind": entry.actor.kind,
        "actor": _plain(entry.actor.name),
        "place": _plain(entry.actor.place),
        "of": entry.of,
        "outcome": entry.outcome,
        "status_before": before.status if before else None,
        "execution_before": before.execution if before else None,
        "run_before": before.run if before else None,
        "status_after": after.status if after else None,
        "details": msgspec.json.encode(entry.details).decode() if entry.details else None,
        "previous": entry.previous,
    }


def _plain(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


audits = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
for _function in (verify, show, export):
    audits.command(_function.__name__)(command(_function))
