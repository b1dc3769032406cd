"""What a name in a source means: the dotted name of what it was bound to, by imports or in a live function."""

import ast
import builtins
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import CellType, FunctionType, ModuleType
from typing import cast

from perdure.sdk.rules import MODULES, NAMED, rule_for

Meaning = Callable[[str], str | None]
"""From a name in the source to its dotted name; None if it means something no rule is about."""

_BUILTINS = frozenset(dir(builtins))


def builtin_name(name: str) -> str | None:
    """What a name means that nobody has bound."""
    return f"builtins.{name}" if name in _BUILTINS else None


def within(names: Mapping[str, str | None], outer: Meaning) -> Meaning:
    """What names mean in a scope that binds some of them."""
    return lambda name: names[name] if name in names else outer(name)


def live_names(function: FunctionType) -> Meaning:
    """What names mean now in the closure and the globals of a function."""
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))

    def meaning(name: str) -> str | None:
        if name in cells:
            return _cell_name(cells[name])
        if name in function.__globals__:
            return _object_name(function.__globals__[name])
        return builtin_name(name)

    return meaning


def _cell_name(cell: CellType) -> str | None:
    try:
        return _object_name(cell.cell_contents)
    except ValueError:  # because the enclosing function has not assigned it yet
        return None


def _object_name(value: object) -> str | None:
    # Its type is asked, not itself, because a lazy proxy among the globals answers for what it stands for.
    kind = type(value)
    if issubclass(kind, ModuleType):
        return cast(ModuleType, value).__name__
    for module in MODULES:
        if module in sys.modules and id(value) in (members := _members(module)):
            return members[id(value)][0]
    if issubclass(kind, type):
        return f"{cast(type, value).__module__}.{cast(type, value).__qualname__}"
    return None


@cache
def _members(module: str) -> dict[int, tuple[str, object]]:
    """What rules speak of in a loaded module, by identity, because many of these objects (the bound methods
    of `random`, the functions of `posix`) do not know the name they are published under."""
    published = frozenset(getattr(sys.modules[module], "__all__", ()))
    named = {name: f"{module}.{name}" for name in vars(sys.modules[module])}
    values = {
        dotted: vars(sys.modules[module])[name]
        for name, dotted in named.items()
        if dotted in NAMED or (name in published and rule_for(dotted))
    }
    # The objects are kept, because an id is good only while its object lives; constants are left out,
    # because a small number is the same object everywhere.
    return {id(value): (dotted, value) for dotted, value in values.items() if callable(value)}


def bindings(body: Iterable[ast.AST]) -> dict[str, str | None]:
    """The names a scope binds itself: what each imports, or None where it is the scope's own."""
    names: dict[str, str | None] = {}
    elsewhere: set[str] = set()
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        waiting += _parts_in_scope(node)
        if type(node) not in _BINDING:
            continue
        match node:
            case ast.Import():
                names |= {a.asname or _first(a.name): a.name if a.asname else _first(a.name) for a in node.names}
            case ast.ImportFrom(module=str(module), level=0):
                names |= {a.asname or a.name: f"{module}.{a.name}" for a in node.names}
            case ast.Global() | ast.Nonlocal():
                elsewhere.update(node.names)
            case _:
                # An import wins, because a second binding is most often the fallback of a failed import.
                for name in _own_names(node):
                    names.setdefault(name)
    return {name: dotted for name, dotted in names.items() if name not in elsewhere}


def _first(dotted: str) -> str:
    return dotted.partition(".")[0]


def _own_names(node: ast.AST) -> Iterable[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Store()):
            return (name,)
        case ast.FunctionDef(name=str(name)) | ast.AsyncFunctionDef(name=str(name)) | ast.ClassDef(name=str(name)):
            return (name,)
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return (name,)
        case ast.MatchMapping(rest=str(name)):
            return (name,)
        case ast.ImportFrom():  # a relative import: the package's own
            return (alias.asname or alias.name for alias in node.names)
    return ()


_BINDING = {ast.Name, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal, ast.ExceptHandler}
_BINDING |= {
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.MatchAs,
    ast.MatchStar,
    ast.MatchMapping,
}
_CLOSED = {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.Name, ast.Constant}


def _parts_in_scope(node: ast.AST) -> Iterable[ast.AST]:
    if type(node) in _CLOSED:
        return ()
    if isinstance(node, ast.comprehension):
        return (node.iter, *node.ifs)  # its target is its own, but a walrus in it binds in the scope around
    return parts(node)


def parts(node: ast.AST) -> list[ast.AST]:
    """The nodes directly below one, in the order of the source."""
    found: list[ast.AST] = []
    for field in node._fields:
        value = getattr(node, field, None)
        if isinstance(value, list):
            found += [part for part in value if isinstance(part, ast.AST)]
        elif isinstance(value, ast.AST) and not isinstance(value, ast.expr_context):
            found.append(value)
    return found


def parameters(arguments: ast.arguments) -> dict[str, str | None]:
    """The names that a call binds."""
    plain = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    return dict.fromkeys(a.arg for a in (*plain, arguments.vararg, arguments.kwarg) if a)
