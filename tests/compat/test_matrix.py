"""Every published SDK through every scenario, against `perdure serve`; README.md beside this file has the contract."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.compat.across import APPS, Across
from tests.compat.column import Broken, Column, answer_of
from tests.compat.matrix import ACROSS, Cell
from tests.compat.scenarios import CROSS_LANGUAGE, Scenario
from tests.compat.sdk import Sdk, every
from tests.compat.server import OTHER

CELL_SECONDS = 900
"""What one test may take: its first one also installs and builds the program."""

pytestmark = [pytest.mark.compat, pytest.mark.timeout(CELL_SECONDS)]


class Columns:
    """The column that is open, because there is memory and time for one at once."""

    def __init__(self) -> None:
        self._open: Column | None = None
        self._broken: dict[str, str] = {}

    def of(self, sdk: Sdk) -> Column:
        """The column of an SDK. One that could not be opened fails its other cells without another try."""
        if self._open is not None and self._open.sdk.name != sdk.name:
            self.close()
        if sdk.name in self._broken:
            raise Broken(self._broken[sdk.name])
        if self._open is None:
            try:
                self._open = Column(sdk)
            except Exception as error:
                self._broken[sdk.name] = str(error)
                raise
        return self._open

    def close(self) -> None:
        """End its processes; the next cell begins with new ones and an empty store."""
        if self._open is not None:
            self._open.close()
            self._open = None


@pytest.fixture(scope="module")
def columns() -> Iterator[Columns]:
    opened = Columns()
    yield opened
    opened.close()


def cells() -> list[Any]:
    return [
        pytest.param(sdk, scenario, id=f"{sdk.name}:{scenario.name}") for sdk in every() for scenario in sdk.scenarios
    ]


@pytest.mark.parametrize("sdk, scenario", cells())
def test_sdk(sdk: Sdk, scenario: Scenario, columns: Columns, request: pytest.FixtureRequest) -> None:
    gap = sdk.gaps.get(scenario.name)
    started = time.monotonic()
    try:
        answer = columns.of(sdk).run(scenario)
        assert ("unsupported" in answer) == bool(gap), f"[gaps] of sdk.toml says {gap!r}, the program says {answer}"
    except Exception as error:
        columns.close()
        _report(request, Cell(sdk.name, scenario.name, "failed", time.monotonic() - started, error=str(error)))
        raise
    outcome = "gap" if gap else "passed"
    _report(request, Cell(sdk.name, scenario.name, outcome, time.monotonic() - started, facts=answer))


def test_across_languages(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    sdks = {app: next(sdk for sdk in every() if sdk.name == name) for app, name in APPS.items()}
    scenario, started = CROSS_LANGUAGE, time.monotonic()
    try:
        answer = _run_across(sdks, tmp_path)
    except Exception as error:
        _report(request, Cell(ACROSS, scenario.name, "failed", time.monotonic() - started, error=str(error)))
        raise
    _report(request, Cell(ACROSS, scenario.name, "passed", time.monotonic() - started, facts=answer))


def _run_across(sdks: dict[str, Sdk], folder: Path) -> dict[str, Any]:
    assert OTHER is None, "this scenario runs with `perdure run` alone"
    across = Across(sdks, folder)
    try:
        client = across.client(sdks["py"], "py", CROSS_LANGUAGE.name, "across")
        try:
            return answer_of(client, CROSS_LANGUAGE, lambda scenario: None)
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- server and workers\n{across.tail()}") from None
        finally:
            client.kill()
    finally:
        across.close()


def _report(request: pytest.FixtureRequest, cell: Cell) -> None:
    request.node.user_properties.append(("cell", asdict(cell)))
