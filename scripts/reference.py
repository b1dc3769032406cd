"""Writes docs/reference from the docstrings, so that a name is described in one place: where it is made.

python scripts/reference.py            write the pages
python scripts/reference.py --check    write nothing; exit code 1 if a page is not up to date
"""

import ast
import importlib
import inspect
import pkgutil
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import perdure
from perdure import errors, testing
from perdure.app import settings
from perdure.engine.diagnosis import causes
from perdure.history import actions, events
from perdure.remote.exposition import families
from perdure.remote.exposition.page import MetricsPage
from perdure.sdk import context, determinism, frames, generator, rules, schedules
from perdure.stores import contract

PLACE = Path(__file__).resolve().parent.parent / "docs" / "reference"
NOTICE = "<!-- Written by scripts/reference.py from the docstrings. Change those, not this page. -->"

GROUPS: dict[str, tuple[str, ...]] = {
    "App and client": ("App", "Client", "Handle"),
    "What the decorators make": ("Activity", "Workflow", "Retry"),
    "Schedules": ("Schedule", "ScheduleState", "ScheduleRun"),
    "In workflow and activity code": (
        *("wait_for_event", "raise_event", "set_status", "continue_as_new", "now", "random", "uuid4", "patched"),
        *("workflow_context", "activity_context", "Saga"),
    ),
    "What you are shown": ("InstanceState", "Status", "Explanation"),
    "Logs and traces": ("setup_logging", "LogContext", "Tracing"),
    "Debugging": ("Debugger",),
    "Generator style": ("WorkflowContext", "when_all", "when_any"),
}
"""Where the public names stand. Names that stand nowhere come at the end, errors on a page of their own."""

RETURNED: dict[str, tuple[type, ...]] = {
    "Schedules": (schedules.Scheduling,),
    "App and client": (MetricsPage,),
    "Debugging": (frames.LiveTask, frames.Frame),
    "In workflow and activity code": (context.WorkflowInfo, context.ActivityInfo),
    "Generator style": (generator.DurableTask,),
}
"""Classes that are met but not imported."""

MADE_BY_USERS = ("Tracing", "App", "Client", "Saga", "Environment", "Debugger")
"""Classes whose constructor users call."""

FOR_THE_ENGINE = {
    *(
        "App.definitions",
        "App.lodge",
        "Environment.definitions",
        "Client.gateway",
        "Client.start_workflow",
        "Client.now",
        "Client.fresh_key",
        "Client.app",
    ),
    *(
        "Tracing.begin",
        "Tracing.ended",
        "Workflow.main",
        "Workflow.fingerprint",
        "ActivityInfo.cancel",
        "ActivityInfo.log_fields",
        "DurableTask.task",
    ),
}
"""Public in Python's sense, and not meant for users."""

CONTRACT_PARTS = (
    "bounds",
    "instances",
    "waits",
    "mail",
    "creations",
    "nodes",
    "turns",
    "store",
    "leases",
    "wake",
    "engine",
    "notices",
    "moving",
    "inspection",
)
"""Modules of the contract of stores, in the order in which they are read."""
BOUND_ENDINGS = ("_MAX", "_MIN", "_SECONDS", "_PAGE", "_ROUND", "_BATCH")
"""How the names of bounds end."""

DOORS = ("__main__", "app", "cli", "testing")
"""Rooms whose bounds are their own affair."""


def main(arguments: list[str]) -> int:
    """Write or check every page."""
    stale = []
    for name, text in pages().items():
        path = PLACE / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if arguments != ["--check"]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    is_check = arguments == ["--check"]
    print(f"{'stale' if is_check else 'written'}: {', '.join(stale)}" if stale else "up to date")
    return 1 if stale and is_check else 0


def pages() -> dict[str, str]:
    """The text of each page by its file name."""
    return {
        "api.md": _page("Public names of perdure", _api()),
        "errors.md": _page("Errors", _errors()),
        "events.md": _page("Events and actions", _events()),
        "store.md": _page("The store contract", _store()),
        "lint.md": _page("Rules of the lint", _lint()),
        "bounds.md": _page("Bounds", _bounds()),
        "metrics.md": _page("Metrics", _metrics()),
        "../operations/troubleshooting.md": _page("Why does it not go on?", _troubleshooting()),
    }


def _page(title: str, lines: Iterator[str]) -> str:
    text = "\n\n".join([f"# {title}", NOTICE, *filter(None, lines)])
    return text.rstrip() + "\n"


# -- metrics.md ------------------------------------------------------------------------------------


