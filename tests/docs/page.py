"""A page of the documents: its Python blocks, its links, its headings."""

from __future__ import annotations

import ast
import asyncio
import inspect
import io
import linecache
import re
import sys
import types
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "llms.txt", *(ROOT / "docs").rglob("*.md")])
NEAR = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "benchmarks/README.md", "examples/README.md")
NEIGHBOURS = [ROOT / name for name in NEAR]
"""Pages that belong to somebody else, whose links are checked all the same."""

_FENCE = re.compile(r"^```(\w*)\s*$")
_NOTE = re.compile(r"^<!--\s*(not run:.+|program|output)\s*-->$")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+\s+(.+?)\s*$")
_MODULE = "documents_page"


@dataclass(frozen=True)
class Block:
    """A fenced block: `line` is its first line of text, from 1; `note` the HTML comment right before it."""

    language: str
    text: str
    line: int
    note: str | None


def of(page: Path) -> str:
    """The path of a page as people write it."""
    return str(page.relative_to(ROOT)) if page.is_relative_to(ROOT) else str(page)


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found: list[Block] = []
    opened: tuple[str, int, str | None] | None = None
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        fence = _FENCE.match(line)
        if fence is None:
            continue
        if opened is None:
            opened = (fence[1], number + 1, _note_above(lines, number - 2))
        else:
            language, first, note = opened
            found.append(Block(language, "\n".join(lines[first - 1 : number - 1]) + "\n", first, note))
            opened = None
    assert opened is None, f"{page}: the block that begins in line {opened[1]} has no end"
    return found


def _note_above(lines: list[str], index: int) -> str | None:
    note = _NOTE.match(lines[index]) if index >= 0 else None
    return note[1] if note else None


def runs(page: Path) -> list[tuple[Block, str | None]]:
    """The Python blocks to run, each with the output that the page promises, if it does."""
    every = blocks(page)
    pairs: list[tuple[Block, str | None]] = []
    for index, block in enumerate(every):
        if block.language != "python" or (block.note or "").startswith("not run"):
            continue
        after = every[index + 1] if index + 1 < len(every) else None
        pairs.append((block, after.text if after is not None and after.note == "output" else None))
    return pairs


def run_page(page: Path) -> None:
    """Run the blocks of a page one after the other, in one namespace and one event loop.

    They may use `await` at top level. Raises AssertionError if one prints something else than its page says.
    """
    name = of(page)
    module = types.ModuleType(_MODULE)
    sys.modules[_MODULE] = module
    shown = _code_alone(page)
    linecache.cache[name] = (len(shown), None, shown, name)  # because the lint reads the source of a workflow
    try:
        with asyncio.Runner() as runner:
            for block, promised in runs(page):
                if block.note != "program":
                    printed = _run_block(runner, module, name, block)
                    assert promised in (None, printed), f"{name}:{block.line} printed\n{printed}"
    finally:
        del sys.modules[_MODULE], linecache.cache[name]


def _code_alone(page: Path) -> list[str]:
    """The lines of a page with all but the Python blocks made blank, so that line numbers are the page's."""
    lines = [""] * len(page.read_text(encoding="utf-8").splitlines())
    for block, _ in runs(page):
        text = block.text.splitlines()
        lines[block.line - 1 : block.line - 1 + len(text)] = text
    return [line + "\n" for line in lines]


def _run_block(runner: asyncio.Runner, module: types.ModuleType, name: str, block: Block) -> str:
    tree = ast.increment_lineno(ast.parse(block.text), block.line - 1)
    code = compile(tree, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    printed = io.StringIO()
    with redirect_stdout(printed):
        made = eval(code, module.__dict__)
        if inspect.iscoroutine(made):
            runner.run(made)
    return printed.getvalue()


def links(page: Path) -> Iterator[str]:
    """The targets of a page's links, those inside code left out."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "`", text)
    yield from _LINK.findall(text)


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page make, as GitHub forms them."""
    found: set[str] = set()
    in_block = False
    for line in page.read_text(encoding="utf-8").splitlines():
        in_block ^= line.startswith("```")
        heading = None if in_block else _HEADING.match(line)
        if heading:
            found.add(re.sub(r"[^\w\- ]", "", heading[1].lower()).replace(" ", "-"))
    return found
