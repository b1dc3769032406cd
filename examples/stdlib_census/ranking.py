"""What all files together amount to: totals, the packages by size, the functions by length and complexity."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from measure import KEPT, Function, Measures


@dataclass(frozen=True)
class Package:
    """A top-level package or module and all its files."""

    name: str
    files: int
    code: int
    docstrings: int
    blank: int

    @property
    def lines(self) -> int:
        return self.code + self.docstrings + self.blank


@dataclass(frozen=True)
class Ranked:
    """A function and the file it was found in."""

    file: str
    function: Function


@dataclass(frozen=True)
class Ranking:
    """The census."""

    packages: list[Package]
    """The largest first."""
    longest: list[Ranked]
    knottiest: list[Ranked]
    imported: list[tuple[str, int]]
    """Modules, and how many files import them."""
    problems: list[tuple[str, str]]
    files: int
    lines: int
    functions: int
    classes: int
    complexity: int


def rank(measured: Sequence[Measures]) -> Ranking:
    """Put the measures of all files together; their order does not matter."""
    imported = Counter(module for one in measured for module in one.imports)
    return Ranking(
        packages=_packages(measured),
        longest=_first(((one.file, function) for one in measured for function in one.longest), "lines"),
        knottiest=_first(((one.file, function) for one in measured for function in one.knottiest), "complexity"),
        imported=sorted(imported.items(), key=lambda item: (-item[1], item[0]))[:KEPT],
        problems=sorted((one.file, one.problem) for one in measured if one.problem),
        files=len(measured),
        lines=sum(one.lines for one in measured),
        functions=sum(one.functions for one in measured),
        classes=sum(one.classes for one in measured),
        complexity=sum(one.complexity for one in measured),
    )


def _packages(measured: Sequence[Measures]) -> list[Package]:
    members: dict[str, list[Measures]] = defaultdict(list)
    for one in measured:
        members[one.file.split("/")[0].removesuffix(".py")].append(one)
    packages = [
        Package(
            name=name,
            files=len(ones),
            code=sum(one.code for one in ones),
            docstrings=sum(one.docstrings for one in ones),
            blank=sum(one.blank for one in ones),
        )
        for name, ones in members.items()
    ]
    return sorted(packages, key=lambda package: (-package.lines, package.name))


def _first(found: Iterable[tuple[str, Function]], measure: str) -> list[Ranked]:
    ranked = [Ranked(file, function) for file, function in found]
    ranked.sort(key=lambda one: (-getattr(one.function, measure), one.file, one.function.name))
    return ranked[:KEPT]