def _metrics() -> Iterator[str]:
    yield "How they are scraped, a dashboard and alerts: [monitoring](../operations/monitoring.md)."
    rows = [
        (
            ", ".join(f"`{name}`" for name in families.sample_names(family)),
            "counter" if family.kind is families.Kind.UNTYPED else str(family.kind),
            ", ".join(f"`{label}`" for label in family.all_labels),
            family.help,
        )
        for family in families.FAMILIES
    ]
    yield _table(("metric", "kind", "labels", "what it is"), rows)
    yield "Beside these: `process_*`, of the process as a whole, as prometheus-client has them."


# -- api.md ----------------------------------------------------------------------------------------


def _api() -> Iterator[str]:
    yield "Import them from `perdure`. Times are seconds unless a line says otherwise."
    yield "Errors have [a page of their own](errors.md)."
    yield "So have the [events](events.md), which are in `perdure.events`."
    for title, names in (*GROUPS.items(), ("Further names", _further())):
        if not names:
            continue
        yield f"## {title}"
        for name in names:
            yield from _described(name, getattr(perdure, name))
        for cls in RETURNED.get(title, ()):
            yield from _described(cls.__name__, cls)
    yield "## In tests"
    yield "From `perdure.testing`; [Testing workflows](../howto/testing.md) says how they are used."
    for name in testing.__all__:
        yield from _described(name, getattr(testing, name))
    yield "## Settings of an App"
    defaults = [(f"`{name}`", f"`{value}`") for name, value in settings.SETTINGS.items()]
    yield _table(("setting", "default"), defaults)
    yield _documented(settings)["SETTINGS"]


def _further() -> tuple[str, ...]:
    placed = {name for names in GROUPS.values() for name in names}
    left = [name for name in perdure.__all__ if name not in placed]
    return tuple(name for name in left if not _is_error(getattr(perdure, name)))


def _is_error(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, BaseException)


def _described(name: str, thing: Any) -> Iterator[str]:
    yield f"### {name}"
    if not isinstance(thing, type):
        yield _signature(name, thing)
        yield _prose(inspect.getdoc(thing))
        return
    yield _doc(thing)
    if issubclass(thing, Enum):
        yield ", ".join(f"`{member.value}`" for member in thing)
        return
    fields = _fields(thing)
    if fields:
        yield fields
    yield from _members(name, thing)


def _members(name: str, cls: type) -> Iterator[str]:
    if name in MADE_BY_USERS:
        yield _signature(name, vars(cls)["__init__"])
    for member, value in _public(cls):
        if f"{name}.{member}" in FOR_THE_ENGINE:
            continue
        if isinstance(value, property):
            yield f"- `{member}`: {_result(value.fget)}{_after_dash(inspect.getdoc(value))}"
        elif inspect.isfunction(value):
            yield f"- {_signature(member, value)}  \n  {_indented(_prose(inspect.getdoc(value)))}".rstrip()


def _public(cls: type) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
    for base in cls.__mro__:
        if not base.__module__.startswith("perdure"):
            continue
        for member, value in vars(base).items():
            if not member.startswith("_") and member not in seen:
                seen.add(member)
                yield member, value


def _signature(name: str, function: Any) -> str:
    node = _definition(function)
    arguments = re.sub(r"^self(, /)?(, )?", "", ast.unparse(node.args))
    arguments = re.sub(r"(?<=[\w\]])=", " = ", arguments)
    returned = f" -> {ast.unparse(node.returns)}" if node.returns and node.name != "__init__" else ""
    is_plain = isinstance(node, ast.FunctionDef) or "AsyncIterator" in returned
    return f"`{'' if is_plain else 'await '}{name}({arguments}){returned}`"


def _result(function: Any) -> str:
    node = _definition(function)
    return f"`{ast.unparse(node.returns)}`" if node.returns else ""


def _definition(function: Any) -> ast.FunctionDef | ast.AsyncFunctionDef:
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return node


# -- errors.md -------------------------------------------------------------------------------------


def _errors() -> Iterator[str]:
    first, _, tree = (errors.__doc__ or "").partition("\n")
    yield f"{first} All are in `perdure.errors`; the common ones in `perdure` too."
    yield "A code is stable over versions and stands at the end of the message."
    yield f"```text\n{textwrap.dedent(tree).strip()}\n```"
    rows = [_error(cls) for cls in _all_errors(errors.PerdureError)]
    yield _table(("code", "error", "is a", "what"), rows)


