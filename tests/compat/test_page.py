"""What the matrix may say, and what the programs declare."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from tests.compat.matrix import ACROSS, PAGE, Cell, Matrix
from tests.compat.scenarios import CROSS_LANGUAGE, EXTRAS, SCENARIOS
from tests.compat.sdk import Sdk, every, load

SDK = Sdk(
    name="one", title="one 1.0", language="Python", flavour="dapr", worker="w", client="c", pins=(), sources=(),
    packages={"one": "1.0"}, gaps={"purge": "the client has no purge"},
)  # fmt: skip


def cells(**outcomes: str) -> list[Cell]:
    made = [Cell("one", scenario.name, "passed", 1.0) for scenario in SCENARIOS if scenario.name not in outcomes]
    made += [Cell("one", name, outcome, 1.0) for name, outcome in outcomes.items() if outcome != "not run"]
    return [*made, Cell(ACROSS, CROSS_LANGUAGE.name, "passed", 1.0)]


def row(page: str, scenario: str) -> str:
    (line,) = [line for line in page.splitlines() if f"(`{scenario}`)" in line]
    return line.split("|")[2].strip()


def test_a_cell_is_green_only_when_it_has_run():
    matrix = Matrix([SDK], cells(**{"timer": "not run", "child": "failed", "purge": "gap"}))
    page = matrix.page()
    assert [row(page, name) for name in ("chaining", "timer", "child", "purge")] == ["yes", "not run", "**no**", "gap"]
    assert not matrix.whole


def test_a_run_is_whole_when_every_cell_has_an_outcome():
    assert Matrix([SDK], cells(purge="gap")).whole
    assert not Matrix([SDK], cells()[:-1]).whole, "without the scenario across languages"


def test_the_page_of_the_same_outcomes_is_the_same():
    slower = [Cell(cell.sdk, cell.scenario, cell.outcome, 9.0, {"runs": 3}) for cell in cells()]
    assert Matrix([SDK], cells()).page() == Matrix([SDK], reversed(slower)).page()


def test_every_gap_is_named_on_the_page():
    assert "- one 1.0, `purge`: the client has no purge." in Matrix([SDK], []).page()


def test_what_stands_in_for_a_package_and_a_worker_that_is_started_again_are_named_on_the_page():
    sdk = replace(SDK, packages={}, recorded="a recording", gives_up="it is started again")
    page = Matrix([sdk], []).page()
    assert "| one 1.0 | Python | a recording |" in page
    assert "- one 1.0, `server-restarted`: it is started again." in page


def test_the_report_has_what_the_clients_answered():
    report = json.loads(Matrix([SDK], [Cell("one", "timer", "failed", 2.0, error="too early")]).report())
    assert report["cells"][0]["error"] == "too early"


@pytest.mark.parametrize("sdk", every(), ids=lambda sdk: sdk.name)
def test_a_program_declares_what_exists(sdk):
    assert set(sdk.gaps) <= {scenario.name for scenario in sdk.scenarios}
    assert set(sdk.extras) <= {extra.name for extra in EXTRAS}
    assert sdk.flavour in {"dapr", "durabletask"}
    assert sdk.packages or sdk.recorded, "a column shows its packages, or says what stands in for one"
    for pin in sdk.pins:
        assert any((source / pin).exists() for source in sdk.sources), pin


def test_a_key_that_nobody_knows_is_refused(tmp_path):
    (tmp_path / "sdk.toml").write_text('title = "x"\nworkr = "typo"\n')
    with pytest.raises(TypeError, match="workr"):
        load(tmp_path)


CELL = re.compile(r"\| (?:yes|gap|\*\*no\*\*|not run|) (?=\|)")


def test_the_committed_page_has_the_columns_and_rows_of_today():
    today = CELL.sub("| ", Matrix(every(), []).page())
    assert CELL.sub("| ", PAGE.read_text(encoding="utf-8")) == today, "`make compat` writes the page anew"
