"""How the rows are shown: a table for a terminal, Markdown for a page, JSON for a machine."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.figures import Row, Spread

HEADINGS = ("figure", "floor", "Perdure", "value (min..max)", "by wall clock", "target", "rounds", "verdict")


def as_text(rows: Sequence[Row], machine: dict[str, Any], failures: Sequence[str]) -> str:
    cells = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, "", _machine(machine), *(f"FAILED {failure}" for failure in failures)])


def as_markdown(rows: Sequence[Row], machine: dict[str, Any], failures: Sequence[str]) -> str:
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(_cells(row) for row in rows)]
    table = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([*table, "", _machine(machine), *(f"- failed: {failure}" for failure in failures)])


def as_json(rows: Sequence[Row], machine: dict[str, Any], failures: Sequence[str], samples: Any) -> str:
    document = {
        "machine": machine,
        "figures": [asdict(row) for row in rows],
        "failures": list(failures),
        "samples": samples,
    }
    return json.dumps(document, indent=2)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.title,
        row.floor,
        row.perdure,
        _spread(row.value, row.unit),
        _spread(row.wall, "x"),
        row.target,
        str(row.rounds),
        row.verdict,
    )


def _spread(spread: Spread | None, unit: str) -> str:
    if spread is None:
        return "-"
    short = unit.partition(" ")[0]
    return f"{_number(spread.median)} {short} ({_number(spread.least)}..{_number(spread.most)})"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _machine(machine: dict[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in machine.items())
