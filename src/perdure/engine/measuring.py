"""How long what clients ask for takes, counted under Dapr's names where Dapr has one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from perdure.engine.node import Node
from perdure.history.events import (
    EventRaised,
    RunCancelRequested,
    RunResumed,
    RunSuspended,
    RunTerminated,
    UpdateRequested,
)

P = ParamSpec("P")
R = TypeVar("R")

COMMANDS: dict[type, str] = {
    EventRaised: "add_event",
    RunTerminated: "terminate_workflow",
    RunCancelRequested: "cancel_workflow",
    RunSuspended: "suspend_workflow",
    RunResumed: "resume_workflow",
    UpdateRequested: "update_workflow",
}
"""Operations that send something to a run, by what they send."""
OTHER_COMMAND = "other_command"


class Asked(Protocol):
    """Who is asked."""

    engine: Node


S = TypeVar("S", bound=Asked)


Method = Callable[Concatenate[S, P], Coroutine[Any, Any, R]]


def measured(name: str | None = None) -> Callable[[Method[S, P, R]], Method[S, P, R]]:
    """Count the calls of a method as the operation `name`; None: as the command that is among its arguments."""

    def decorate(method: Method[S, P, R]) -> Method[S, P, R]:
        async def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            metrics, clock = self.engine.metrics, self.engine.clock
            if metrics is None:
                return await method(self, *args, **kwargs)
            began, end = clock.now(), "failed"
            try:
                result = await method(self, *args, **kwargs)
                end = "success"
            finally:
                metrics.operation(name or _command(args), end, clock.now() - began)
            return result

        update_wrapper(call, method)
        return call

    return decorate


def _command(args: tuple[Any, ...]) -> str:
    return next((COMMANDS[type(arg)] for arg in args if type(arg) in COMMANDS), OTHER_COMMAND)