def _all_errors(cls: type[BaseException]) -> list[type[BaseException]]:
    """The errors that have a code of their own, by code."""
    found = {cls: cls}
    waiting = [cls]
    while waiting:
        for below in waiting.pop().__subclasses__():
            if below.__module__ == errors.__name__:
                found[below] = below
                waiting.append(below)
    return sorted((one for one in found if "code" in vars(one)), key=lambda one: str(vars(one)["code"]))


def _error(cls: type[BaseException]) -> tuple[str, ...]:
    also = [base.__name__ for base in cls.__bases__ if base is not Exception]
    told = _told_in_tree(cls.__name__) or _one_line(vars(cls).get("__doc__") or "")
    return f"`{vars(cls)['code']}`", f"`{cls.__name__}`", _codes(also), told


def _told_in_tree(name: str) -> str:
    """What the tree says beside an error's code."""
    found = re.search(rf"─ {name}\s+\d+[ ]+(.+)", errors.__doc__ or "")
    return found[1] if found else ""


# -- events.md -------------------------------------------------------------------------------------


def _events() -> Iterator[str]:
    yield "[The event model](../concepts/events.md) says what they are for."
    yield "Times are microseconds since 1970 UTC."
    yield "## Events"
    yield "Import them from `perdure.events`; `Handle.history` gives them."
    yield _doc(events)
    yield "Every event has these:"
    yield _fields(events.Event)
    for cls in events.AnyEvent.__args__:
        yield from _record(cls)
    yield "### Parts of events"
    for cls in events.Record.__subclasses__():
        yield from _record(cls, depth=4)
    yield "## Actions"
    yield _doc(actions)
    yield "Every action has these:"
    yield _fields(actions.Action)
    for cls in actions.Action.__subclasses__():
        yield from _record(cls)


def _record(cls: type, depth: int = 3) -> Iterator[str]:
    yield f"{'#' * depth} {cls.__name__}"
    yield _doc(cls)
    yield _fields(cls) or "No fields of its own."


# -- store.md --------------------------------------------------------------------------------------


def _store() -> Iterator[str]:
    yield _doc(contract)
    parts = [importlib.import_module(f"{contract.__name__}.{part}") for part in CONTRACT_PARTS]
    told = {name: text for part in parts for name, text in _documented(part).items()}
    yield "## Bounds and marks"
    constants = [name for name in told if name.isupper()]
    yield _table(
        ("name", "value", "what"),
        [(f"`{name}`", f"`{getattr(contract, name)}`", _one_line(told[name])) for name in constants],
    )
    for title, wanted in (("Records", False), ("Protocols", True)):
        yield f"## {title}"
        for cls in (cls for part in parts for cls in _classes(part)):
            if getattr(cls, "_is_protocol", False) is wanted:
                yield from _contract_class(cls)


def _contract_class(cls: type) -> Iterator[str]:
    yield f"### {cls.__name__}"
    yield _doc(cls)
    if issubclass(cls, Enum):
        yield ", ".join(f"`{member.value}`" for member in cls)
    elif fields := _fields(cls):
        yield fields
    for member, value in vars(cls).items():
        if inspect.isfunction(value) and not member.startswith("_") and inspect.getdoc(value):
            yield f"#### {member}"
            yield _signature(member, value)
            yield _prose(inspect.getdoc(value))


def _classes(module: ModuleType) -> list[type]:
    found = [thing for thing in vars(module).values() if isinstance(thing, type)]
    return [cls for cls in found if cls.__module__ == module.__name__]


# -- operations/troubleshooting.md ------------------------------------------------------------------


def _troubleshooting() -> Iterator[str]:
    yield (
        "`perdure explain ID` says in one sentence why an instance is not finished, since when, what happens by\n"
        "itself, and the command that moves it. [How to use it](../howto/explain.md)."
    )
    yield (
        "Each cause that it can tell is below, by its id. Words in braces are those of the case; words in capitals in\n"
        "a command are filled in by `explain`."
    )
    for title, which in (("Something is wrong", False), ("Nothing is wrong", True)):
        yield f"## {title}"
        rows = [cause for cause in causes.CAUSES.values() if cause.is_normal is which]
        yield _table(("cause", "what it is"), [(f"[`{cause.id}`](#{_anchor(cause)})", cause.title) for cause in rows])
        for cause in rows:
            yield from _cause(cause)


def _anchor(cause: causes.Cause) -> str:
    return re.sub(r"[^\w\- ]", "", _heading(cause).lower()).replace(" ", "-")


def _heading(cause: causes.Cause) -> str:
    return f"{cause.title} (`{cause.id}`)"


