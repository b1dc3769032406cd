"""Dapr's generator style on the same machinery: `yield` a task, get its result, with Dapr's method names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Sequence
from datetime import datetime, timedelta
from typing import Any

from perdure.clock import to_datetime, to_microseconds
from perdure.codec import decode
from perdure.errors import InvalidArgument
from perdure.history.actions import CancelActivity, CancelChild, CreateChild, ScheduleActivity
from perdure.history.events import ActivityCompleted, ChildCompleted
from perdure.sdk.failures import activity_error, child_error
from perdure.sdk.leaving import Sealed
from perdure.sdk.options import checked_moment, checked_name
from perdure.sdk.run import Run, calling_line, require_run


class DurableTask:
    """Something to `yield`: started when it was made, as in Dapr, whether anybody waits for it or not."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        if require_run("a durable task").sealed:
            coroutine.close()
            raise Sealed
        self.task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(coroutine)
        self.task.add_done_callback(_retrieve)

    @property
    def is_complete(self) -> bool:
        return self.task.done()

    @property
    def is_failed(self) -> bool:
        return self.task.done() and not self.task.cancelled() and self.task.exception() is not None

    def get_result(self) -> Any:
        return self.task.result()

    def get_exception(self) -> BaseException | None:
        return self.task.exception()


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Look at the outcome, because a failure nobody yields is not an error in this style."""
    if not task.cancelled():
        task.exception()


class WorkflowContext:
    """What a generator workflow is given as its first argument."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @property
    def instance_id(self) -> str:
        return self._run.identity.instance

    @property
    def workflow_name(self) -> str:
        return self._run.identity.name

    @property
    def is_replaying(self) -> bool:
        return self._run.replaying or self._run.sealed

    @property
    def current_utc_datetime(self) -> datetime:
        """The turn's time, naive UTC as Dapr gives it."""
        return to_datetime(self._run.now).replace(tzinfo=None)

    def call_activity(
        self,
        activity: Callable[..., Any] | str,
        *,
        input: Any = None,
        retry_policy: Any = None,
        app_id: str | None = None,
    ) -> DurableTask:
        return DurableTask(_activity(self._run, activity, input, retry_policy, app_id, calling_line()))

    def call_child_workflow(
        self,
        workflow: Callable[..., Any] | str,
        *,
        input: Any = None,
        instance_id: str | None = None,
        app_id: str | None = None,
    ) -> DurableTask:
        return DurableTask(_child(self._run, workflow, input, instance_id, app_id, calling_line()))

    def create_timer(self, fire_at: datetime | timedelta) -> DurableTask:
        """Wait until a time (naive: UTC) or for a while."""
        if isinstance(fire_at, timedelta):
            seconds = fire_at.total_seconds()
        else:
            moment = checked_moment("fire_at", fire_at, "a datetime, or a timedelta from now")
            seconds = (to_microseconds(moment) - self._run.now) / 1_000_000
        return DurableTask(asyncio.sleep(max(0.0, seconds)))

    def wait_for_external_event(self, name: str, *, timeout: float | timedelta | None = None) -> DurableTask:
        """The next event of that name; TimeoutError after `timeout` seconds."""
        checked_name(name, "an event's name")
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        return DurableTask(_event(self._run, name, seconds, calling_line()))

    def is_patched(self, name: str) -> bool:
        """Whether this run takes the new side of a change of its code; `perdure.patched` in Dapr's words."""
        return self._run.patched(checked_name(name, "the name of a patch"))

    def continue_as_new(self, new_input: Any, *, save_events: bool = False) -> None:
        self._run.continue_as_new(self._run.encode(new_input), save_events)

    def set_custom_status(self, custom_status: Any) -> None:
        self._run.set_status(self._run.encode(custom_status))


def when_all(tasks: Sequence[DurableTask]) -> DurableTask:
    """All results in order; fails with the first failure."""
    return DurableTask(_gather(_checked(tasks)))


def when_any(tasks: Sequence[DurableTask]) -> DurableTask:
    """The task that is done first."""
    return DurableTask(_first(_checked(tasks)))


async def drive(function: Callable[..., Generator[Any, Any, Any]], args: tuple[Any, ...]) -> Any:
    """Run a generator workflow to its end; what it returns."""
    generator = function(
        WorkflowContext(require_run("a generator workflow")), *(args or (None,) * _wants_input(function))
    )
    send: Callable[[Any], Any] = generator.send
    value: Any = None
    while True:
        try:
            task = send(value)
        except StopIteration as stop:
            return stop.value
        try:
            value = await _checked([task])[0].task
            send = generator.send
        except Exception as error:  # noqa: BLE001 because the generator is to see every error
            value = error
            send = generator.throw
        except (asyncio.CancelledError, Sealed) as error:
            value = error
            send = generator.throw


def _wants_input(function: Callable[..., Any]) -> int:
    """1 if the function takes an input without a default besides its context."""
    code = function.__code__
    return 1 if code.co_argcount - len(function.__defaults__ or ()) > 1 else 0


def _checked(tasks: Sequence[Any]) -> list[DurableTask]:
    for task in tasks:
        if not isinstance(task, DurableTask):
            raise InvalidArgument(
                "a generator workflow can only yield tasks made by its context, when_all or when_any, "
                f"not {type(task).__name__}"
            )
    return list(tasks)


async def _gather(tasks: list[DurableTask]) -> list[Any]:
    return list(await asyncio.gather(*(task.task for task in tasks)))


async def _first(tasks: list[DurableTask]) -> DurableTask:
    await asyncio.wait([task.task for task in tasks], return_when=asyncio.FIRST_COMPLETED)
    return next(task for task in tasks if task.is_complete)


async def _event(run: Run, name: str, seconds: float | None, line: str | None) -> Any:
    if seconds is None or seconds < 0:
        return decode(await run.next_event(name, line))
    async with asyncio.timeout(seconds):
        return decode(await run.next_event(name, line))


async def _activity(
    run: Run, activity: Any, input: Any, retry_policy: Any, app_id: str | None, line: str | None
) -> Any:
    if retry_policy is not None:
        activity = activity.with_options(retry=retry_policy)
    options = {"options": activity.options} if hasattr(activity, "options") else {}
    payload = run.encode_arguments((input,) if input is not None else (), {})
    name = _name(activity)
    number = run.next_number()
    app = app_id or getattr(activity, "app_id", None)
    future = run.call(ScheduleActivity(number=number, line=line, name=name, input=payload, app=app, **options))
    try:
        result = await future
    except asyncio.CancelledError:
        run.cancel_call(CancelActivity(number=number))
        raise
    if isinstance(result, ActivityCompleted):
        return run.decode(result.result, activity.signature.result if hasattr(activity, "signature") else Any)
    raise activity_error(name, result.failure, result.attempt, result.timed_out)


async def _child(
    run: Run, workflow: Any, input: Any, instance: str | None, app_id: str | None, line: str | None
) -> Any:
    payload = run.encode_arguments((input,) if input is not None else (), {})
    name = _name(workflow)
    number = run.next_number()
    future = run.call(
        CreateChild(number=number, line=line, name=name, instance=instance or "", input=payload, app=app_id)
    )
    try:
        result = await future
    except asyncio.CancelledError:
        run.cancel_call(CancelChild(number=number))
        raise
    if isinstance(result, ChildCompleted):
        return run.decode(result.result, workflow.signature.result if hasattr(workflow, "signature") else Any)
    raise child_error(name, instance or "", result.failure)


def _name(definition: Any) -> str:
    if isinstance(definition, str):
        return definition
    return getattr(definition, "name", None) or definition.__name__  # type: ignore[no-any-return]
