"""The matrix: what became of each SDK in each scenario, as a page of the documents and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.compat.scenarios import CROSS_LANGUAGE, EXTRAS, SCENARIOS, Scenario
from tests.compat.sdk import ROOT, Sdk

PAGE = ROOT / "docs" / "compatibility.md"
REPORT = ROOT / ".ci" / "out" / "compat.json"
ACROSS = "across languages"
"""The column, in the report, of the scenario that several SDKs run together."""

Outcome = Literal["passed", "failed", "gap"]
SIGNS: Mapping[str, str] = {"passed": "yes", "failed": "**no**", "gap": "gap", "not run": "not run", "none": ""}


@dataclass(frozen=True)
class Cell:
    """What became of one scenario with one SDK. `facts` is the client's answer; `error` why it failed."""

    sdk: str
    scenario: str
    outcome: Outcome
    seconds: float
    facts: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


class Matrix:
    """The cells of one run. A cell that did not run says so: nothing is taken from an earlier run."""

    def __init__(self, sdks: Sequence[Sdk], cells: Iterable[Cell]) -> None:
        self._sdks = sdks
        self._cells = {(cell.sdk, cell.scenario): cell for cell in cells}

    @property
    def whole(self) -> bool:
        """Whether every cell has run."""
        wanted = [(sdk.name, scenario.name) for sdk in self._sdks for scenario in sdk.scenarios]
        return all(key in self._cells for key in [*wanted, (ACROSS, CROSS_LANGUAGE.name)])

    def state(self, sdk: str, scenario: str) -> str:
        """The outcome of a cell, or "not run"."""
        cell = self._cells.get((sdk, scenario))
        return cell.outcome if cell else "not run"

    def report(self) -> str:
        """Everything that is known, as JSON."""
        sdks = {
            sdk.name: {"title": sdk.title, "language": sdk.language, "packages": sdk.packages} for sdk in self._sdks
        }
        cells = [asdict(cell) for _, cell in sorted(self._cells.items())]
        return json.dumps({"sdks": sdks, "cells": cells}, indent=2, ensure_ascii=False) + "\n"

    def page(self) -> str:
        """The page of the documents. The same outcomes give the same page: it holds no time and no date."""
        parts = [_INTRODUCTION, *self._columns(), *self._rows(), *self._gaps(), _END]
        return "\n".join(parts)

    def _columns(self) -> list[str]:
        lines = ["| column | language | packages |", "|---|---|---|"]
        for sdk in self._sdks:
            packages = ", ".join(f"`{name}` {version}" for name, version in sdk.packages.items())
            lines.append(f"| {sdk.title} | {sdk.language} | {packages or sdk.recorded} |")
        return [*lines, ""]

    def _rows(self) -> list[str]:
        lines = ["## Matrix", ""]
        for language in dict.fromkeys(sdk.language for sdk in self._sdks):
            sdks = [sdk for sdk in self._sdks if sdk.language == language]
            lines += [f"### {language}", "", _row("scenario", *(sdk.title for sdk in sdks))]
            lines.append("|---" * (len(sdks) + 1) + "|")
            for scenario in _rows_of(sdks):
                lines.append(
                    _row(f"{scenario.shows} (`{scenario.name}`)", *(self._sign(sdk, scenario) for sdk in sdks))
                )
            lines.append("")
        across = SIGNS[self.state(ACROSS, CROSS_LANGUAGE.name)]
        lines += ["### Across languages", "", _row("scenario", "all three"), "|---|---|"]
        return [*lines, _row(f"{CROSS_LANGUAGE.shows} (`{CROSS_LANGUAGE.name}`)", across), ""]

    def _sign(self, sdk: Sdk, scenario: Scenario) -> str:
        return SIGNS[self.state(sdk.name, scenario.name)] if scenario in sdk.scenarios else SIGNS["none"]

    def _gaps(self) -> list[str]:
        named = [(sdk, scenario, reason) for sdk in self._sdks for scenario, reason in sdk.gaps.items()]
        helped = [(sdk, "server-restarted", sdk.gives_up) for sdk in self._sdks if sdk.gives_up]
        recorded = [f"- {sdk.title}: {sdk.recorded}." for sdk in self._sdks if sdk.recorded]
        lines = [
            "## Gaps",
            "",
            "What an SDK has no call for, where it is helped, and what stands in for a package:",
            "",
        ]
        lines += [f"- {sdk.title}, `{scenario}`: {reason}." for sdk, scenario, reason in named + helped]
        return [*lines, *recorded, ""]


def write(matrix: Matrix, *, page: Path | None) -> None:
    """Write the report, and the page where one is given."""
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(matrix.report(), encoding="utf-8")
    if page is not None:
        page.write_text(matrix.page(), encoding="utf-8")


def _rows_of(sdks: Sequence[Sdk]) -> list[Scenario]:
    return [scenario for scenario in (*SCENARIOS, *EXTRAS) if any(scenario in sdk.scenarios for sdk in sdks)]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


_INTRODUCTION = """\
# Compatibility

`make compat` wrote this page: published SDKs, unmodified, each with a small program in
[tests/compat](../tests/compat/README.md) that runs one list of scenarios against `perdure serve` on SQLite. "yes"
means that the program ran and saw the right outcome; "gap" that the SDK has no call for it; "**no**" that it did not
work. A cell that has not run says "not run".
"""

_END = """\
There is no column for `github.com/dapr/durabletask-go`, nor for releases of `go-sdk` after 1.11 and of Java's
`dapr-sdk-workflows` after 1.17.1, which could not be installed where the columns were made; nor for the .NET packages,
for which the recorded columns stand in.

Beside the SDKs, `dapr-agents` 1.0.9 runs unmodified, as [its page](howto/dapr-agents.md) says; its scenarios are in
`tests/compat/agents`.

Where a scenario kills a process, the runner does so with `kill -9` at the point that the program names, and starts it
again. How often each activity ran is counted in files that the activities write.
"""
