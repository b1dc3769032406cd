"""Every Python block of the documents runs and prints what its page says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.page import PAGES, blocks, of, run_page, runs

PROGRAM_SECONDS_MAX = 20
WITH_CODE = [page for page in PAGES if any(block.note != "program" for block, _ in runs(page))]
PROGRAMS = [
    pytest.param(block.text, promised, id=f"{of(page)}:{block.line}")
    for page in PAGES
    for block, promised in runs(page)
    if block.note == "program"
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("page", WITH_CODE, ids=of)
def test_the_blocks_of_a_page_run_one_after_the_other(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PERDURE_STORE", raising=False)
    run_page(page)


@pytest.mark.parametrize("text, promised", PROGRAMS)
def test_a_program_runs_by_itself(text, promised, tmp_path):
    Path(tmp_path, "program.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "program.py"],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS_MAX,
    )
    assert done.returncode == 0, done.stderr
    assert promised in (None, done.stdout)


@pytest.mark.parametrize("page", PAGES, ids=of)
def test_a_block_that_does_not_run_says_why_or_is_no_python(page):
    for block in blocks(page):
        assert block.language, f"{of(page)}:{block.line} names no language"
        assert block.note != "program" or block.language == "python"
        assert block.note != "output" or block.language == "text"


@pytest.mark.parametrize("promised, is_kept", [("1", True), ("2", False)])
def test_a_block_that_prints_something_else_is_found(tmp_path, promised, is_kept):
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n```python\nprint(1)\n```\n\n<!-- output -->\n```text\n{promised}\n```\n")
    if is_kept:
        run_page(page)
    else:
        with pytest.raises(AssertionError, match=r"page\.md:4 printed\n1"):
            run_page(page)


def test_an_error_names_the_line_of_the_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```python\nimport asyncio\nawait asyncio.sleep(0)\nraise KeyError\n```\n")
    with pytest.raises(KeyError) as raised:
        run_page(page)
    place = raised.traceback[-1]
    assert (str(place.path), place.lineno + 1) == (str(page), 6)
