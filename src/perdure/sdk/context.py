"""What workflow and activity code may ask of the engine around it."""

from __future__ import annotations

import contextvars
import logging
import random as _random
import uuid as _uuid
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar, overload

from perdure.clock import to_datetime
from perdure.codec import Payload, Writer, decode, example_of
from perdure.errors import InvalidArgument, OnlyInWorkflow
from perdure.history.actions import SendEvent
from perdure.history.work import Attempt, Outlet
from perdure.sdk.messages import ExternalEvent, Update, argument_type, checked_update, name_of
from perdure.sdk.options import checked_id, checked_name
from perdure.sdk.run import Run, calling_line, current_run, require_run
from perdure.sdk.updates import Handler

A = TypeVar("A")
F = TypeVar("F")
R = TypeVar("R")
T = TypeVar("T")


def now() -> datetime:
    """The current time, aware, in UTC; inside a workflow the time of the turn, the same in every replay."""
    run = current_run()
    return to_datetime(run.now) if run is not None else datetime.now(UTC)


def random() -> _random.Random:
    """A source of random numbers; inside a workflow one that repeats in every replay."""
    run = current_run()
    return run.random() if run is not None else _ORDINARY


_ORDINARY = _random.Random()


def uuid4() -> _uuid.UUID:
    """A random UUID; inside a workflow one that repeats in every replay."""
    run = current_run()
    return run.uuid4() if run is not None else _uuid.uuid4()


@overload
async def wait_for_event(name: ExternalEvent[T]) -> T: ...
@overload
async def wait_for_event(name: str) -> Any: ...
@overload
async def wait_for_event(name: str, type: type[T]) -> T: ...
@overload
async def wait_for_event(name: str, type: Any) -> Any: ...
async def wait_for_event(name: str | ExternalEvent[Any], type: Any = Any) -> Any:
    """The data, as `type`, of the next external event called `name` (case does not matter), oldest first.

    Bound the wait with `asyncio.timeout`.
    """
    run = require_run("wait_for_event")
    expected = name.data_type if isinstance(name, ExternalEvent) else type
    heard = await run.next_event(name_of(name, "an event's name"), calling_line(), example_of(expected))
    return run.decode(heard, expected)


def set_status(status: Any) -> None:
    """Publish a value that `Handle.state` shows while the workflow runs, and after."""
    run = require_run("set_status")
    run.set_status(run.encode(status))


def set_state(state: Any, name: str = "state") -> None:
    """Publish what `Handle.query` answers from now on, while the workflow runs and after; a name for each of several.

    It is stored with the turn, and the newest counts, also when the workflow has continued as new.
    """
    run = require_run("set_state")
    run.publish_state(checked_name(name, "a state's name"), run.encode(state))


Decorator = Callable[[F], F]


