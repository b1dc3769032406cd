"""Steps: parts of a workflow's own code that run as attempts of a call, and how their code is found after a crash.

A step has no arguments: its body is a closure that the workflow made. The store knows its name and its result alone.
While the run is in memory its open bodies lie in `Bodies`; else the run's history is replayed, as far as it goes, for
no other purpose than to have the code make them again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, overload

from perdure.codec import NOTHING
from perdure.errors import InvalidArgument
from perdure.history.actions import CancelActivity, ScheduleActivity
from perdure.history.delivery import Gate
from perdure.history.events import ActivityCompleted
from perdure.history.work import Attempt, Identity, Stall
from perdure.sdk.failures import activity_error
from perdure.sdk.options import Retry, call_options, checked_name
from perdure.sdk.run import calling_line, require_run
from perdure.sdk.step_code import Bodies, StepCode

if TYPE_CHECKING:
    from perdure.sdk.worker import LiveRun

T = TypeVar("T")
STEP = "perdure.step"
"""The tag of a call that tells a step from an activity of the same name; its value is what kind of step it is."""
HISTORY_PAGE = 1_000
"""Segments of a history that are read together."""
ReadHistory = Callable[[str, int, int], Awaitable[tuple[list[Any], int | None]]]
"""Events of an instance's current run after a place, at most so many segments; and the place to go on from."""


@overload
async def step(
    name: str,
    body: Callable[[], Awaitable[T]],
    *,
    type: None = None,
    kind: str = "",
    stream: bool = False,
    retry: Retry | None = None,
    timeout: float | timedelta | None = None,
    heartbeat_timeout: float | timedelta | None = None,
) -> Any: ...
@overload
async def step(
    name: str,
    body: Callable[[], Awaitable[Any]],
    *,
    type: type[T],
    kind: str = "",
    stream: bool = False,
    retry: Retry | None = None,
    timeout: float | timedelta | None = None,
    heartbeat_timeout: float | timedelta | None = None,
) -> T: ...
async def step(
    name: str,
    body: Callable[[], Awaitable[Any]],
    *,
    type: Any = None,
    kind: str = "",
    stream: bool = False,
    retry: Retry | None = None,
    timeout: float | timedelta | None = None,
    heartbeat_timeout: float | timedelta | None = None,
) -> Any:
    """Run `body`, an `async` function without arguments, as a durable call named `name`; what it returns, as `type`.

    An activity without a registration and without arguments: the closure may use whatever the workflow's code holds,
    the store keeps the result alone. Options are those of an activity, and in it `activity_context` works. After a
    crash the workflow's code is replayed and makes the closure again, so it must be made from what is deterministic.
    `kind` is kept with the call for those who look at it. With `stream` there is a stream beside the result, as
    `activity_context().put` fills it. For libraries that bring closures; elsewhere an activity
    shows its arguments. At `perdure serve` any worker that has the workflow may run it; other servers know none. Raises
    ActivityFailed, InvalidArgument, NotSupportedByServer.
    """
    run = require_run("step")
    if not callable(body):
        raise InvalidArgument(f"the body of step {name!r} is {body!r}; give an async function without arguments")
    options = call_options(retry, timeout, heartbeat_timeout)
    checked_name(name, "a step's name")
    if kind != "":
        checked_name(kind, "a step's kind")
    number = run.next_number()
    run.keep_code(number, StepCode(name, body, has_stream=stream))
    future = run.call(
        ScheduleActivity(
            number=number, line=calling_line(), name=name, input=NOTHING, options=options, tags={STEP: kind}
        )
    )
    try:
        result = await future
    except asyncio.CancelledError:
        run.cancel_call(CancelActivity(number=number))
        raise
    finally:
        run.drop_code(number)
    if isinstance(result, ActivityCompleted):
        return run.decode(result.result, Any if type is None else type)
    raise activity_error(name, result.failure, result.attempt, result.timed_out)


def is_step(work: Attempt) -> bool:
    """Whether an attempt is one of a step."""
    return work.label is not None and work.label.tags is not None and STEP in work.label.tags


class Steps:
    """The bodies of the steps of one worker's runs. `opened` gives new code for a run, at its beginning."""

    def __init__(self, app: str, opened: Callable[[Identity], LiveRun | Stall]) -> None:
        self.bodies: Bodies | None = {}
        self._app = app
        self._opened = opened
        self._read: ReadHistory | None = None

    def refuse(self) -> None:
        """The engine is another's, and would send an attempt to whoever has an activity of that name."""
        self.bodies = None

    def read_with(self, read: ReadHistory) -> None:
        """Where histories are read from; without it a body is known as long as its run is in memory."""
        self._read = read

    @asynccontextmanager
    async def code(self, work: Attempt) -> AsyncIterator[StepCode | Stall | None]:
        """The code of a step for the time of an attempt; what stands against it; None if nothing waits for it."""
        found = self.bodies.get(_address(work)) if self.bodies is not None else None
        if found is not None:
            yield found
            return
        live = await self._revived(work)
        if live is None or isinstance(live, Stall):
            yield live
            return
        try:
            yield live.run.code_of(work.number)
        finally:
            live.close()

    async def _revived(self, work: Attempt) -> LiveRun | Stall | None:
        """The run's code, replayed to where its history is; the attempt is its own reason to be in memory."""
        from perdure.sdk.verdict import identity_of  # because verdicts come from workers

        events = await self._history(work.instance)
        if not events:
            return None
        identity = identity_of(self._app, work.instance, events)
        if (identity.execution, identity.generation) != (work.execution, work.generation):
            return None  # because the run that asked is over
        live = self._opened(identity)
        if isinstance(live, Stall):
            return live
        stall = live.replay([events], Gate())
        if stall is not None:
            live.close()
            return stall
        return live

    async def _history(self, instance: str) -> list[Any]:
        events: list[Any] = []
        after: int | None = 0 if self._read is not None else None
        while after is not None and self._read is not None:
            page, after = await self._read(instance, after, HISTORY_PAGE)
            events += page
        return events


def _address(work: Attempt) -> tuple[str, int, int]:
    return work.execution, work.generation, work.number
