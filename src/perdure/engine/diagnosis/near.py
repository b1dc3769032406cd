"""Which of the events that came was probably meant: names that differ by case, signs or a few letters."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

LIKENESS_MIN = 0.7
"""From which likeness of two names, of 0 to 1, one is taken for a slip of the other."""
NAMES_COMPARED_MAX = 200
"""Events of a run, newest first, whose names are compared."""


def near_miss(wanted: str, since: int, raised: Sequence[tuple[int, str]]) -> tuple[int, str] | None:
    """The event that came since then under a name most like the wanted one: (time, name). None: there is none."""
    best, found = LIKENESS_MIN, None
    for at, name in raised[-NAMES_COMPARED_MAX:]:
        likeness = likeness_of(wanted, name) if at >= since else 0.0
        if likeness >= best and name.casefold() != wanted.casefold():
            best, found = likeness, (at, name)
    return found


def likeness_of(one: str, other: str) -> float:
    """How alike two names are: 1 if they differ in case and signs alone."""
    first, second = _letters(one), _letters(other)
    if first == second:
        return 1.0
    return SequenceMatcher(None, first, second, autojunk=False).ratio()


def _letters(name: str) -> str:
    return "".join(one for one in name.casefold() if one.isalnum()) or name
