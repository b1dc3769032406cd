"""What workflow code may not contain, because a replay could not repeat it, and where a source contains it.

Nothing is patched and nothing is run: the source is read once, names are followed to what they really mean
(imports, aliases, shadowing, and for a live function its globals and closure), and compared with `RULES`.
A trailing comment `# perdure: allow` accepts what its line does, on a `def` line all that the function does.
Values are not followed: a function that hides a clock behind a variable is found by replay, not here.
"""

import ast
import builtins
import inspect
import io
import linecache
import os
import re
import sys
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate, takewhile
from pathlib import Path
from types import CellType, FunctionType, ModuleType
from typing import Any, cast

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


@dataclass(frozen=True, slots=True)
class Rule:
    """Names that workflow code may not use, why, and what to write instead.

    A name is dotted, from its module: `time.time`. `random.*` is all below it but for `ordinary`,
    `*.name` that method of whatever object, `random.Random()` a call without arguments (a seed makes it
    repeatable), and `pathlib.Path(...).open` a method of what the call returned.
    """

    code: str
    names: tuple[str, ...]
    reason: str
    instead: str
    ordinary: tuple[str, ...] = ()


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
        definition, text = _definition_of(function)
        page = _Page(function.__code__.co_filename, text, _shift(function, text))
        meaning = cache(_live_names(function))
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
        meaning = _within(_bindings(module.body), _builtin_name)
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


# --- the source of a live function ----------------------------------------------------------------------

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_COVER = "if True:\n"


def _definition_of(function: FunctionType) -> tuple[_Function, str]:
    """The function's definition, and the text that it counts its lines in."""
    try:
        return _parse_definition(function, _lines_by_indent(function))
    except SyntaxError:
        return _parse_definition(function, inspect.getsourcelines(function)[0])


def _shift(function: FunctionType, text: str) -> int:
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


def _parse_definition(function: FunctionType, lines: list[str]) -> tuple[_Function, str]:
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


# --- the rules ------------------------------------------------------------------------------------------


def _of(module: str, names: str) -> tuple[str, ...]:
    return tuple(f"{module}.{name}" for name in names.split())


_HTTP_VERBS = "get post put patch delete head options request"
_SET_ORDER = Rule(
    "PERDURE-L011",
    (),
    "has an order that changes from one process to the next",
    "sorted(...) around it",
)

