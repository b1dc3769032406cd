"""Which functions may be an activity, a transaction or a workflow, and by which name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from perdure.errors import InvalidArgument, NotDeterministic
from perdure.sdk.activity import Activity
from perdure.sdk.options import checked_name
from perdure.sdk.workflow import Workflow


def definition_name(function: Callable[..., Any], name: str | None) -> str:
    """The name to register a function under: the given one, else its own. Raises InvalidArgument if it has none."""
    if name is not None:
        return checked_name(name)
    own = getattr(function, "__name__", "<none>")
    if own.startswith("<"):
        raise InvalidArgument(f"{function!r} has no name of its own; give it one with name=...")
    return checked_name(own)


def check_activity_function(function: Callable[..., Any]) -> None:
    """Raise what makes a function unfit to be an activity."""
    if isinstance(function, (Activity, Workflow)):
        raise InvalidArgument(f"{function.name} is registered already; decorate the function itself, once")
    if inspect.isclass(function) or (callable(function) and inspect.iscoroutinefunction(type(function).__call__)):
        raise InvalidArgument(f"{function!r} is no function; write a `def` or `async def` that uses it")
    if not callable(function):
        raise InvalidArgument(f"{function!r} must be a function, `def` or `async def`, to be an activity")


def check_transaction_function(function: Callable[..., Any]) -> None:
    """Raise what makes a function unfit to be a transaction."""
    name = getattr(function, "__qualname__", repr(function))
    if (
        not inspect.isfunction(function)
        or inspect.iscoroutinefunction(function)
        or inspect.isgeneratorfunction(function)
    ):
        raise InvalidArgument(f"{name} must be a plain `def` to be a transaction: the store waits while it runs")
    first = next(iter(inspect.signature(function).parameters.values()), None)
    if first is None or first.kind not in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD):
        raise InvalidArgument(
            f"{name} must take the transaction as its first parameter: def {name}(db: Transaction, ...)"
        )


def check_workflow_function(function: Callable[..., Any]) -> None:
    """Raise what makes a function unfit to be a workflow."""
    if isinstance(function, (Activity, Workflow)):
        raise InvalidArgument(f"{function.name} is registered already; decorate the function itself, once")
    if not (inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function)):
        raise InvalidArgument(
            f"{getattr(function, '__qualname__', repr(function))} must be `async def`, "
            "or a generator function of Dapr's style, to be a workflow"
        )
    if inspect.isgeneratorfunction(function) and not inspect.signature(function).parameters:
        raise InvalidArgument(f"{function.__qualname__} yields, so it needs a first parameter: the WorkflowContext")
    from perdure.sdk.determinism import check_function  # because `ast` is slow to import and clients define nothing

    findings = check_function(function)
    if findings:
        raise NotDeterministic("workflow code must be repeatable: " + "; ".join(str(finding) for finding in findings))
