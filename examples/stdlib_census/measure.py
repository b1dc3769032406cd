"""What there is to know about one source file, read from its lines and its syntax tree."""

import ast
import threading
import tokenize
from dataclasses import dataclass, field
from pathlib import Path

KEPT = 10
"""Functions that a file reports of each kind; no ranking of ten can need more."""


@dataclass(frozen=True)
class Function:
    """A function and how hard it is to read."""

    name: str
    lines: int
    complexity: int
    """McCabe's: one more than the number of places where its control flow branches."""
    nesting: int
    """How many blocks (if, for, while, with, try, match) its deepest statement stands in."""


@dataclass(frozen=True)
class Measures:
    """Everything that the census keeps of one file."""

    file: str
    lines: int
    blank: int
    docstrings: int
    functions: int = 0
    classes: int = 0
    imports: list[str] = field(default_factory=list)
    longest: list[Function] = field(default_factory=list)
    knottiest: list[Function] = field(default_factory=list)
    complexity: int = 0
    """Of all its functions together."""
    problem: str | None = None
    """Why the file could not be parsed, if it could not."""

    @property
    def code(self) -> int:
        """Lines that are neither blank nor documentation."""
        return self.lines - self.blank - self.docstrings


def measure(library: Path, file: str) -> Measures:
    """Read and measure one file of the library."""
    with tokenize.open(library / file) as source:  # because a file may declare its own encoding
        text = source.read()
    lines = text.removesuffix("\n").split("\n") if text else []
    try:
        with _ONE_AT_A_TIME:
            tree = ast.parse(text)
    except SyntaxError as error:
        blank = sum(not line.strip() for line in lines)
        return Measures(file, len(lines), blank, 0, problem=f"{error.msg}, line {error.lineno}")
    reader = Reader(tree)
    functions = reader.functions
    return Measures(
        file=file,
        lines=len(lines),
        blank=sum(not line.strip() and at not in reader.documented for at, line in enumerate(lines, 1)),
        docstrings=len(reader.documented),
        functions=len(functions),
        classes=reader.classes,
        imports=sorted(reader.imports),
        longest=sorted(functions, key=lambda function: (-function.lines, function.name))[:KEPT],
        knottiest=sorted(functions, key=lambda function: (-function.complexity, function.name))[:KEPT],
        complexity=sum(function.complexity for function in functions),
    )


_ONE_AT_A_TIME = threading.Lock()
"""Because CPython 3.11 miscounts its recursion when two threads parse at once (its issue 106905)."""


class Reader:
    """One walk over a syntax tree, and what it met."""

    def __init__(self, tree: ast.Module) -> None:
        self.functions: list[Function] = []
        self.classes = 0
        self.imports: set[str] = set()
        self.documented: set[int] = set()
        """Numbers of the lines that docstrings take."""
        self._note_docstring(tree)
        self._walk(tree, "", _Body(), 0)

    def _walk(self, node: ast.AST, name: str, body: "_Body", depth: int) -> None:
        """Everything below `node`, which stands in `depth` blocks of the body of function `name`."""
        for child in ast.iter_child_nodes(node):
            kind = type(child)
            if kind in _LEAVES:
                continue
            if isinstance(child, _SCOPES):
                self._enter(child, f"{name}.{child.name}".lstrip("."))
                continue
            deeper = depth + (kind in _BLOCKS and not _is_elif(child, node))
            body.branches += kind in _BRANCHES
            body.nesting = max(body.nesting, deeper)
            if isinstance(child, ast.BoolOp):
                body.branches += len(child.values) - 1
            elif kind in _IMPORTS:
                self.imports.update(_imported(child))
            self._walk(child, name, body, deeper)

    def _enter(self, scope: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, name: str) -> None:
        """A function or class; an inner function answers for its own branches."""
        self._note_docstring(scope)
        body = _Body()
        self._walk(scope, name, body, 0)
        if isinstance(scope, ast.ClassDef):
            self.classes += 1
        else:
            lines = (scope.end_lineno or 0) - scope.lineno + 1
            self.functions.append(Function(name, lines, 1 + body.branches, body.nesting))

    def _note_docstring(self, node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        if ast.get_docstring(node, clean=False) is not None:
            text = node.body[0]
            self.documented.update(range(text.lineno, (text.end_lineno or 0) + 1))


@dataclass
class _Body:
    branches: int = 0
    nesting: int = 0


_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_BLOCKS = {ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match}
_BRANCHES = {ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler}
_BRANCHES |= {ast.comprehension, ast.match_case}
_IMPORTS = {ast.Import, ast.ImportFrom}
_LEAVES = {ast.Name, ast.Constant, ast.Load, ast.Store, ast.Pass}


def _is_elif(child: ast.AST, parent: ast.AST) -> bool:
    """Whether an `if` is the `elif` of its parent: it then stands in the parent's own column."""
    return isinstance(child, ast.If) and isinstance(parent, ast.If) and child.col_offset == parent.col_offset


def _imported(node: ast.AST) -> list[str]:
    """The top-level modules that a statement imports from outside its own package."""
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module.split(".")[0]]
    return []
