"""Instances as rows of a list, and the one word that says how each stands."""

from __future__ import annotations

import msgspec

from perdure.history.state import InstanceState
from perdure.remote.dashboard.views import moments
from perdure.remote.dashboard.views.values import brief
from perdure.stores.contract import FINISHED

TAGS_SHOWN = 3
"""Tags of a row; the page of the instance has all."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One instance of a list."""

    id: str
    name: str
    state: str
    created: str
    iso: str
    ago: str
    took: str
    is_finished: bool
    note: str
    tags: tuple[tuple[str, str], ...]
    tags_more: int


def row_of(state: InstanceState, now: int) -> Row:
    tags = sorted((state.tags or {}).items())
    return Row(
        id=state.id,
        name=state.name,
        state=standing(state),
        created=moments.clock(state.created),
        iso=moments.iso(state.created),
        ago=moments.ago(state.created, now),
        took=moments.span((state.finished or now) - state.created),
        is_finished=state.status in FINISHED,
        note=brief(state.custom_status),
        tags=tuple(tags[:TAGS_SHOWN]),
        tags_more=max(len(tags) - TAGS_SHOWN, 0),
    )


def standing(state: InstanceState) -> str:
    """Its status, or what stands in its way: a run that is held or stands still is not told as running."""
    if state.status in FINISHED:
        return str(state.status)
    if state.stalled is not None:
        return "stalled"
    return "suspended" if state.suspended is not None else str(state.status)
