"""The source of a live function: its lines in the file it came from, and what they parse to."""

import ast
import inspect
import linecache
import re
from itertools import takewhile
from types import FunctionType

Function = ast.FunctionDef | ast.AsyncFunctionDef
_COVER = "if True:\n"


def definition_of(function: FunctionType) -> tuple[Function, str]:
    """The function's definition, and the text that it counts its lines in. Raises OSError or SyntaxError if none is
    there to be read."""
    try:
        return _parse_definition(function, _lines_by_indent(function))
    except SyntaxError:
        return _parse_definition(function, inspect.getsourcelines(function)[0])


def shift(function: FunctionType, text: str) -> int:
    """How many lines of its file come before those of the text."""
    return function.__code__.co_firstlineno - 1 - text.startswith(_COVER)


_DEFINITION = re.compile(r"[ \t]*(async[ \t]+)?def\b")
_CONTINUED = re.compile(r"\s*([)\]}#]|$)")


def _lines_by_indent(function: FunctionType) -> list[str]:
    """The function's lines as its indentation tells them: not so where a string leaves the indentation, which
    then does not parse, but ten times as fast as by tokens."""
    code = function.__code__
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename)[code.co_firstlineno - 1 :]
    head = next((n for n, line in enumerate(lines, 1) if _DEFINITION.match(line)), 0)
    body = takewhile(lambda line: _CONTINUED.match(line) or _indent(line) > _indent(lines[0]), lines[head:])
    return [*lines[:head], *body]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _parse_definition(function: FunctionType, lines: list[str]) -> tuple[Function, str]:
    # An indented function goes below an `if`, not through dedent, because dedent would give up at a
    # multi-line string, and because columns stay true.
    indented = bool(lines) and lines[0][:1].isspace()
    text = "".join((_COVER, *lines) if indented else lines)
    statements = ast.parse(text).body
    if indented and isinstance(statements[0], ast.If):
        statements = statements[0].body
    match statements:
        case [ast.FunctionDef() | ast.AsyncFunctionDef() as definition]:
            if definition.name == function.__code__.co_name:
                return definition, text
    raise SyntaxError("this is another source than the function was compiled from")