@overload
def on_update(
    update: Update[A, R], *, validator: Callable[[A], Any] | None = None
) -> Decorator[Callable[[A], Awaitable[R] | R]]: ...
@overload
def on_update(update: str, *, validator: Callable[[Any], Any] | None = None) -> Decorator[Callable[[Any], Any]]: ...
def on_update(update: Update[Any, Any] | str, *, validator: Callable[[Any], Any] | None = None) -> Decorator[Any]:
    """Let the decorated function, `def` or `async def`, answer the updates of that name from here on.

    It is given the update's data, works as part of the workflow, and what it returns or raises is the answer. Those
    that came early are answered first. `validator` may refuse by raising before anything is written: it only looks.
    """
    run = require_run("on_update")
    name, _ = checked_update(update)

    def register(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        data_type = update.data_type if isinstance(update, Update) else argument_type(function)
        run.updates().handle(Handler(name, function, validator, data_type))
        return function

    return register


def patched(name: str) -> bool:
    """Whether this run takes the new side of a change of its code: `if patched("ship-first"): new() else: old()`.

    True for runs that come here for the first time, which is recorded once with the run; False for those whose history
    was past this point before the change. Asked again, a run gets the same answer. A continued generation is a new run.
    """
    run = require_run("patched")
    return run.patched(checked_name(name, "the name of a patch"))


def continue_as_new(*args: Any, keep_events: bool = False, **kwargs: Any) -> NoReturn:
    """End this run and start the workflow afresh with these arguments, under the same id and with an empty history.

    `keep_events` carries external events over that no code has taken.
    """
    run = require_run("continue_as_new")
    run.continue_as_new(run.encode_arguments(args, kwargs), keep_events)


def raise_event(
    instance_id: str, name: str | ExternalEvent[Any], data: Any = None, *, app_id: str | None = None
) -> None:
    """Raise an external event on another instance, from workflow code; durable with the turn.

    An instance that does not exist or is finished drops it. Elsewhere use `Handle.raise_event`.
    """
    run = require_run("raise_event")
    checked_id(instance_id)
    name = name_of(name, "an event's name")
    payload = run.encode(data)
    run.record(
        SendEvent(
            number=run.next_number(), instance=instance_id, name=name, data=payload, app=app_id, line=calling_line()
        )
    )


class WorkflowInfo:
    """The run whose code is asking."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @property
    def app_id(self) -> str:
        return self._run.identity.app

    @property
    def instance_id(self) -> str:
        return self._run.identity.instance

    @property
    def execution_id(self) -> str:
        return self._run.identity.execution

    @property
    def run(self) -> int:
        """Which generation of the instance this is, from 1."""
        return self._run.identity.generation

    @property
    def name(self) -> str:
        return self._run.identity.name

    @property
    def parent_id(self) -> str | None:
        return self._run.identity.parent

    @property
    def tags(self) -> dict[str, str]:
        return dict(self._run.identity.tags or {})

    @property
    def tick(self) -> datetime | None:
        """The tick of the schedule that this run is for, in UTC; None if it is for none."""
        text = self.tags.get("perdure.tick")
        return datetime.fromisoformat(text) if text is not None else None

    @property
    def started(self) -> datetime:
        return to_datetime(self._run.identity.started)

    @property
    def is_replaying(self) -> bool:
        """Whether the code does again what it has done before, or is put away: nobody is to be told of it."""
        return self._run.replaying or self._run.sealed

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that says each line once, however often the run is replayed, with instance and run in `extra`."""
        return _ReplaySafe(self._run)

    def __repr__(self) -> str:
        return f"<workflow {self.name} {self.instance_id} run {self.run}>"


def workflow_context() -> WorkflowInfo:
    """The run whose code is asking. Raises OnlyInWorkflow elsewhere."""
    return WorkflowInfo(require_run("workflow_context"))


class _ReplaySafe(logging.LoggerAdapter[logging.Logger]):
    def __init__(self, run: Run) -> None:
        identity = run.identity
        ids = {
            "app": identity.app,
            "instance": identity.instance,
            "run": identity.generation,
            "workflow": identity.name,
        }
        super().__init__(logging.getLogger(f"perdure.workflow.{identity.name}"), ids)
        self._run = run

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 because logging calls it so
        return not self._run.replaying and not self._run.sealed and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


class ActivityInfo:
    """The attempt whose code is asking."""

    __slots__ = ("_asked", "_cancelled", "_work", "_writer", "beat", "is_keyed", "outlet")

    def __init__(self, work: Attempt, beat: Callable[[Payload | None], None], writer: Writer) -> None:
        self.beat = beat
        self.outlet: Outlet | None = None
        self._work = work
        self._writer = writer
        self._cancelled = False
        self._asked: dict[str, int] = {}
        self.is_keyed = False
        """Whether the attempt has asked for its idempotency key, and so made a repetition harmless where it went."""

    @property
    def app_id(self) -> str:
        return self._work.app

    @property
    def instance_id(self) -> str:
        """Of the workflow that called."""
        return self._work.instance

    @property
    def name(self) -> str:
        return self._work.name

    @property
    def attempt(self) -> int:
        """1 for the first attempt."""
        return self._work.attempt

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this call: send it on to make a repetition harmless."""
        self.is_keyed = True
        return self._work.key

    def request_of(self, what: str) -> str:
        """The name of a request that the attempt makes of others: the same in each attempt of the call, if it asks as
        often for the same before."""
        self._asked[what] = count = self._asked.get(what, 0) + 1
        return f"{self._work.key}/{what}.{count}"

    def heartbeat(self, details: Any = None) -> None:
        """Say that the attempt is alive; `details` reach the next attempt if this one fails. Any thread may call it."""
        self.beat(self._writer.encode(details) if details is not None else None)

    def last_details(self, type: Any = Any) -> Any:
        """The details of the newest heartbeat of an earlier attempt, None if there was none."""
        details = self._work.details
        return decode(details, type) if details is not None else None

    async def put(self, item: Any) -> None:
        """Put an item on the call's stream, where `Handle.stream` reads it as soon as it is durable.

        For activities made with `stream=True`, whose items stand beside their result; others `yield`. Returns when
        there is room for another, and is a sign of life. Raises InvalidArgument, StreamTooLong, StreamRefused.
        """
        if self.outlet is None:
            raise InvalidArgument(f"activity {self.name} has no stream; make it with @app.activity(stream=True)")
        self.beat(None)
        await self.outlet.put(self._writer.encode(item))

    @property
    def stream_offset(self) -> int:
        """How many items of this call's stream are durable, from all its attempts; 0 where nothing is yielded."""
        return self.outlet.offset if self.outlet is not None else 0

    def last_item(self, type: Any = Any) -> Any:
        """The newest durable item of this call's stream, None if there is none."""
        last = self.outlet.last if self.outlet is not None else None
        return decode(last, type) if last is not None else None

    @property
    def is_cancelled(self) -> bool:
        """Whether the workflow no longer wants the result; a thread has to ask, a coroutine gets CancelledError."""
        return self._cancelled

    def cancel(self) -> None:
        """Called by the worker."""
        self._cancelled = True

    @property
    def run(self) -> int:
        """Of the workflow: which generation of it called, from 1."""
        return self._work.generation

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines tell app, instance, run and attempt."""
        return logging.LoggerAdapter(logging.getLogger(f"perdure.activity.{self.name}"), self.log_fields)

    @property
    def traceparent(self) -> str | None:
        """The span of the call, as W3C writes it in headers; None if the workflow is not traced."""
        label = self._work.label
        return label.trace.parent if label is not None and label.trace is not None else None

    @property
    def log_fields(self) -> dict[str, object]:
        """What a log line is told of the attempt."""
        work = self._work
        return {
            "app": work.app,
            "instance": work.instance,
            "run": work.generation,
            "activity": work.name,
            "attempt": work.attempt,
        }

    def __repr__(self) -> str:
        return f"<activity {self.name} attempt {self.attempt} for {self.instance_id}>"


ATTEMPT: contextvars.ContextVar[ActivityInfo] = contextvars.ContextVar("perdure_attempt")


def activity_context() -> ActivityInfo:
    """The attempt whose code is asking. Raises OnlyInWorkflow elsewhere."""
    try:
        return ATTEMPT.get()
    except LookupError:
        raise OnlyInWorkflow("activity_context works only inside an activity that a workflow called") from None
