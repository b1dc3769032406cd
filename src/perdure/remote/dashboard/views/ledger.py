"""Entries of the audit log as rows, and whether they follow each other unbroken."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from perdure.history.audit_log import Entry, Standing, digest, read
from perdure.remote.dashboard.views import moments
from perdure.remote.dashboard.views.values import cut

DETAILS_CHARACTERS_MAX = 300


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """One action, with what became of it where that is on the same page."""

    number: int
    clock: str
    ago: str
    who: str
    kind: str
    place: str
    action: str
    instance: str
    details: str
    before: str
    after: str
    outcome: str


def deeds_of(entries: Sequence[tuple[int, str]], now: int) -> list[Deed]:
    """Newest first. What cannot be read is told as such."""
    known = [(number, read(stored)) for number, stored in entries]
    ends = {entry.of: entry for _, entry in known if entry is not None and entry.of is not None}
    return [
        _deed(number, entry, ends.get(number), now)
        for number, entry in reversed(known)
        if entry is None or entry.of is None
    ]


def is_chained(entries: Sequence[tuple[int, str]]) -> bool:
    """Whether each entry names the digest of the one before it."""
    for (number, stored), (next_number, next_stored) in pairwise(entries):
        entry = read(next_stored)
        if next_number != number + 1 or entry is None or entry.previous != digest(stored.encode()):
            return False
    return True


def _deed(number: int, entry: Entry | None, end: Entry | None, now: int) -> Deed:
    if entry is None:
        return Deed(
            number=number, clock="", ago="", who="", kind="", place="", action="cannot be read", instance="",
            details="", before="", after="", outcome="",
        )  # fmt: skip
    details = msgspec.json.encode(entry.details).decode() if entry.details else ""
    return Deed(
        number=number,
        clock=moments.clock(entry.at),
        ago=moments.ago(entry.at, now),
        who=entry.actor.name,
        kind=entry.actor.kind,
        place=entry.actor.place,
        action=entry.action,
        instance=entry.instance,
        details=cut(details, DETAILS_CHARACTERS_MAX)[0],
        before=_standing(entry.before),
        after=_standing(end.after if end is not None else None),
        outcome=(end.outcome or "") if end is not None else "",
    )


def _standing(standing: Standing | None) -> str:
    if standing is None:
        return ""
    beside = [word for word, holds in (("suspended", standing.suspended), ("stalled", standing.stalled)) if holds]
    return ", ".join([standing.status, *beside])
