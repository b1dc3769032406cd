"""Sagas: how the finished steps of a workflow are undone, last one first, when it does not get through."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, Self

from perdure.errors import CompensationFailed, InvalidArgument
from perdure.sdk.activity import Activity
from perdure.sdk.run import current_run
from perdure.sdk.workflow import Workflow

P = ParamSpec("P")


class Saga:
    """Runs the registered compensations, last one first, if its block is left by an error or a cancellation.

        async with Saga() as saga:
            await reserve(order)
            saga.compensate(release, order)
            await charge(order)

    Compensations run one after the other and finish before the error goes on. A cancellation that arrives
    meanwhile is delivered after them. One that fails does not keep the others from running; the block then
    raises CompensationFailed, which holds what they raised and is caused by what made them run.

    In a workflow each step of this is durable: after a crash between two compensations, only the rest of them
    run. Nothing runs when the block ends well, when it continues as new, or when the workflow merely leaves
    memory; nor, since no code of it runs then, when it is terminated or its `run_timeout` has passed.
    """

    def __init__(self) -> None:
        self._compensations: list[functools.partial[object]] = []

    def compensate(self, action: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Remember to call `action` with these arguments, and to await what it returns, if the block fails.

        Give the activity, child workflow or function and its arguments apart: `compensate(release, order)`.
        Raises InvalidArgument if `action` cannot be called with them.
        """
        _check(action, args, kwargs)
        self._compensations.append(functools.partial(action, *args, **kwargs))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        compensations, self._compensations = self._compensations, []
        if error is None or not compensations or not _is_failure(error):
            return
        undoing = asyncio.get_running_loop().create_task(_undo(compensations))
        cancellation = await _wait(undoing)
        failures = undoing.result()
        if failures:
            raise CompensationFailed(_told(failures, len(compensations)), failures) from error
        if cancellation is not None and isinstance(error, Exception):
            raise cancellation from error  # because whoever cancelled relies on it, as after any `finally`

    def __repr__(self) -> str:
        return f"<Saga: {len(self._compensations)} compensations>"


def _check(action: object, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    """Find mistakes when a compensation is registered, because they would hurt when it is needed."""
    if isinstance(action, (Activity, Workflow)):
        action.signature.check(args, kwargs)
    elif not callable(action):
        if inspect.iscoroutine(action):
            action.close()
        raise InvalidArgument(
            f"compensate takes a function and its arguments apart, not a {type(action).__name__}; "
            "write saga.compensate(release, order), without calling release"
        )


def _told(failures: list[Exception], of: int) -> str:
    each = "; ".join(f"{type(failure).__name__}: {failure}" for failure in failures)
    return f"{len(failures)} of {of} compensations failed, so undo by hand what they left: {each}"


def _is_failure(error: BaseException) -> bool:
    """Whether the steps are over in vain; not if the run goes on elsewhere, or is only being put away."""
    run = current_run()
    if run is not None and run.sealed:
        return False
    return isinstance(error, (Exception, asyncio.CancelledError))


async def _undo(compensations: list[functools.partial[object]]) -> list[Exception]:
    """Run all compensations, last one first; what those that failed raised."""
    failures: list[Exception] = []
    for compensate in reversed(compensations):
        try:
            result = compensate()
            if inspect.isawaitable(result):
                await result
        except asyncio.CancelledError:
            failures.append(RuntimeError(f"{compensate.func!r} was cancelled"))
        except Exception as error:  # noqa: BLE001 because the others have to run all the same
            failures.append(error)
    return failures


async def _wait(undoing: asyncio.Task[list[Exception]]) -> asyncio.CancelledError | None:
    """Wait until it is done, however often the waiter is cancelled; the first cancellation that tried."""
    first: asyncio.CancelledError | None = None
    while not undoing.done():
        try:
            await asyncio.wait({undoing})
        except asyncio.CancelledError as cancellation:
            first = first or cancellation
    return first
