"""What makes a coroutine function a command: options in groups, an event loop, and its exit code."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import inspect
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, get_type_hints

import typer


def command(function: Callable[..., Coroutine[Any, Any, int]]) -> Callable[..., None]:
    """A function that typer can register. The coroutine's result is the exit code.

    A parameter whose type is a dataclass stands for the options that are the dataclass's fields, so that
    commands can share them.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[Callable[..., Any], list[str]]] = {}
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        kind = hints[name]
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            options = _parameters(kind)
            groups[name] = (kind, [option.name for option in options])
            parameters.extend(options)
        else:
            parameters.append(_keyword(parameter, kind))

    @functools.wraps(function)
    def run(**given: Any) -> None:
        for name, (kind, fields) in groups.items():
            given[name] = kind(**{field: given.pop(field) for field in fields})
        try:
            code = asyncio.run(function(**given))
        except BrokenPipeError:
            # because `perdure list | head` is no mistake; what is still in the buffer goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        if code:
            raise typer.Exit(code)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameters(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [_keyword(field, hints[name]) for name, field in inspect.signature(group).parameters.items()]


def _keyword(parameter: inspect.Parameter, kind: Any) -> inspect.Parameter:
    # because typer calls by name, and keyword-only parameters may have defaults in any order
    return parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY)
