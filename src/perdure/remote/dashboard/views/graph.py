"""The calls of a run as a graph: what was asked for together stands in one column, and lines lead from what led to it.

A turn that asks for something was led to it by all that came since the last turn that asked. Calls of one name and
state in one column are drawn as one, with their number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from perdure.remote.dashboard.views.calls import CANCELED, DONE, FAILED, OPEN, Call

NODES_MAX = 120
"""Boxes of one graph; what comes after them is left out."""
EDGES_MAX = 400
LABEL_CHARACTERS_MAX = 20
BOX, TALL, GAP_X, GAP_Y, EDGE = 148, 32, 36, 12, 12
"""Sizes in pixels: of a box, between boxes, around them all."""
TIMES = "\N{MULTIPLICATION SIGN}"
_WORST = (FAILED, OPEN, CANCELED, DONE)
_SHOWN = frozenset(("activity", "child", "timer", "event", "entity", "update", "sent"))


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """One call, or `count` alike."""

    x: int
    y: int
    kind: str
    label: str
    detail: str
    state: str
    count: int
    title: str
    instance: str | None


class Graph(msgspec.Struct, frozen=True):
    """Boxes and lines (as paths of SVG), and how many calls are left out."""

    boxes: list[Box]
    lines: list[str]
    width: int
    height: int
    left_out: int


class _Group:
    def __init__(self, layer: int, first: Call) -> None:
        self.layer = layer
        self.calls = [first]
        self.causes: set[int] = set()
        self.row = 0


def graph(calls: Sequence[Call], end: str | None) -> Graph:
    """The graph of calls; `end` is the status of a run that is finished."""
    shown = [call for call in calls if call.kind in _SHOWN]
    groups, left_out = _grouped(shown)
    last = _ending(shown, groups)
    columns = 1 + max((group.layer for group in groups), default=0) + (1 if end else 0)
    rows: dict[int, int] = {}
    for group in groups:
        group.row = rows.get(group.layer, 0)
        rows[group.layer] = group.row + 1
    tallest = max(rows.values(), default=1)
    spots = [_spot(group.layer, group.row, rows[group.layer], tallest) for group in groups]
    start = _spot(0, 0, 1, tallest)
    boxes = [_terminal(start, "start", "done"), *map(_box, groups, spots)]
    lines = [
        _line(start if cause < 0 else spots[cause], spot)
        for group, spot in zip(groups, spots, strict=True)
        for cause in sorted(group.causes)
    ]
    if end:
        spot = _spot(columns - 1, 0, 1, tallest)
        boxes.append(_terminal(spot, end, _state_of(end)))
        lines += [_line(start if cause < 0 else spots[cause], spot) for cause in sorted(last)]
    width = 2 * EDGE + columns * BOX + (columns - 1) * GAP_X
    height = 2 * EDGE + tallest * TALL + (tallest - 1) * GAP_Y
    return Graph(boxes, lines[:EDGES_MAX], width, height, left_out)


def _grouped(calls: Sequence[Call]) -> tuple[list[_Group], int]:
    groups: list[_Group] = []
    of_call: dict[int, int] = {}
    by_key: dict[tuple[object, ...], int] = {}
    for turn in sorted({call.turn for call in calls}):
        asked = [place for place, call in enumerate(calls) if call.turn == turn]
        causes = _causes(calls, of_call, turn)
        deepest = max((groups[cause].layer for cause in causes), default=0)
        furthest = max((group.layer for group in groups), default=1)
        for place in asked:
            call = calls[place]
            comes_from_outside = call.kind in ("event", "update")
            key = (turn, call.kind, call.name, call.state)
            if key not in by_key:
                if len(groups) >= NODES_MAX:
                    return groups, len(calls) - len(of_call)
                by_key[key] = len(groups)
                groups.append(_Group(furthest if comes_from_outside else deepest + 1, call))
            else:
                groups[by_key[key]].calls.append(call)
            of_call[place] = by_key[key]
            if comes_from_outside:
                continue
            groups[by_key[key]].causes.update(causes or {-1})
        _follow_events(groups, asked, calls, of_call)
    return groups, 0


def _causes(calls: Sequence[Call], of_call: dict[int, int], turn: int) -> set[int]:
    """What ended since the last turn that asked: the groups of it."""
    earlier = max((call.turn for call in calls if call.turn < turn), default=0)
    return {
        of_call[place]
        for place, call in enumerate(calls)
        if place in of_call and call.answered is not None and earlier < call.answered <= turn and call.state != CANCELED
    }


def _follow_events(groups: list[_Group], asked: Iterable[int], calls: Sequence[Call], of_call: dict[int, int]) -> None:
    """Events of a turn lead to what the same turn asks for, one column further."""
    events = {of_call[place] for place in asked if calls[place].kind in ("event", "update")}
    for place in asked:
        if events and calls[place].kind not in ("event", "update"):
            group = groups[of_call[place]]
            group.causes = {cause for cause in group.causes if cause >= 0} | events
            group.layer = max(group.layer, 1 + max(groups[event].layer for event in events))


def _ending(calls: Sequence[Call], groups: Sequence[_Group]) -> set[int]:
    """What led to the end: what nothing else followed from."""
    led = {cause for group in groups for cause in group.causes}
    last = {place for place, group in enumerate(groups) if place not in led and group.calls[0].state != CANCELED}
    return last or {-1}


def _spot(layer: int, row: int, rows: int, tallest: int) -> tuple[int, int]:
    lead = (tallest - rows) * (TALL + GAP_Y) // 2
    return EDGE + layer * (BOX + GAP_X), EDGE + lead + row * (TALL + GAP_Y)


def _box(group: _Group, spot: tuple[int, int]) -> Box:
    first, count = group.calls[0], len(group.calls)
    state = next(state for state in _WORST if any(call.state == state for call in group.calls))
    numbers = f"#{first.number}" if first.number else ""
    detail = f"{TIMES}{count}" if count > 1 else numbers
    return Box(
        x=spot[0],
        y=spot[1],
        kind=first.kind,
        label=_cut(first.name),
        detail=detail,
        state=state,
        count=count,
        title=f"{first.kind} {first.name} {detail}: {state}",
        instance=first.instance if count == 1 else None,
    )


def _terminal(spot: tuple[int, int], label: str, state: str) -> Box:
    return Box(
        x=spot[0], y=spot[1], kind="end", label=label, detail="", state=state, count=1, title=label, instance=None
    )


def _line(begin: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1 = begin[0] + BOX, begin[1] + TALL // 2
    x2, y2 = end[0], end[1] + TALL // 2
    bend = max((x2 - x1) // 2, 12)
    return f"M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"


def _state_of(status: str) -> str:
    return {"completed": DONE, "failed": FAILED}.get(status, CANCELED)


def _cut(text: str) -> str:
    return text if len(text) <= LABEL_CHARACTERS_MAX else text[: LABEL_CHARACTERS_MAX - 1] + "…"