# Reading os.environ is no rule, because it is how a program is configured, and a constant read at import,
# which nobody can see from here, is no safer.
RULES: tuple[Rule, ...] = (
    Rule(
        "PERDURE-L001",
        (
            *_of("datetime.datetime", "now utcnow today"),
            "datetime.date.today",
            *_of("time", "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns"),
            *_of("time", "process_time process_time_ns thread_time thread_time_ns"),
            *_of("time", "clock_gettime clock_gettime_ns localtime() gmtime() ctime() asctime()"),
        ),
        "reads the clock, which has moved on when the run is replayed",
        "perdure.now()",
    ),
    Rule(
        "PERDURE-L002",
        ("time.sleep",),
        "blocks the event loop, and is forgotten in a crash",
        "`await asyncio.sleep(...)` (in a generator `yield ctx.create_timer(...)`)",
    ),
    Rule(
        "PERDURE-L003",
        ("random.*", "random.Random()", "numpy.random.*", "numpy.random.default_rng()"),
        "gives other values when the run is replayed",
        "perdure.random()",
        ordinary=("random.Random", "numpy.random.default_rng", "numpy.random.Generator"),
    ),
    Rule(
        "PERDURE-L004",
        ("secrets.*", "os.urandom", "os.getrandom"),
        "gives other values when the run is replayed",
        "an activity that makes the secret",
        ordinary=("secrets.compare_digest",),
    ),
    Rule(
        "PERDURE-L005",
        _of("uuid", "uuid1 uuid4 uuid6 uuid7 uuid8()"),
        "gives another id when the run is replayed",
        "perdure.uuid4()",
    ),
    Rule(
        "PERDURE-L006",
        (
            *_of("builtins", "open input"),
            "io.open",
            *_of("os", "open listdir scandir walk stat mkdir makedirs remove unlink rename replace rmdir"),
            *_of("pathlib.Path(...)", "open read_text read_bytes write_text write_bytes exists iterdir glob"),
            *("shutil.*", "tempfile.*", "glob.glob", "glob.iglob", "sqlite3.connect"),
            *_of("anyio", "open_file Path"),
        ),
        "depends on this machine's files or terminal, which a replay elsewhere does not find as they were",
        "an activity that does it",
    ),
    Rule(
        "PERDURE-L007",
        (
            *("socket.*", "urllib.request.*", "http.client.HTTPConnection", "http.client.HTTPSConnection"),
            *_of("requests", f"{_HTTP_VERBS} Session session"),
            *_of("httpx", f"{_HTTP_VERBS} stream Client AsyncClient"),
            *_of("aiohttp", "ClientSession request"),
            *_of("urllib3", "PoolManager request"),
            *_of("asyncio", "open_connection start_server open_unix_connection start_unix_server"),
            *_of("anyio", "connect_tcp connect_unix create_tcp_listener create_unix_listener"),
        ),
        "talks to the network, which answers otherwise, or again, when the run is replayed",
        "an activity that does it",
    ),
    Rule(
        "PERDURE-L008",
        (
            *_of("subprocess", "run call check_call check_output Popen getoutput getstatusoutput"),
            *_of("os", "system popen fork forkpty posix_spawn posix_spawnp"),
            *_of("os", "execl execle execlp execlpe execv execve execvp execvpe"),
            *_of("os", "spawnl spawnle spawnlp spawnlpe spawnv spawnve spawnvp spawnvpe"),
            "multiprocessing.*",
            *_of("asyncio", "create_subprocess_exec create_subprocess_shell"),
            *_of("anyio", "run_process open_process to_process.run_sync"),
        ),
        "starts a process, again each time the run is replayed",
        "an activity that does it",
    ),
    Rule(
        "PERDURE-L009",
        (
            *("threading.*", "_thread.*", "concurrent.futures.*", "*.run_in_executor"),
            *("asyncio.to_thread", "asyncio.run_coroutine_threadsafe", "anyio.to_thread.run_sync"),
        ),
        "uses threads, which the history cannot put in order",
        "an activity (a plain `def` runs in a thread)",
    ),
    Rule(
        "PERDURE-L010",
        (
            *_of("asyncio", "run Runner new_event_loop"),
            *("anyio.run", "*.run_until_complete", "*.run_forever"),
        ),
        "starts another event loop, whose steps are in no history",
        "`await`",
    ),
    _SET_ORDER,
)

_BY_NAME = {name: rule for rule in RULES for name in rule.names}
_ORDINARY = {name for rule in RULES for name in rule.ordinary}


def _prefixes(dotted: str) -> Iterator[str]:
    """`a`, `a.b` of `a.b.c`."""
    return accumulate(dotted.split(".")[:-1], "{}.{}".format)


def _rule_for(dotted: str) -> Rule | None:
    rule = _BY_NAME.get(dotted)
    if rule or "(" in dotted or dotted in _ORDINARY:
        return rule
    return next((_BY_NAME[f"{prefix}.*"] for prefix in _prefixes(dotted) if f"{prefix}.*" in _BY_NAME), None)


# --- what a name means ----------------------------------------------------------------------------------

_Meaning = Callable[[str], str | None]
"""From a name in the source to its dotted name; None if it means something no rule is about."""

_PARENTS = {prefix for name in _BY_NAME for prefix in _prefixes(name.replace("(...)", ""))}
_MODULES = tuple(sorted(_PARENTS))
_NAMED = _PARENTS | {name.removesuffix("()") for name in _BY_NAME}
_BUILTINS = frozenset(dir(builtins))


def _builtin_name(name: str) -> str | None:
    return f"builtins.{name}" if name in _BUILTINS else None


def _within(names: Mapping[str, str | None], outer: _Meaning) -> _Meaning:
    return lambda name: names[name] if name in names else outer(name)


