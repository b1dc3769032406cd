"""What a command's argument such as `shop:app` names: an object in a module that is imported for it."""

from __future__ import annotations

import ast
import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from perdure.errors import InvalidArgument, PerdureError


def named(address: str, what: str) -> tuple[ModuleType, Any]:
    """The module and the object at `module:attribute`, None if there is no such attribute.

    The working directory comes first. `what` stands for the address in the error. Raises InvalidArgument.
    """
    name, colon, attribute = address.partition(":")
    if not name or not colon or not attribute:
        raise InvalidArgument(f"{address!r} is no {what}; write shop:app for `app` in shop.py")
    if os.getcwd() not in sys.path[:1]:
        sys.path.insert(0, os.getcwd())
    module = _imported(name)
    found: Any = module
    for step in attribute.split("."):
        found = getattr(found, step, None)
    return module, found


FILES_MAX = 2_000
"""Python files below the working directory in which an app is looked for."""
_PASSED_OVER = frozenset(("node_modules", "site-packages", "__pycache__"))


def where(app: str) -> str:
    """The address of the App with this id in a module below the working directory, found without importing anything.

    Raises InvalidArgument if there is none, or more than one.
    """
    found = [f"{module}:{name}" for module, path in _modules(Path.cwd()) for name, id in _apps_in(path) if id == app]
    if len(found) == 1:
        return found[0]
    if found:
        raise InvalidArgument(f"app {app!r} is made in several places: {', '.join(found)}; name one as MODULE:APP")
    raise InvalidArgument(
        f"no module in {Path.cwd()} makes an App with the id {app!r}; go to the folder of its code, or name it as "
        "MODULE:APP"
    )


def _modules(folder: Path) -> Iterator[tuple[str, Path]]:
    """Modules below a folder with their names, those that lie highest first."""
    waiting, count = [(folder, "")], 0
    while waiting:
        place, prefix = waiting.pop(0)
        try:
            entries = sorted(place.iterdir())
        except OSError:
            continue  # because what cannot be read here holds no app that could be imported
        for entry in entries:
            if entry.suffix == ".py" and entry.stem.isidentifier():
                count += 1
                if count > FILES_MAX:
                    return
                yield f"{prefix}{entry.stem}" if entry.stem != "__init__" else prefix.rstrip("."), entry
            elif (
                entry.name.isidentifier()
                and entry.name not in _PASSED_OVER
                and entry.is_dir()
                and not entry.is_symlink()
            ):
                waiting.append((entry, f"{prefix}{entry.name}."))


def _apps_in(path: Path) -> Iterator[tuple[str, str]]:
    """The names at the top of a module that an App is given to, with the app's id."""
    try:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text) if "App(" in text else None
    except (OSError, ValueError, SyntaxError):
        return  # because what cannot be read cannot be imported either
    for line in tree.body if tree is not None else ():
        targets = (
            line.targets if isinstance(line, ast.Assign) else [line.target] if isinstance(line, ast.AnnAssign) else []
        )
        id = _id_of(getattr(line, "value", None))
        if id is not None:
            yield from ((target.id, id) for target in targets if isinstance(target, ast.Name))


def _id_of(value: ast.expr | None) -> str | None:
    """The id of the App that an expression makes."""
    if not isinstance(value, ast.Call) or ast.unparse(value.func).rpartition(".")[2] != "App":
        return None
    given = [*value.args[:1], *(keyword.value for keyword in value.keywords if keyword.arg == "id")]
    first = given[0] if given else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except PerdureError:
        raise
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise InvalidArgument(f"there is no module {name!r} in {os.getcwd()} or on sys.path") from error
        raise _not_imported(name, error) from error
    except (Exception, SystemExit) as error:  # because a module may do anything when it is imported
        raise _not_imported(name, error) from error


def _not_imported(name: str, error: BaseException) -> InvalidArgument:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    where = f" at {frames[-1].filename}:{frames[-1].lineno}" if len(frames) > 1 else ""
    if isinstance(error, SyntaxError):
        where = f" at {error.filename}:{error.lineno}"
    told = error.msg if isinstance(error, SyntaxError) else str(error)
    return InvalidArgument(f"module {name!r} cannot be imported: {type(error).__name__}: {told}{where}")
