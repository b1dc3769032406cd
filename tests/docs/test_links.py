"""Links between pages lead somewhere, and every page is reached from the front page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.page import NEIGHBOURS, PAGES, ROOT, anchors, links, of


def target(page: Path, link: str) -> tuple[Path, str]:
    path, _, anchor = link.partition("#")
    return ((page.parent / path).resolve() if path else page), anchor


def inside(page: Path) -> list[str]:
    return [link for link in links(page) if "://" not in link and not link.startswith("mailto:")]


@pytest.mark.parametrize("page", [*PAGES, *NEIGHBOURS], ids=of)
def test_links_lead_to_a_file_and_a_heading_that_are_there(page):
    for link in inside(page):
        path, anchor = target(page, link)
        assert path.is_relative_to(ROOT), link
        assert path.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(path), f"{link} names no heading of {path.name}"


def test_every_page_is_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        paths = [target(page, link)[0] for link in inside(page)]
        waiting += [path for path in paths if path.suffix in (".md", ".txt")]
    assert set(PAGES) - reached == set()
