"""How many instances began over time, by what became of them, as bars of a small chart."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from perdure.clock import SECOND
from perdure.history.state import InstanceState
from perdure.remote.dashboard.views import moments
from perdure.remote.dashboard.views.rows import standing

COLUMNS = 48
"""Bars of the chart."""
WINDOWS = (60, 300, 900, 3_600, 21_600, 86_400, 604_800, 2_592_000)
"""Widths of the chart in seconds; the widest is taken of which every start is known."""
_STACK = ("completed", "running", "pending", "suspended", "canceled", "terminated", "stalled", "failed")


class Part(msgspec.Struct, frozen=True):
    """One state in one column; percent of the height."""

    state: str
    top: float
    height: float


class Column(msgspec.Struct, frozen=True):
    """`left` and `width` are percent of the width."""

    left: float
    width: float
    parts: list[Part]
    title: str


class Chart(msgspec.Struct, frozen=True):
    """The columns that have something; `most` is what the highest stands for."""

    columns: list[Column]
    window: str
    total: int
    most: int
    sentence: str


def chart(states: Sequence[InstanceState], now: int, *, is_all: bool) -> Chart:
    """Of the newest instances, newest first; `is_all` if there are no older ones."""
    window = _window(states, now, is_all=is_all) * SECOND
    begin, step = now - window, window / COLUMNS
    counts: list[dict[str, int]] = [{} for _ in range(COLUMNS)]
    total = 0
    for state in states:
        if begin <= state.created:
            place = min(int((state.created - begin) / step), COLUMNS - 1)
            word = standing(state)
            counts[place][word] = counts[place].get(word, 0) + 1
            total += 1
    most = max((sum(count.values()) for count in counts), default=0)
    columns = [_column(place, count, most, begin + round(place * step)) for place, count in enumerate(counts) if count]
    told = moments.rounded(window)
    sentence = f"{total:,} started in the last {told}; {most:,} at most in {moments.span(round(step))}"
    return Chart(columns, told, total, most, sentence)


def _window(states: Sequence[InstanceState], now: int, *, is_all: bool) -> int:
    oldest = (now - states[-1].created) / SECOND if states else 0
    if is_all:
        return next((window for window in WINDOWS if window >= oldest), WINDOWS[-1])
    fitting = [window for window in WINDOWS if window <= oldest]
    return fitting[-1] if fitting else WINDOWS[0]


def _column(place: int, count: dict[str, int], most: int, at: int) -> Column:
    parts: list[Part] = []
    filled = 0.0
    for state in _STACK:
        if count.get(state):
            height = count[state] * 100 / most
            filled += height
            parts.append(Part(state, 100 - filled, height))
    told = ", ".join(f"{count[state]:,} {state}" for state in _STACK if count.get(state))
    return Column(place * 100 / COLUMNS, 100 / COLUMNS * 0.8, parts, f"{moments.clock(at)} UTC: {told}")
