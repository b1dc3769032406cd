"""Causes as rows, with what the table of causes says about each."""

from __future__ import annotations

import msgspec

from perdure.clock import to_microseconds
from perdure.engine.diagnosis.causes import CAUSES, STALLED, cause_of
from perdure.history.state import CauseGroup
from perdure.remote.dashboard.views import moments


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """One group. `why` is what the table says of the cause in general, `sentence` what is told of the example."""

    cause: str
    title: str
    why: str
    prevent: str
    count: int
    oldest: str
    example: str
    sentence: str
    command: str
    is_normal: bool


def ground_of(group: CauseGroup, now: int, words: str, app: str | None) -> Ground:
    title, why, prevent = about(group.cause)
    return Ground(
        cause=group.cause,
        title=title or group.cause,
        why=why,
        prevent=prevent,
        count=group.count,
        oldest=moments.span(now - to_microseconds(group.oldest)) if group.oldest is not None else "",
        example=group.example.instance,
        sentence=group.example.sentence,
        command=group.example.command_on(words, app) or "",
        is_normal=group.is_normal,
    )


def about(cause: str) -> tuple[str, str, str]:
    """Title, explanation and prevention of a cause; empty for one that a newer server tells."""
    if cause not in CAUSES and not cause.startswith(STALLED):
        return "", "", ""
    row = cause_of(cause)
    return row.title, row.why, row.prevent
