"""Where workflow code contains what it may not, because a replay could not repeat it.

Nothing is patched and nothing is run: the source is read once, names are followed to what they really mean
(imports, aliases, shadowing, and for a live function its globals and closure), and compared with the rules.
A trailing comment `# perdure: allow` accepts what its line does, on a `def` line all that the function does.
Values are not followed: a function that hides a clock behind a variable is found by replay, not here.
"""

import ast
import inspect
import io
import os
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

from perdure.sdk.meanings import Meaning, bindings, builtin_name, live_names, parameters, parts, within
from perdure.sdk.rules import SET_ORDER, Rule, names_of, rule_for, rule_for_method
from perdure.sdk.sources import Function, definition_of, shift

UNREADABLE = "PERDURE-L000"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One place in workflow code that a replay could not repeat. Line and column count from 1."""

    path: str
    line: int
    column: int
    code: str
    what: str
    instead: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}"
        return f"{place}: {self.code} {self.what}; write {self.instead} instead"


def check_function(function: Callable[..., object]) -> list[Finding]:
    """Findings in a live function, its wrappers removed, in the order of its lines.

    Names mean what they mean now in the function's globals and closure. A function without a source that
    can be read (typed at a prompt, made by `exec`, built in, edited since) has no findings.
    """
    function = inspect.unwrap(function)
    function = getattr(function, "__func__", function)
    if not isinstance(function, FunctionType):
        return []
    try:
        definition, text = definition_of(function)
        page = _Page(function.__code__.co_filename, text, shift(function, text))
        meaning = cache(live_names(function))
        _Reader(page, meaning, meaning, inside=True).read_body_of(definition)
    except _UNREADABLE_ERRORS:
        return []
    return page.findings()


def check_source(text: str, path: str) -> list[Finding]:
    """Findings in the functions of a module that a `workflow` decorator marks, in the order of its lines.

    The decorator may be `@workflow`, `@anything.workflow` or a call of either. Text that is not Python is
    itself a finding, of code `UNREADABLE`.
    """
    try:
        module = ast.parse(text, path)
        page = _Page(path, text)
        meaning = within(bindings(module.body), builtin_name)
        _Reader(page, meaning, meaning, inside=False).read(*module.body)
    except _UNREADABLE_ERRORS as error:
        return [_unreadable(path, error)]
    return page.findings()


def check_paths(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Finding]:
    """Findings in files, whatever their suffix, and in the `*.py` files below directories.

    Hidden directories, `__pycache__` and virtual environments are left out, links to directories not
    followed. A file that cannot be read or decoded is a finding, of code `UNREADABLE`.
    """
    for path in paths:
        for file in _python_files(Path(path)):
            yield from _check_file(file)


def _check_file(file: Path) -> list[Finding]:
    try:
        with tokenize.open(file) as source:
            text = source.read()
    except _UNREADABLE_ERRORS as error:
        return [_unreadable(str(file), error)]
    return check_source(text, str(file))


def _python_files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if _is_searched(Path(folder, name)))
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(".py"))


def _is_searched(folder: Path) -> bool:
    hidden = folder.name.startswith(".") or folder.name == "__pycache__"
    return not hidden and not (folder / "pyvenv.cfg").exists()


# Among them what the parser and the reader say of an expression that is nested too deep.
_UNREADABLE_ERRORS = (OSError, SyntaxError, ValueError, tokenize.TokenError, RecursionError, MemoryError)


def _unreadable(path: str, error: Exception) -> Finding:
    reason, line, column = str(error), None, None
    if isinstance(error, SyntaxError):
        reason, line, column = error.msg, error.lineno, error.offset
    elif isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    what = f"this cannot be read as Python ({reason})"
    return Finding(path, line or 1, column or 1, UNREADABLE, what, "a file that parses")


# --- reading --------------------------------------------------------------------------------------------


class _Page:
    """The findings in one text, one a place, and the lines on which they are allowed."""

    def __init__(self, path: str, text: str, shift: int = 0) -> None:
        self._path = path
        self._shift = shift
        self._allowed = _allowed_lines(text)
        self._places: dict[tuple[int, int], Finding | None] = {}

    def allows(self, first: int, last: int) -> bool:
        return not self._allowed.isdisjoint(range(first, last + 1))

    def refuse(self, node: ast.expr, what: str, rule: Rule) -> None:
        place = (node.lineno, node.col_offset)
        # The first to name a place keeps it, because the parts of a dotted name begin where the whole does.
        self._places.setdefault(place, None if self._is_allowed(node) else self._finding(place, what, rule))

    def findings(self) -> list[Finding]:
        return sorted(finding for finding in self._places.values() if finding)

    def _is_allowed(self, node: ast.expr) -> bool:
        return self.allows(node.lineno, node.end_lineno or node.lineno)

    def _finding(self, place: tuple[int, int], what: str, rule: Rule) -> Finding:
        line, column = place
        return Finding(self._path, line + self._shift, column + 1, rule.code, f"{what} {rule.reason}", rule.instead)


_ALLOW = re.compile(r"#\s*perdure:\s*allow\b")


def _allowed_lines(text: str) -> frozenset[int]:
    if not _ALLOW.search(text):
        return frozenset()
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = (t for t in tokens if t.type == tokenize.COMMENT and _ALLOW.search(t.string))
    return frozenset(t.start[0] for t in comments if t.line[: t.start[1]].strip())


_ORDER_FREE = frozenset(names_of("builtins", "sorted set frozenset sum min max any all"))
_SETS = frozenset(names_of("builtins", "set frozenset"))
_ORDER_KEEPING = frozenset(names_of("builtins", "list tuple iter enumerate map filter zip"))
_SET_METHODS = {"union", "intersection", "difference", "symmetric_difference"}
_SET_OPERATORS = (ast.BitOr, ast.BitAnd, ast.Sub, ast.BitXor)

_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the nodes of one scope. `enclosing` is what names mean to a function defined in it: another
    thing in a class body, whose names its methods do not see."""

    page: _Page
    meaning: Meaning
    enclosing: Meaning
    inside: bool

    def read(self, *nodes: ast.AST | None) -> None:
        for node in nodes:
            if node is not None:
                _READINGS.get(type(node), _Reader._read_parts)(self, node)

    def _read_parts(self, node: ast.AST) -> None:
        self.read(*parts(node))

    def read_body_of(self, function: Function) -> None:
        """The function's body alone: its decorators, defaults and annotations belong to the scope around."""
        allowed = self.page.allows(function.lineno, max(function.lineno, function.body[0].lineno - 1))
        reader = self._in_function(parameters(function.args) | bindings(function.body))
        (replace(reader, inside=False) if allowed else reader).read(*function.body)

    def _read_function(self, function: Function) -> None:
        self.read(*function.decorator_list)
        self._read_defaults(function.args)
        marks = {_last_name(decorator) for decorator in function.decorator_list}
        inside = "workflow" in marks or (self.inside and "activity" not in marks)
        replace(self, inside=inside).read_body_of(function)

    def _read_lambda(self, node: ast.Lambda) -> None:
        self._read_defaults(node.args)
        self._in_function(parameters(node.args)).read(node.body)

    def _read_defaults(self, arguments: ast.arguments) -> None:
        self.read(*arguments.defaults, *arguments.kw_defaults)

    def _read_class(self, node: ast.ClassDef) -> None:
        self.read(*node.decorator_list, *node.bases, *node.keywords)
        replace(self, meaning=within(bindings(node.body), self.enclosing)).read(*node.body)

    def _in_function(self, names: Mapping[str, str | None]) -> "_Reader":
        meaning = within(names, self.enclosing)
        return _Reader(self.page, meaning, meaning, self.inside)

    def _read_for(self, node: ast.For) -> None:
        self._refuse_set(node.iter)
        self._read_parts(node)

    def _read_starred(self, node: ast.Starred) -> None:
        self._refuse_set(node.value)
        self.read(node.value)

    def _read_set_comprehension(self, node: ast.SetComp) -> None:
        self._read_comprehension(node, ordered=False)

    def _read_comprehension(self, node: _Comprehension, *, ordered: bool = True) -> None:
        ordered = ordered or any(isinstance(part, ast.Await) for part in ast.walk(node))
        inner = self._in_function(bindings(generator.target for generator in node.generators))
        reader = self  # because the first iterable is evaluated in the scope around
        for generator in node.generators:
            if ordered:
                reader._refuse_set(generator.iter)
            reader.read(generator.iter)
            inner.read(*generator.ifs)
            reader = inner
        inner.read(*((node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)))

    def _read_annotated(self, node: ast.AnnAssign) -> None:
        self.read(node.target, node.value)  # an annotation computes nothing

    def _read_handler(self, node: ast.ExceptHandler) -> None:
        self.read(*node.body)  # to catch a type is not to use it

    def _read_call(self, call: ast.Call) -> None:
        self._refuse_name(call, call)
        self._refuse_name(call.func, call)
        self.read(call.func)
        ordered = self._dotted(call.func) not in _ORDER_FREE
        for argument in call.args:
            if isinstance(argument, ast.GeneratorExp | ast.ListComp):
                self._read_comprehension(argument, ordered=ordered)
            else:
                self.read(argument)
        self.read(*call.keywords)

    def _read_name(self, node: ast.Name) -> None:
        self._refuse_name(node, node)

    def _read_attribute(self, node: ast.Attribute) -> None:
        self._refuse_name(node, node)
        self.read(node.value)

    def _refuse_name(self, name: ast.expr, used: ast.expr) -> None:
        if not self.inside:
            return
        dotted = self._dotted(name)
        rule = rule_for(dotted) if dotted else None
        if rule is None and isinstance(name, ast.Attribute):
            dotted, rule = name.attr, rule_for_method(name.attr)
        if rule and dotted:
            self.page.refuse(used, dotted.removeprefix("builtins."), rule)

    def _refuse_set(self, iterated: ast.expr) -> None:
        if self.inside and self._is_set(iterated):
            self.page.refuse(iterated, "a set", SET_ORDER)

    def _is_set(self, node: ast.expr) -> bool:
        """Whether iterating the expression iterates a set, by what is written in it."""
        match node:
            case ast.Set() | ast.SetComp():
                return True
            case ast.BinOp(op=op) if isinstance(op, _SET_OPERATORS):
                return self._is_set(node.left) or self._is_set(node.right)
            case ast.Call(func=ast.Attribute(value=value, attr=attr)) if attr in _SET_METHODS:
                return self._is_set(value)
            case ast.Call():
                dotted = self._dotted(node.func)
                return dotted in _SETS or (dotted in _ORDER_KEEPING and any(map(self._is_set, node.args)))
        return False

    def _dotted(self, node: ast.expr) -> str | None:
        match node:
            case ast.Name():
                return self.meaning(node.id)
            case ast.Attribute():
                base = self._dotted(node.value)
                return base and f"{base}.{node.attr}"
            case ast.Call():
                base = self._dotted(node.func)
                return base and base + ("(...)" if node.args or node.keywords else "()")
        return None


_READINGS: dict[type[ast.AST], Callable[[_Reader, Any], None]] = {
    ast.FunctionDef: _Reader._read_function,
    ast.AsyncFunctionDef: _Reader._read_function,
    ast.Lambda: _Reader._read_lambda,
    ast.ClassDef: _Reader._read_class,
    ast.For: _Reader._read_for,
    ast.Starred: _Reader._read_starred,
    ast.ListComp: _Reader._read_comprehension,
    ast.GeneratorExp: _Reader._read_comprehension,
    ast.DictComp: _Reader._read_comprehension,
    ast.SetComp: _Reader._read_set_comprehension,
    ast.AnnAssign: _Reader._read_annotated,
    ast.ExceptHandler: _Reader._read_handler,
    ast.Call: _Reader._read_call,
    ast.Name: _Reader._read_name,
    ast.Attribute: _Reader._read_attribute,
}


def _last_name(decorator: ast.expr) -> str | None:
    match decorator:
        case ast.Call():
            return _last_name(decorator.func)
        case ast.Attribute():
            return decorator.attr
        case ast.Name():
            return decorator.id
    return None
