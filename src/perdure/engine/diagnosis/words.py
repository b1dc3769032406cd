"""How ids, times, lines and commands are written: nothing acts on a terminal, and a shell takes each word as it is."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from perdure.clock import SECOND, to_datetime

WORD_CHARACTERS_MAX = 200
"""Characters of one fact in a sentence; what is longer is cut in the middle. Commands have all of them."""
TEXT_CHARACTERS_MAX = 2_000
"""Likewise of a description that is told whole, such as what stands against a stalled run."""
NAMES_MAX = 3
"""Of several that could be named, how many are."""
_LAST_INSTANT = 253_402_300_799_000_000
"""The end of the year 9999, which is the last that a datetime can hold."""


def shown(text: str, characters_max: int = WORD_CHARACTERS_MAX) -> str:
    """Text on one line: what is not printable as escapes such as `\\x1b`, what is long cut in the middle."""
    if len(text) > characters_max:
        half = characters_max // 2
        text = f"{text[:half]}…{text[-half:]}"
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


def quoted(word: str) -> str:
    """A word as a shell takes it; one that is not printable as `$'...'`, which bash and zsh read."""
    if word.isprintable():
        return shlex.quote(word)
    return "$'" + "".join(_in_ansi(one) for one in word) + "'"


def _in_ansi(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))


def command(verb: Sequence[str], options: Sequence[str], arguments: Sequence[str]) -> str:
    """A command line. `--` stands before arguments of which one could be taken for an option."""
    guard = ["--"] if any(word.startswith("-") for word in arguments) else []
    return " ".join(map(quoted, [*verb, *options, *guard, *arguments]))


def time(at: int) -> str:
    """A point in time, to the second."""
    if at >= _LAST_INSTANT:
        return "the end of time"
    return to_datetime(max(at, 0)).strftime("%Y-%m-%d %H:%M:%S UTC")


def span(microseconds: int) -> str:
    """A length of time in the two largest units that say something."""
    seconds = max(microseconds, 0) / SECOND
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, below, lower in _UNITS:
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size:,} {unit}" + (f" {rest} {lower}" if rest else "")
    return f"{whole} s"


_UNITS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: a few, and how many more."""
    few = ", ".join(shown(name) for name in names[:NAMES_MAX])
    more = len(names) - NAMES_MAX
    return f"{few} and {more:,} more" if more > 0 else few


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number with its noun."""
    return f"1 {noun}" if count == 1 else f"{count:,} {plural or noun + 's'}"
