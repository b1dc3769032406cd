"""Bar charts in SVG, drawn with nothing but text: no library and no script."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, MARGIN = 860, 28
ROW, BAR, HEAD, FOOT = 26, 16, 88, 40
FONT = "ui-sans-serif, system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"
INK, FAINT, PAPER, GRID = "#1f2937", "#6b7280", "#ffffff", "#e5e7eb"


@dataclass(frozen=True)
class Series:
    """One segment of every bar."""

    name: str
    colour: str


@dataclass(frozen=True)
class Row:
    """One bar: a value for each series, in their order."""

    label: str
    values: Sequence[int]


def bars(title: str, subtitle: str, series: Sequence[Series], rows: Sequence[Row], label_width: int) -> str:
    """A chart of horizontal stacked bars, the first row on top. `label_width` is their room, in pixels."""
    step = _round_step(max((sum(row.values) for row in rows), default=1))
    ticks = range(0, step * 6, step)
    left, right = MARGIN + label_width, WIDTH - MARGIN - 52
    scale = (right - left) / ticks[-1]
    height = HEAD + ROW * len(rows) + FOOT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}" font-family="{FONT}">',
        f'<rect width="{WIDTH}" height="{height}" rx="10" fill="{PAPER}" stroke="{GRID}"/>',
        _text(MARGIN, 36, title, size=18, weight=650),
        _text(MARGIN, 57, subtitle, size=12, colour=FAINT),
        *_legend(series),
        *(_tick(left + value * scale, height, value) for value in ticks),
    ]
    for number, row in enumerate(rows):
        parts += _bar(row, series, left, HEAD + ROW * number, scale)
    return "\n".join([*parts, "</svg>", ""])


def _round_step(largest: int) -> int:
    """A fifth of the axis: the smallest of 1, 2, 3, 4, 5, 6, 8, 10, 20, ... that fits the largest value."""
    power = 1
    while True:
        for digit in (1, 2, 3, 4, 5, 6, 8):
            if digit * power * 5 >= largest:
                return digit * power
        power *= 10


def _bar(row: Row, series: Sequence[Series], left: float, top: float, scale: float) -> list[str]:
    middle = top + ROW / 2 + 4
    parts = [_text(left - 10, middle, row.label, anchor="end")]
    x = left
    for one, value in zip(series, row.values, strict=True):
        width = value * scale
        parts.append(
            f'<rect x="{x:.2f}" y="{top + (ROW - BAR) / 2:.1f}" '
            f'width="{width:.2f}" height="{BAR}" fill="{one.colour}">'
            f"<title>{escape(row.label)}, {escape(one.name)}: {value:,}</title></rect>"
        )
        x += width
    return [*parts, _text(x + 8, middle, f"{sum(row.values):,}", colour=FAINT)]


def _tick(x: float, height: int, value: int) -> str:
    bottom = height - FOOT
    line = f'<line x1="{x:.2f}" y1="{HEAD - 4}" x2="{x:.2f}" y2="{bottom + 4}" stroke="{GRID}"/>'
    return line + _text(x, bottom + 20, f"{value:,}", size=11, colour=FAINT, anchor="middle")


def _legend(series: Sequence[Series]) -> list[str]:
    """Names of the segments, from the right edge inwards; a single series needs none."""
    if len(series) == 1:
        return []
    parts: list[str] = []
    x = float(WIDTH - MARGIN)
    for one in reversed(series):
        x -= 7 * len(one.name)
        parts.append(_text(x, 57, one.name, size=12))
        x -= 17
        parts.append(f'<rect x="{x:.1f}" y="47" width="11" height="11" rx="2" fill="{one.colour}"/>')
        x -= 16
    return parts


def _text(
    x: float,
    y: float,
    words: str,
    *,
    size: int = 12,
    colour: str = INK,
    anchor: str = "start",
    weight: int = 400,
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{colour}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )
