"""The census: what it measures, what it draws, and the demo whole, with its worker killed half way."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

CENSUS = Path(__file__).parents[2] / "examples" / "stdlib_census"
SAMPLE = '''"""A module.

With two paragraphs.
"""
import os.path, re
from json import loads
from . import sibling


class Outer:
    def first(self, a):
        """One line."""
        if a and self or a is None:
            return 1
        elif a > 2:
            return [x for x in a if x]

        def inner():
            while True:
                with a:
                    pass
        return inner
'''


@pytest.fixture
def census(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's modules, importable as they are when it runs."""
    monkeypatch.syspath_prepend(str(CENSUS))


@pytest.mark.usefixtures("census")
def test_a_file_is_measured_by_its_lines_and_its_tree(tmp_path: Path) -> None:
    from measure import Function, measure

    (tmp_path / "sample.py").write_text(SAMPLE)
    measures = measure(tmp_path, "sample.py")
    assert (measures.lines, measures.docstrings, measures.blank, measures.code) == (22, 5, 3, 14)
    assert (measures.functions, measures.classes) == (2, 1)
    assert measures.imports == ["json", "os", "re"]
    # first: if, and, or, elif, comprehension; inner: while. The elif stands beside its if, not in it.
    assert measures.knottiest == [
        Function("Outer.first", lines=12, complexity=6, nesting=1),
        Function("Outer.first.inner", lines=4, complexity=2, nesting=2),
    ]


@pytest.mark.usefixtures("census")
def test_a_file_that_does_not_parse_is_counted_and_says_why(tmp_path: Path) -> None:
    from measure import measure

    (tmp_path / "broken.py").write_text("fine = 1\n\ndef broken(:\n")
    measures = measure(tmp_path, "broken.py")
    assert (measures.lines, measures.blank, measures.functions) == (3, 1, 0)
    assert measures.problem is not None
    assert measures.problem.endswith("line 3")


@pytest.mark.usefixtures("census")
def test_bars_are_as_long_as_their_values() -> None:
    from chart import Row, Series, bars

    series = Series("in", "#111"), Series("out", "#222")
    svg = bars("<Traffic>", "lines & more", series, [Row("a", (300, 100)), Row("b", (50, 150))], 100)
    widths = {}
    for rect in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}rect"):
        title = rect.find("{http://www.w3.org/2000/svg}title")
        if title is not None:
            widths[title.text] = float(rect.attrib["width"])
    unit = widths["a, out: 100"] / 100
    assert unit > 1
    expected = {"a, in: 300": 300, "a, out: 100": 100, "b, in: 50": 50, "b, out: 150": 150}
    assert widths == pytest.approx({name: value * unit for name, value in expected.items()}, abs=0.02)


@pytest.mark.long
@pytest.mark.parametrize("limit", [200, None], ids=["200 files", "all files"])
def test_the_census_survives_the_death_of_its_worker(tmp_path: Path, limit: int | None) -> None:
    arguments = [] if limit is None else ["--limit", str(limit)]
    run = subprocess.run(
        [sys.executable, CENSUS / "main.py", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("  ok  ") == 5
    assert "\x1b" not in run.stdout, "no colours and no bar where nobody sees them"
    counts = re.search(r"(\d+) activities took (\d+) attempts: (\d+) ran twice", run.stdout)
    assert counts is not None
    activities, attempts, twice = map(int, counts.groups())
    assert attempts == activities + twice
    report = (tmp_path / "census-report" / "report.md").read_text()
    assert "## The largest packages and modules" in report
    for chart in ("packages.svg", "functions.svg"):
        assert f"]({chart})" in report
        ElementTree.fromstring((tmp_path / "census-report" / chart).read_text())
    assert (tmp_path / "census-report" / "worker.log").read_text() == "", "neither worker had anything to complain of"


def test_a_limit_too_small_to_kill_half_way_is_refused(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, CENSUS / "main.py", "--limit", "3"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 2
    assert "give 100 or more" in run.stderr
