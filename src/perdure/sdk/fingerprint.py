"""What names the code of a workflow: its own, and that of its module, as this process has loaded it.

Code objects are asked and not files, because a file may have been edited since it was loaded. Comments and line
numbers do not count, nor do values that are not written in the code.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FunctionType, MethodType
from typing import Any

PLAIN = (str, bytes, int, float, complex, bool, type(None), type(...))


def fingerprint(function: Callable[..., Any]) -> str:
    """Changes when the function changes, or another function, method or constant in capitals of its module."""
    digest = hashlib.blake2b(digest_size=8)
    for part in (*_of_function(function), *_of_module(function.__globals__)):
        digest.update(part.encode("utf-8", "surrogatepass"))
        digest.update(b"\n")
    return digest.hexdigest()


def _of_module(names: Mapping[str, Any]) -> Iterator[str]:
    for name, value in sorted(names.items()):
        if name.isupper() and _is(value, *PLAIN, tuple, frozenset):
            yield f"{name} = {_constant(value)}"
        elif _is(value, type) and value.__module__ == names.get("__name__"):
            yield from (part for _, member in sorted(vars(value).items()) for part in _of_function(member))
        else:
            yield from _of_function(value)


def _of_function(value: Any) -> Iterator[str]:
    """The code of a function, also inside what a decorator made of it."""
    held = _held(value)
    if _is(held, FunctionType):
        defaults = (*(held.__defaults__ or ()), *sorted((held.__kwdefaults__ or {}).items()))
        yield held.__qualname__
        yield _code(held.__code__)
        yield _constant(defaults)


def _held(value: Any) -> Any:
    """What a property, a method or a decorator has inside, else the value."""
    if _is(value, property):
        return value.fget
    if _is(value, staticmethod, classmethod):
        return value.__func__
    function = value.__func__ if _is(value, MethodType) else value
    found = (inspect.getattr_static(function, name, None) for name in ("__wrapped__", "fget"))
    return next((held for held in found if held is not None), function)


def _is(value: Any, *kinds: type) -> bool:
    """Whether it is one of these, as its type says, because a lazy proxy answers for what it stands for, or raises."""
    return issubclass(type(value), kinds)


def _code(code: CodeType) -> str:
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {_constant(code.co_consts)}"


def _constant(value: Any) -> str:
    if _is(value, CodeType):
        return _code(value)
    if _is(value, tuple):
        return f"({' '.join(_constant(part) for part in value)})"
    if _is(value, frozenset):
        return f"{{{' '.join(sorted(_constant(part) for part in value))}}}"  # because its order is nobody's
    return repr(value) if _is(value, *PLAIN) else type(value).__qualname__
