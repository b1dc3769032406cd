"""What a command's argument such as `shop:app` names: an object in a module that is imported for it."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
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
