"""An activity as its author holds it: what the decorators make of a function that does I/O."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine
from datetime import timedelta
from typing import Any, Generic, ParamSpec, Self, TypeVar

from perdure.codec import Signature
from perdure.errors import InvalidArgument, OnlyInWorkflow
from perdure.history.actions import CancelActivity, ScheduleActivity
from perdure.history.events import ActivityCompleted
from perdure.history.options import CallOptions
from perdure.sdk.failures import activity_error
from perdure.sdk.options import Retry, call_options, checked_name
from perdure.sdk.queues import Queue, place
from perdure.sdk.run import calling_line, current_run
from perdure.sdk.streams import in_thread, item_type

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Activity(Generic[P, R]):
    """A function that does I/O; durable when a workflow awaits it, an ordinary call elsewhere."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        options: CallOptions,
        *,
        is_transaction: bool = False,
        has_stream: bool = False,
    ) -> None:
        functools.update_wrapper(self, function)
        self.name = name
        self.function = function
        self.options = options
        self.has_stream = has_stream
        self.app_id: str | None = None
        self.is_async = inspect.iscoroutinefunction(function)
        self.is_transaction = is_transaction
        self.signature = Signature(function, skip=1 if is_transaction else 0)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        if current_run() is None:
            return self._run_here(args, kwargs)
        return self._call(args, kwargs, calling_line())

    def with_options(
        self,
        *,
        retry: Retry | None = None,
        timeout: float | timedelta | None = None,
        heartbeat_timeout: float | timedelta | None = None,
        app_id: str | None = None,
        queue: Queue | None = None,
        key: str | None = None,
        priority: int | None = None,
    ) -> Self:
        """The same activity with other options for the calls made through it; None keeps what the decorator says.

        In a `queue` a call waits for a slot; those of one `key` share what the queue has for a key and take turns with
        others, and a higher `priority` goes first.
        """
        twin = copy.copy(self)
        where = place(queue, key, priority, self.options.place)
        twin.options = call_options(retry, timeout, heartbeat_timeout, self.options, where)
        twin.app_id = checked_name(app_id, "app_id") if app_id is not None else self.app_id
        return twin

    async def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any], line: str | None) -> R:
        run = current_run()
        assert run is not None
        self.signature.check(args, kwargs)
        payload = run.encode_arguments(args, kwargs)
        del args, kwargs  # because they are stored now, and a call may be open for long
        number = run.next_number()
        future = run.call(
            ScheduleActivity(
                number=number, line=line, name=self.name, input=payload, app=self.app_id, options=self.options
            )
        )
        try:
            result = await future
        except asyncio.CancelledError:
            run.cancel_call(CancelActivity(number=number))
            raise
        if type(result) is ActivityCompleted:
            value: R = run.decode(result.result, self._result_type)
            return value
        raise activity_error(self.name, result.failure, result.attempt, result.timed_out)

    @property
    def _result_type(self) -> Any:
        return self.signature.result

    async def _run_here(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        if self.is_transaction:
            raise OnlyInWorkflow(
                f"transaction {self.name} happens in a workflow; a test calls {self.name}.function(db, ...)"
            )
        if self.is_async:
            return await self.function(*args, **kwargs)  # type: ignore[no-any-return]
        return await asyncio.to_thread(self.function, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<perdure activity {self.name}>"


class StreamActivity(Activity[P, int], Generic[P, T]):
    """An activity that yields: a generator function, `async def` or `def`. Its items are durable one by one.

    `await` gives how many items its stream has; `Handle.stream` reads them.
    """

    def __init__(self, function: Callable[..., Any], name: str, options: CallOptions) -> None:
        super().__init__(function, name, options, has_stream=True)
        self.is_async = inspect.isasyncgenfunction(function)

    @property
    def item_type(self) -> type[T]:
        """What it is annotated to yield, or Any."""
        return item_type(self.function)  # type: ignore[no-any-return]

    @property
    def _result_type(self) -> Any:
        return int

    def open(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncGenerator[Any]:
        """A run of the function, at its beginning."""
        items: AsyncGenerator[Any] = (
            self.function(*args, **kwargs) if self.is_async else in_thread(self.function, args, kwargs)
        )
        return items

    async def _run_here(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        return sum([1 async for _ in self.open(args, kwargs)])


def activity_of(
    function: Callable[..., Any], name: str, options: CallOptions, *, has_stream: bool = False
) -> Activity[..., Any]:
    """What a function becomes: one that yields has a stream, and so has one that was said to put items on it."""
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        return StreamActivity(function, name, options)
    if has_stream and not inspect.iscoroutinefunction(function):
        raise InvalidArgument(f"activity {name} is a plain `def`, which cannot await room on its stream; yield instead")
    return Activity(function, name, options, has_stream=has_stream)
