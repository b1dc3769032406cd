"""The census as people read it: a page of Markdown and two charts, the same bytes for the same ranking."""

import platform
from collections.abc import Iterator, Sequence

from chart import Row, Series, bars
from ranking import Ranked, Ranking

PACKAGES_SHOWN = 20
CODE, DOCSTRINGS, BLANK = (
    Series("code", "#2563eb"),
    Series("docstrings", "#f59e0b"),
    Series("blank", "#cbd5e1"),
)
COMPLEXITY = Series("complexity", "#be185d")


def render(ranking: Ranking) -> dict[str, str]:
    """The files of the report: name to content."""
    return {
        "report.md": "\n".join(_page(ranking)) + "\n",
        "packages.svg": _packages_chart(ranking),
        "functions.svg": _functions_chart(ranking),
    }


def _page(ranking: Ranking) -> Iterator[str]:
    average = ranking.complexity / max(ranking.functions, 1)
    yield f"# A census of Python {platform.python_version()}'s standard library"
    yield ""
    yield (
        f"**{ranking.lines:,}** lines in **{ranking.files:,}** files (its own tests left out): "
        f"**{ranking.functions:,}** functions and **{ranking.classes:,}** classes. "
        f"A function branches {average - 1:.1f} times on average."
    )
    yield ""
    yield "![Lines of the largest packages](packages.svg)"
    yield ""
    yield "![The functions with the most branches](functions.svg)"
    yield ""
    yield from _table(
        "The largest packages and modules",
        ("package", "files", "lines", "code", "docstrings", "blank"),
        [(f"`{p.name}`", p.files, p.lines, p.code, p.docstrings, p.blank) for p in ranking.packages[:PACKAGES_SHOWN]],
    )
    yield from _table("The longest functions", _FUNCTION_HEADS, [_function(one) for one in ranking.longest])
    yield from _table("The most complex functions", _FUNCTION_HEADS, [_function(one) for one in ranking.knottiest])
    yield from _table(
        "The most imported modules",
        ("module", "files that import it"),
        [(f"`{n}`", c) for n, c in ranking.imported],
    )
    if ranking.problems:
        yield from _table("Files that do not parse", ("file", "why"), [(f"`{f}`", why) for f, why in ranking.problems])
    yield "Complexity is McCabe's: one more than the number of branches. Nesting counts the blocks around the"
    yield "deepest statement."


_FUNCTION_HEADS = ("function", "file", "lines", "complexity", "nesting")


def _function(one: Ranked) -> tuple[str | int, ...]:
    function = one.function
    return f"`{function.name}`", f"`{one.file}`", function.lines, function.complexity, function.nesting


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str | int]]) -> Iterator[str]:
    """A Markdown table; the first column is the rank, columns of numbers are set to the right."""
    numeric = [bool(rows) and isinstance(cell, int) for cell in (rows[0] if rows else heads)]
    yield f"## {title}"
    yield ""
    yield "| # | " + " | ".join(heads) + " |"
    yield "|---:|" + "|".join("---:" if number else "---" for number in numeric) + "|"
    for place, row in enumerate(rows, 1):
        cells = (f"{cell:,}" if isinstance(cell, int) else cell for cell in row)
        yield f"| {place} | " + " | ".join(cells) + " |"
    yield ""


def _packages_chart(ranking: Ranking) -> str:
    rows = [Row(p.name, (p.code, p.docstrings, p.blank)) for p in ranking.packages[:PACKAGES_SHOWN]]
    return bars(
        "The largest packages of the standard library",
        f"Lines of source, Python {platform.python_version()}",
        (CODE, DOCSTRINGS, BLANK),
        rows,
        label_width=130,
    )


def _functions_chart(ranking: Ranking) -> str:
    rows = [Row(f"{one.file}: {one.function.name}", (one.function.complexity,)) for one in ranking.knottiest]
    return bars(
        "The functions with the most branches",
        f"McCabe complexity, Python {platform.python_version()}",
        (COMPLEXITY,),
        rows,
        label_width=330,
    )
