"""A run as bars over time: each call, timer, child and pause, with what it waited for before it began."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from perdure.clock import SECOND
from perdure.remote.dashboard.views import moments
from perdure.remote.dashboard.views.calls import OPEN, Call

BARS_MAX = 200
"""Bars of one timeline; the first and the last ones are shown if there are more."""
TICKS = 5
PROBLEM_CHARACTERS_MAX = 200
WIDTH_MIN = 0.35
"""Percent of the width that a bar has at least, so that it can be seen."""


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the timeline. `left`, `width` and `waited` are percent of its width; `waited` is the part of the bar
    before the attempt that counts had begun."""

    kind: str
    label: str
    number: int
    state: str
    left: float
    width: float
    waited: float
    took: str
    note: str
    title: str
    instance: str | None


class Tick(msgspec.Struct, frozen=True):
    left: float
    label: str


class Timeline(msgspec.Struct, frozen=True):
    """The bars in order, and how many between them are left out."""

    bars: list[Bar]
    ticks: list[Tick]
    left_out: int


def timeline(calls: Sequence[Call], begin: int, end: int) -> Timeline:
    """Bars of what happened from `begin` to `end`; what is open goes on to the end."""
    begin = min([begin, *(call.begun for call in calls)])
    end = max([end, begin + 1_000, *(call.ended or 0 for call in calls)])
    chosen, left_out = _chosen(calls)
    return Timeline([_bar(call, begin, end) for call in chosen], _ticks(end - begin), left_out)


def _chosen(calls: Sequence[Call]) -> tuple[Sequence[Call], int]:
    if len(calls) <= BARS_MAX:
        return calls, 0
    half = BARS_MAX // 2
    return [*calls[:half], *calls[-half:]], len(calls) - 2 * half


def _bar(call: Call, begin: int, end: int) -> Bar:
    whole = end - begin
    left = (call.begun - begin) * 100 / whole
    stops = end if call.ended is None else call.ended
    width = max((stops - call.begun) * 100 / whole, WIDTH_MIN)
    left = min(left, 100 - WIDTH_MIN)
    width = min(width, 100 - left)
    started = call.started if call.started is not None and call.begun < call.started <= stops else call.begun
    took = moments.span(stops - call.begun)
    return Bar(
        kind=call.kind,
        label=call.name,
        number=call.number,
        state=call.state,
        left=left,
        width=width,
        waited=min((started - call.begun) * 100 / whole, width),
        took="" if call.ended == call.begun else took,
        note=_note(call),
        title=_title(call, took),
        instance=call.instance,
    )


def _title(call: Call, took: str) -> str:
    told = f"{call.kind} {call.name}: {call.state}, {took}, from {moments.clock(call.begun)} UTC"
    return f"{told}; {call.problem[:PROBLEM_CHARACTERS_MAX]}" if call.problem else told


def _note(call: Call) -> str:
    told = [f"attempt {call.attempt}"] if call.attempt > 1 else []
    if call.state == OPEN and call.due is not None and (call.kind == "timer" or call.problem):
        told.append(f"{'until' if call.kind == 'timer' else 'again at'} {moments.clock(call.due)[11:]}")
    return ", ".join(told)


def _ticks(whole: int) -> list[Tick]:
    """Round times from the beginning, some over the width."""
    step = _step(whole / TICKS)
    return [Tick(at * 100 / whole, "0" if at == 0 else moments.rounded(at)) for at in range(0, whole, step)]


def _step(least: float) -> int:
    unit = 1_000
    while True:
        for factor in (1, 2, 5):
            if unit * factor >= least:
                return unit * factor
        if unit * 10 >= 60 * SECOND:
            return _long_step(least)
        unit *= 10


def _long_step(least: float) -> int:
    for seconds in (60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400):
        if seconds * SECOND >= least:
            return seconds * SECOND
    days = 1
    while days * 86_400 * SECOND < least:
        days *= 2
    return days * 86_400 * SECOND
