"""The page on the architecture names every room, every table, and only files that are there."""

from __future__ import annotations

import re

import pytest

from perdure.stores.sql.schema import MIGRATIONS
from tests.docs.page import ROOT

PACKAGE = ROOT / "src/perdure"
PAGE = (ROOT / "docs/ARCHITECTURE.md").read_text(encoding="utf-8")
CELLS = [re.findall(r"`([^`]+)`", line.split("|")[1]) for line in PAGE.splitlines() if line.startswith("| `")]
NAMED = {name.rstrip("/") for cell in CELLS for name in cell}
"""What the first columns of its tables are about."""


def rooms() -> list[str]:
    """The first level, and below it the packages of rooms that are described package by package."""
    first = [path for path in PACKAGE.iterdir() if path.name[0] != "_" and path.suffix in ("", ".py")]
    apart = [path for room in ("blocks", "remote", "stores") for path in (PACKAGE / room).iterdir()]
    packages = [path for path in apart if (path / "__init__.py").exists()]
    within = {path.parent for path in packages}
    return sorted(str(path.relative_to(PACKAGE)) for path in [*first, *packages] if path not in within)


@pytest.mark.parametrize("room", rooms())
def test_every_room_has_a_row(room):
    assert room in NAMED


def test_every_table_has_a_row():
    tables = set(re.findall(r"create table perdure_(\w+)", "".join(MIGRATIONS)))
    assert tables <= NAMED


def test_paths_lead_to_files_that_are_there():
    paths = set(re.findall(r"`([a-z_]+(?:/[a-z_]+)+(?:\.py|/)?)`", PAGE))
    assert len(paths) > 40
    assert [path for path in sorted(paths) if not ((PACKAGE / path).exists() or (ROOT / path).exists())] == []