def _live_names(function: FunctionType) -> _Meaning:
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))

    def meaning(name: str) -> str | None:
        if name in cells:
            return _cell_name(cells[name])
        if name in function.__globals__:
            return _object_name(function.__globals__[name])
        return _builtin_name(name)

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
    for module in _MODULES:
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
        if dotted in _NAMED or (name in published and _rule_for(dotted))
    }
    # The objects are kept, because an id is good only while its object lives; constants are left out,
    # because a small number is the same object everywhere.
    return {id(value): (dotted, value) for dotted, value in values.items() if callable(value)}


def _bindings(body: Iterable[ast.AST]) -> dict[str, str | None]:
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
    return _parts(node)


def _parts(node: ast.AST) -> list[ast.AST]:
    """The nodes directly below one, in the order of the source."""
    parts: list[ast.AST] = []
    for field in node._fields:
        value = getattr(node, field, None)
        if isinstance(value, list):
            parts += [part for part in value if isinstance(part, ast.AST)]
        elif isinstance(value, ast.AST) and not isinstance(value, ast.expr_context):
            parts.append(value)
    return parts


def _parameters(arguments: ast.arguments) -> dict[str, str | None]:
    plain = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    return dict.fromkeys(a.arg for a in (*plain, arguments.vararg, arguments.kwarg) if a)


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


_ORDER_FREE = frozenset(_of("builtins", "sorted set frozenset sum min max any all"))
_SETS = frozenset(_of("builtins", "set frozenset"))
_ORDER_KEEPING = frozenset(_of("builtins", "list tuple iter enumerate map filter zip"))
_SET_METHODS = {"union", "intersection", "difference", "symmetric_difference"}
_SET_OPERATORS = (ast.BitOr, ast.BitAnd, ast.Sub, ast.BitXor)

_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the nodes of one scope. `enclosing` is what names mean to a function defined in it: another
    thing in a class body, whose names its methods do not see."""

    page: _Page
    meaning: _Meaning
    enclosing: _Meaning
    inside: bool

    def read(self, *nodes: ast.AST | None) -> None:
        for node in nodes:
            if node is not None:
                _READINGS.get(type(node), _Reader._read_parts)(self, node)

    def _read_parts(self, node: ast.AST) -> None:
        self.read(*_parts(node))

    def read_body_of(self, function: _Function) -> None:
        """The function's body alone: its decorators, defaults and annotations belong to the scope around."""
        allowed = self.page.allows(function.lineno, max(function.lineno, function.body[0].lineno - 1))
        reader = self._in_function(_parameters(function.args) | _bindings(function.body))
        (replace(reader, inside=False) if allowed else reader).read(*function.body)

    def _read_function(self, function: _Function) -> None:
        self.read(*function.decorator_list)
        self._read_defaults(function.args)
        marks = {_last_name(decorator) for decorator in function.decorator_list}
        inside = "workflow" in marks or (self.inside and "activity" not in marks)
        replace(self, inside=inside).read_body_of(function)

    def _read_lambda(self, node: ast.Lambda) -> None:
        self._read_defaults(node.args)
        self._in_function(_parameters(node.args)).read(node.body)

    def _read_defaults(self, arguments: ast.arguments) -> None:
        self.read(*arguments.defaults, *arguments.kw_defaults)

    def _read_class(self, node: ast.ClassDef) -> None:
        self.read(*node.decorator_list, *node.bases, *node.keywords)
        replace(self, meaning=_within(_bindings(node.body), self.enclosing)).read(*node.body)

    def _in_function(self, names: Mapping[str, str | None]) -> "_Reader":
        meaning = _within(names, self.enclosing)
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
        inner = self._in_function(_bindings(generator.target for generator in node.generators))
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
        rule = _rule_for(dotted) if dotted else None
        if rule is None and isinstance(name, ast.Attribute):
            dotted, rule = name.attr, _BY_NAME.get(f"*.{name.attr}")
        if rule and dotted:
            self.page.refuse(used, dotted.removeprefix("builtins."), rule)

    def _refuse_set(self, iterated: ast.expr) -> None:
        if self.inside and self._is_set(iterated):
            self.page.refuse(iterated, "a set", _SET_ORDER)

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
