"""Groups of the same failure as rows."""

from __future__ import annotations

import msgspec

from perdure.clock import to_microseconds
from perdure.history.alike import FailureGroup
from perdure.remote.dashboard.views import moments
from perdure.remote.dashboard.views.values import cut

SENTENCE_CHARACTERS_MAX = 600
SHOWN_MAX = 10
"""Instances of a row, oldest first."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One group. `open` counts those that have not been rerun."""

    fingerprint: str
    state: str
    sentence: str
    place: str
    workflows: str
    count: int
    open: int
    going: int
    first: str
    last: str
    example: str
    ids: list[str]


def kind_of(group: FailureGroup, now: int) -> Kind:
    first, last = to_microseconds(group.first), to_microseconds(group.last)
    return Kind(
        fingerprint=group.fingerprint,
        state="stalled" if group.is_stalled else "failed",
        sentence=cut(group.sentence, SENTENCE_CHARACTERS_MAX)[0],
        place=group.place or "",
        workflows=", ".join(group.workflows[:SHOWN_MAX]),
        count=group.count,
        open=len(group.ids),
        going=len(group.going),
        first=moments.ago(first, now),
        last=moments.ago(last, now),
        example=group.example,
        ids=group.ids[:SHOWN_MAX],
    )
