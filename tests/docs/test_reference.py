"""The reference is what the docstrings say."""

from __future__ import annotations

import pytest

import perdure
from perdure import errors
from scripts import reference


@pytest.fixture(scope="module")
def pages():
    return reference.pages()


def test_the_written_pages_are_up_to_date(pages):
    written = {name: (reference.PLACE / name).read_text(encoding="utf-8") for name in pages}
    stale = [name for name, text in pages.items() if written[name] != text]
    assert stale == [], "run `.venv/bin/python scripts/reference.py`"


def test_every_public_name_is_described(pages):
    for name in perdure.__all__:
        assert f"### {name}\n" in pages["api.md"] or f"| `{name}` |" in pages["errors.md"], name


def test_every_error_has_a_code_of_its_own_and_a_line_that_says_what_it_is(pages):
    classes = [thing for thing in vars(errors).values() if isinstance(thing, type) and "code" in vars(thing)]
    codes = [vars(cls)["code"] for cls in classes]
    assert len(codes) == len(set(codes))
    rows = [line.split(" | ") for line in pages["errors.md"].splitlines() if line.startswith("| `PERDURE")]
    assert [row[0] for row in rows] == [f"| `{code}`" for code in sorted(codes)]
    assert [row[1] for row in rows if row[3].strip(" |") == ""] == []
