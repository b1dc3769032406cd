"""An explanation put into words: the texts of a row of the table, filled with the facts of the case."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec

from perdure.clock import LATEST, to_datetime
from perdure.engine.diagnosis.causes import STEERING, Command, cause_of
from perdure.engine.diagnosis.findings import overlaid
from perdure.engine.diagnosis.sight import Finding, Sight
from perdure.engine.diagnosis.words import command, shown
from perdure.history.state import Explanation
from perdure.stores.contract import ENTITY, Head

HOPS_TOLD_MAX = 3
"""Instances on the way to the cause that a sentence names; of more it names the first and the last."""


class Step(msgspec.Struct, frozen=True):
    """One instance on the way, and what holds it."""

    sight: Sight
    finding: Finding

    @property
    def head(self) -> Head:
        return self.sight.head

    @property
    def place(self) -> tuple[str, str]:
        return self.head.app, self.head.id


def explanation(steps: Sequence[Step], home: str) -> Explanation:
    """Why the first of the steps is not finished: the cause of the last one. `home` is the app that commands are for
    unless they say otherwise."""
    first, last = steps[0], steps[-1]
    row, facts = cause_of(last.finding.cause), _facts(last)
    found = overlaid(last.sight, last.finding, row.sentence.format_map(facts))
    if found is not last.finding:
        last = Step(last.sight, found)
        facts = _facts(last, next=row.next.format_map(facts))
        row = cause_of(found.cause)
    since = first.finding.since
    return Explanation(
        instance=first.head.id,
        cause=found.cause,
        sentence=", and ".join([*_hops(steps), row.sentence.format_map(facts)]) + ".",
        since=to_datetime(since) if since is not None and 0 <= since <= LATEST else None,
        command=_command(row.command, last, home),
        line=first.finding.line,
        next=row.next.format_map(facts),
        chain=(*(step.head.id for step in steps[1:]), *found.ring),
        is_normal=row.is_normal,
    )


def linked(step: Step, on: str) -> str:
    """That somebody waits for somebody."""
    before, after = step.finding.link
    return f"{who(step.head)} {before}{shown(on)}{after}"


def who(head: Head) -> str:
    """An instance in a sentence."""
    return f"{shown(head.name)} {shown(head.id)}"


def _hops(steps: Sequence[Step]) -> list[str]:
    hops = [linked(one, other.head.id) for one, other in pairwise(steps)]
    if len(hops) <= HOPS_TOLD_MAX:
        return hops
    return [hops[0], f"so do {len(hops) - 2} more between", hops[-1]]


class _Facts(dict[str, Any]):
    """What a case does not have is left out of its sentence."""

    def __missing__(self, name: str) -> str:
        return ""


def _facts(step: Step, **more: str) -> _Facts:
    found = step.finding.facts
    facts = _Facts({"who": who(step.head), **found, **more})
    if "on" in found:
        facts["on"] = shown(found["on"])
    return facts


def _command(row: Command | None, step: Step, home: str) -> str | None:
    if row is None or (step.head.kind == ENTITY and row in STEERING):
        return None
    exact = {"id": step.head.id, "app": step.head.app, **step.finding.facts}
    options = list(row.options)
    if exact["app"] != home or row.names_app:
        options = ["--app", exact["app"], *options]
    names = [*row.arguments, *([row.last] if row.last in exact else [])]
    return command(("perdure", *row.verb), options, [exact[name] for name in names])
