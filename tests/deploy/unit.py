"""A unit of systemd, read as far as the tests ask: sections of settings, specifiers, variables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path


class Unit:
    """The settings of a file. A setting may be given several times."""

    def __init__(self, file: Path) -> None:
        self._settings: dict[tuple[str, str], list[str]] = {}
        section = ""
        for line in file.read_text().splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            elif line and not line.startswith("#"):
                name, _, value = line.partition("=")
                self._settings.setdefault((section, name), []).append(value)

    def all(self, section: str, name: str) -> list[str]:
        return self._settings.get((section, name), [])

    def one(self, section: str, name: str) -> str:
        (value,) = self.all(section, name)
        return value

    def command(self, specifiers: Mapping[str, str], variables: Mapping[str, str]) -> list[str]:
        """The words of ExecStart: `$NAME` as a word of its own is split at its blanks, as systemd does."""
        words: list[str] = []
        for word in shlex.split(self.one("Service", "ExecStart")):
            if word.startswith("$"):
                words += shlex.split(variables.get(word[1:], ""))
            else:
                words.append(resolved(word, specifiers))
        return words


def resolved(text: str, specifiers: Mapping[str, str]) -> str:
    """A text with its specifiers replaced. Raises KeyError for one that is not given."""
    return re.sub(r"%(.)", lambda found: specifiers[found[1]], text)


def variables_of(file: Path) -> dict[str, str]:
    """What an EnvironmentFile holds."""
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)