def _cause(cause: causes.Cause) -> Iterator[str]:
    yield f"### {_heading(cause)}"
    sentence = re.sub(r"(?<=[\w}])\{\w+\}", "", cause.sentence)  # because what not every case has stands beside a word
    yield f"> {sentence.replace('{who}', 'checkout order-1')}."
    next = "that depends on the case, and `explain` tells it" if cause.next == "{next}" else cause.next
    told = [f"- **Why**: {cause.why}", f"- **Next**: {next}"]
    if cause.command is not None:
        told.append(f"- **What moves it**: `{cause.command}`")
    yield "\n".join([*told, f"- **How to prevent it**: {cause.prevent}"])


# -- lint.md ---------------------------------------------------------------------------------------


def _lint() -> Iterator[str]:
    yield _doc(determinism)
    yield "[Deterministic code](../howto/determinism.md) says how to use them."
    for rule in rules.RULES:
        yield f"## {rule.code}"
        yield f"What {rule.reason}. Write {rule.instead}."
        if rule.names:
            yield _codes(rule.names)
        if rule.ordinary:
            yield f"Allowed: {_codes(rule.ordinary)}"
    yield f"`{determinism.UNREADABLE}` says that a file cannot be read as Python."


# -- bounds.md --------------------------------------------------------------------------------


def _bounds() -> Iterator[str]:
    yield "Every queue, cache, batch and pause has a bound with a name. Names of time say their unit."
    yield "Those that an app can set are among [its settings](api.md#settings-of-an-app)."
    for module in _modules():
        told = _documented(module)
        rows = [
            (f"`{name}`", f"`{value}`", _one_line(told.get(name, "")))
            for name, value in vars(module).items()
            if name.endswith(BOUND_ENDINGS) and f"\n{name} = " in inspect.getsource(module)
        ]
        if rows:
            yield f"## {module.__name__}"
            yield _table(("name", "value", "what"), rows)


def _modules() -> Iterator[ModuleType]:
    """The modules of the package below its doors, by name."""
    found = pkgutil.walk_packages(perdure.__path__, "perdure.", onerror=_refuse)
    names = sorted(info.name for info in found if info.name.split(".")[1] not in DOORS)
    yield from map(importlib.import_module, names)


def _refuse(name: str) -> None:
    raise ImportError(name)


# -- pieces ----------------------------------------------------------------------------------------


def _doc(thing: type | ModuleType) -> str:
    """The docstring of a module or class; nothing where a record has none of its own."""
    text = thing.__doc__ if isinstance(thing, ModuleType) else vars(thing).get("__doc__")
    return _prose(inspect.cleandoc(text) if text else None)


def _prose(text: str | None) -> str:
    """A docstring as Markdown: outside code a `<` must not begin a tag."""
    parts = (text or "").split("`")
    return "`".join(part if index % 2 else part.replace("<", "&lt;") for index, part in enumerate(parts))


def _fields(cls: type) -> str:
    """A table of the annotated fields that a class has of its own."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(node, ast.ClassDef)
    told = _documented_in(node)
    fields = {ast.unparse(field.target): field for field in node.body if isinstance(field, ast.AnnAssign)}
    rows = [
        (f"`{name}`", f"`{_annotated(field.annotation)}`", _default(field), _one_line(told.get(name, "")))
        for name, field in fields.items()
    ]
    if not any(row[3] for row in rows):
        return _table(("field", "type", "default"), [row[:3] for row in rows])
    return _table(("field", "type", "default", "what"), rows)


def _annotated(annotation: ast.expr) -> str:
    """A type as it reads, also where it is a text because it comes later in the module."""
    return str(annotation.value) if isinstance(annotation, ast.Constant) else ast.unparse(annotation)


def _default(field: ast.AnnAssign) -> str:
    return f"`{ast.unparse(field.value)}`" if field.value is not None else ""


def _documented(module: ModuleType) -> dict[str, str]:
    return _documented_in(ast.parse(inspect.getsource(module)))


def _documented_in(node: ast.Module | ast.ClassDef) -> dict[str, str]:
    """The texts that stand right below names, by name."""
    found = {}
    for above, below in zip(node.body, node.body[1:], strict=False):
        target = above.targets[0] if isinstance(above, ast.Assign) else getattr(above, "target", None)
        match below:
            case ast.Expr(value=ast.Constant(value=str(text))) if target is not None:
                found[ast.unparse(target)] = inspect.cleandoc(text)
    return found


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [headings, ("---",) * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _codes(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _indented(text: str) -> str:
    return text.replace("\n\n", "\n").replace("\n", "\n  ")


def _after_dash(text: str | None) -> str:
    return f". {_one_line(_prose(text))}" if text else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
