import asyncio

import pytest

from perdure.paging import each_found


class Shelf:
    """A search through a few words, which tells what it was asked."""

    def __init__(self, words: str) -> None:
        self.words = words.split()
        self.asked: list[tuple[str | None, int]] = []

    async def find(self, cursor: str | None, limit: int) -> tuple[list[str], str | None]:
        self.asked.append((cursor, limit))
        at = int(cursor or 0)
        end = at + limit
        return self.words[at:end], str(end) if end < len(self.words) else None

    def all(self, page: int, most: int | None = None) -> list[str]:
        async def found() -> list[str]:
            return [word async for word in each_found(self.find, page, most)]

        return asyncio.run(found())


def test_all_that_is_found_comes_page_by_page():
    shelf = Shelf("a b c d e")
    assert shelf.all(2) == ["a", "b", "c", "d", "e"]
    assert shelf.asked == [(None, 2), ("2", 2), ("4", 2)]


def test_a_page_that_ends_with_the_last_is_the_last():
    shelf = Shelf("a b c d")
    assert shelf.all(2) == ["a", "b", "c", "d"]
    assert len(shelf.asked) == 2


@pytest.mark.parametrize(
    "most, asked", [(0, []), (2, [(None, 2)]), (3, [(None, 2), ("2", 1)]), (9, [(None, 2), ("2", 2), ("4", 2)])]
)
def test_no_more_than_wanted_is_asked_for(most, asked):
    shelf = Shelf("a b c d e")
    assert shelf.all(2, most) == ["a", "b", "c", "d", "e"][:most]
    assert shelf.asked == asked


def test_an_empty_page_is_not_the_end():
    pages = {None: ([], "1"), "1": (["a"], None)}

    async def find(cursor: str | None, limit: int) -> tuple[list[str], str | None]:
        return pages[cursor]

    async def found() -> list[str]:
        return [word async for word in each_found(find, 10)]

    assert asyncio.run(found()) == ["a"]
