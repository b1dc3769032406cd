"""Activities and workflows as their authors hold them: what the decorators make of a function."""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, Self, TypeVar

import msgspec

from perdure.codec import NOTHING, Payload, Signature, Writer
from perdure.errors import (
    AlreadyRegistered,
    InstanceExists,
    InvalidArgument,
    NotDecodable,
    NotDeterministic,
    NotInWorkflow,
    NotStarted,
    OnlyInWorkflow,
)
from perdure.history.actions import (
    CancelActivity,
    CancelChild,
    CreateChild,
    CreateDetached,
    RecordCode,
    ScheduleActivity,
)
from perdure.history.entities import hashed
from perdure.history.events import ActivityCompleted, ChildCompleted, RunStarted
from perdure.history.options import CallOptions, Limits
from perdure.history.work import StartOptions
from perdure.sdk.client import Client
from perdure.sdk.failures import activity_error, child_error
from perdure.sdk.fingerprint import fingerprint
from perdure.sdk.gateway import Gateway
from perdure.sdk.generator import drive
from perdure.sdk.handle import Handle
from perdure.sdk.messages import Update, checked_update
from perdure.sdk.options import Retry, call_options, checked_name, start_options
from perdure.sdk.outgoing import OUTGOING, Outgoing
from perdure.sdk.queues import Queue, place
from perdure.sdk.run import Run, calling_line, current_run
from perdure.sdk.streams import in_thread, item_type
from perdure.sdk.tracing import traced

if TYPE_CHECKING:
    from perdure.scheduler.schedule import Overlap
    from perdure.sdk.schedules import Scheduling

A = TypeVar("A")
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
RESERVED = "perdure."
"""What the names of built-in workflows begin with, and no others."""


class Home(Protocol):
    """The app that a definition belongs to."""

    @property
    def client(self) -> Client: ...
    @property
    def definitions(self) -> Definitions: ...
    @property
    def writer(self) -> Writer:
        """What makes payloads of values for it."""


class Activity(Generic[P, R]):
    """A function that does I/O; durable when a workflow awaits it, an ordinary call elsewhere."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        options: CallOptions,
        app_id: str | None = None,
        *,
        is_transaction: bool = False,
        has_stream: bool = False,
    ) -> None:
        functools.update_wrapper(self, function)
        self.name = name
        self.function = function
        self.options = options
        self.has_stream = has_stream
        self.app_id = app_id
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
        twin = _twin(self)
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


class Workflow(Generic[P, R]):
    """A durable function: `.start()` begins an instance, `await` inside another workflow calls it as a child."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        home: Home,
        options: StartOptions | None = None,
        *,
        version: str | None = None,
        latest: bool = False,
    ) -> None:
        functools.update_wrapper(self, function)
        self.name = name
        self.version = version
        self.is_marked = latest
        self.function = function
        self.home = home
        self.options = options or StartOptions()
        self.is_generator = inspect.isgeneratorfunction(function)
        self.signature = Signature(function, skip=1 if self.is_generator else 0)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        if current_run() is None:
            raise NotStarted(
                f"workflow {self.name} was called outside a workflow, where nothing would make it durable; write "
                f"`handle = await {self.name}.start(...)` and `await handle.result()`"
            )
        return self._call(args, kwargs, calling_line())

    def with_options(
        self,
        *,
        id: str | None = None,
        at: datetime | None = None,
        tags: dict[str, str] | None = None,
        app_id: str | None = None,
        if_exists: str | None = None,
        run_timeout: float | timedelta | None = None,
        queue: Queue | None = None,
        key: str | None = None,
        priority: int | None = None,
        dedup_key: str | None = None,
        dedup_window: float | timedelta | None = None,
        debounce: float | timedelta | None = None,
        debounce_max: float | timedelta | None = None,
    ) -> Workflow[P, R]:
        """The same workflow with options for the instances started or called through it; None keeps what was said.

        `id` of the instance; `at`: not before then; `tags` to find it by; `run_timeout` in seconds. `if_exists`:
        "raise" InstanceExists if an unfinished instance has the id (as if nothing is said), or "return" a handle of
        whichever has it, finished or not, so that a start may be repeated.

        In a `queue` it begins when it has a slot, by `key` and `priority`, and keeps it to its end. Starts of one
        `dedup_key` are one: within `dedup_window` seconds after the first, which they return; or with `debounce`
        seconds of quiet, after which one instance begins with the input of the last, `debounce_max` seconds after the
        first at the latest.
        """
        twin = _twin(self)
        where = place(queue, key, priority, self.options.place)
        twin.options = start_options(
            id,
            at,
            tags,
            app_id,
            if_exists,
            run_timeout,
            where,
            dedup_key,
            dedup_window,
            debounce,
            debounce_max,
            self.options,
        )
        return twin

    def with_schedule(
        self,
        id: str,
        *,
        cron: str | None = None,
        every: float | timedelta | None = None,
        timezone: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        overlap: Overlap = "skip",
        jitter: float | timedelta = 0.0,
        catch_up: float | timedelta | None = None,
        if_exists: str = "raise",
    ) -> Scheduling[P]:
        """This workflow, to be started by the schedule `id`: go on with `.create(...)` or `.declare(...)`.

        It ticks by `cron` (five fields, on the clocks of `timezone`, an IANA name; UTC if none is given) or `every` so
        many seconds, counted from `start` or from 1970 UTC; only in `start` <= tick < `end`. `overlap` says what
        becomes of a tick while a run is not finished: "skip" it; "queue" one; "allow" another run; "cancel" the old one
        and start when it has ended. `jitter`: a start is late by up to so many seconds. `catch_up`: a tick that could
        not be taken in time still starts its run if it is no more seconds late (default an hour; what is 10 s late is
        on time); what is later is counted as missed. `if_exists`: "raise" ScheduleExists, or "replace" what is there.
        Tags, run_timeout and queue of `with_options` apply to the runs. Raises InvalidArgument.
        """
        from perdure.sdk.schedules import scheduling  # because schedules cost nothing where there are none

        return scheduling(
            id,
            self.name,
            self.options,
            cron=cron,
            every=every,
            timezone=timezone,
            start=start,
            end=end,
            overlap=overlap,
            jitter=jitter,
            catch_up=catch_up,
            if_exists=if_exists,
            encoded=self._encoded,
            client=lambda: self.home.client,
            declare=self.home.definitions.declare,
        )

    def _encoded(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Payload:
        self.signature.check(args, kwargs)
        payload = self.home.writer.encode_arguments(args, kwargs)
        self.signature.verify(payload)
        return payload

    async def start(self, *args: P.args, **kwargs: P.kwargs) -> Handle[R]:
        """Begin an instance and return its handle once it is durable; inside a workflow, a detached child.

        In a method of an actor it begins when the method's turn is durable, and never if that fails.
        """
        self.signature.check(args, kwargs)
        run = current_run()
        outgoing = OUTGOING.get() if run is None else None
        if outgoing is not None:
            self._refuse_dedup()
            return self._start_with_turn(outgoing, self._encoded(args, kwargs))
        if run is None:
            client = self.home.client
            payload = client.writer.encode_arguments(args, kwargs)
            self.signature.verify(payload)  # because code that cannot read its input stalls, and its caller waits
            id, execution = await client.gateway.start(self.name, payload, traced(self.options))
            return Handle(client, id, execution, self.signature.result)
        self._refuse_dedup()
        return self._start_detached(run.encode_arguments(args, kwargs), calling_line())

    async def update_with_start(
        self, update: Update[A, T], data: A, *args: P.args, **kwargs: P.kwargs
    ) -> tuple[Handle[R], T]:
        """Begin the instance if it is not active, send it an update, and return its handle and the answer.

        Give the instance an id with `with_options(id=...)`; the workflow's own arguments follow the update's data. With
        `if_exists="return"` a finished instance is not begun again: its update raises UpdateNotAnswered, as does one
        whose instance ends before it answers.
        """
        if self.options.id is None:
            raise InvalidArgument(f"write {self.name}.with_options(id=...) to say which instance the update is for")
        checked_update(update)
        try:
            handle = await self.start(*args, **kwargs)
        except InstanceExists:
            twin = _twin(self)
            twin.options = msgspec.structs.replace(self.options, if_exists="return")
            handle = await twin.start(*args, **kwargs)
        return handle, await handle.update(update, data)

    def _start_with_turn(self, outgoing: Outgoing, payload: Payload) -> Handle[R]:
        instance = self.options.id or hashed(outgoing.next_request())
        outgoing.record(self._creation(instance, payload))
        return Handle(_LateClient(self.home), instance, None, self.signature.result)

    def _start_detached(self, payload: Payload, line: str | None) -> Handle[R]:
        run = current_run()
        assert run is not None
        number = run.next_number()
        instance = self.options.id or f"{run.identity.instance}:{run.identity.generation:x}.{number:x}d"
        run.record(self._creation(instance, payload, number, line))
        return Handle(_LateClient(self.home), instance, None, self.signature.result)

    def _creation(self, instance: str, payload: Payload, number: int = 0, line: str | None = None) -> CreateDetached:
        """What asks for an instance of its own; only a run numbers it, and knows the line."""
        options = self.options
        return CreateDetached(
            number=number,
            line=line,
            name=self.name,
            instance=instance,
            input=payload,
            app=options.app_id,
            tags=options.tags,
            scheduled=options.at,
            timeout=options.run_timeout,
            place=options.place,
        )

    async def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any], line: str | None) -> R:
        run = current_run()
        assert run is not None
        self.signature.check(args, kwargs)
        self._refuse_dedup()
        payload = run.encode_arguments(args, kwargs)
        options = self.options
        number = run.next_number()
        future = run.call(
            CreateChild(
                number=number,
                line=line,
                name=self.name,
                instance=options.id or "",
                input=payload,
                app=options.app_id,
                tags=options.tags,
                timeout=options.run_timeout,
                place=options.place,
            )
        )
        try:
            result = await future
        except asyncio.CancelledError:
            run.cancel_call(CancelChild(number=number))
            raise
        if type(result) is ChildCompleted:
            value: R = run.decode(result.result, self.signature.result)
            return value
        raise child_error(self.name, options.id or "", result.failure)

    def _refuse_dedup(self) -> None:
        if self.options.dedup_key is not None:
            raise NotInWorkflow("a start with a dedup_key asks the store; let an activity make it through the client")

    async def main(self, run: Run, event: RunStarted) -> Payload:
        """The code of `run`: the function on the arguments of `event`; the payload of what it returns."""
        value = await self._called(run, event.input)
        return NOTHING if value is None else run.encode(value)

    def _called(self, run: Run, input: Payload | None) -> Coroutine[Any, Any, R]:
        """The function, called; apart from `main`, which would keep the arguments for as long as the run lives."""
        try:
            args, kwargs = self.signature.decode(input)
        except NotDecodable as error:
            run.obstacle, run.misfit = error, (input, self.function)
            raise
        coroutine: Coroutine[Any, Any, R] = (
            drive(self.function, args) if self.is_generator else self.function(*args, **kwargs)
        )
        return coroutine

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes when the function or its module changes; names what stalled an instance."""
        return fingerprint(self.function)

    @functools.cached_property
    def record(self) -> RecordCode:
        """What a run records of the code that it begins with; made once, because every start records it."""
        return RecordCode(fingerprint=self.fingerprint, version=self.version)

    def __repr__(self) -> str:
        version = f" version {self.version}" if self.version is not None else ""
        return f"<perdure workflow {self.name}{version}>"


class _LateClient(Client):
    """The client of a definition's app, asked for when it is used, because a replay may have no engine at all."""

    def __init__(self, home: Home) -> None:
        self._home = home

    @property
    def gateway(self) -> Gateway:
        return self._home.client.gateway

    def now(self) -> int:
        return self._home.client.now()

    def fresh_key(self) -> str:
        return self._home.client.fresh_key()


class Definitions:
    """What an app has registered, by kind and name; of a workflow in several versions, `workflows` has the latest."""

    def __init__(self) -> None:
        self.activities: dict[str, Activity[..., Any]] = {}
        self.workflows: dict[str, Workflow[..., Any]] = {}
        self.versions: dict[str, dict[str | None, Workflow[..., Any]]] = {}
        self.schedules: dict[str, Any] = {}
        """Specifications of the schedules that are declared, by id."""
        self.actors: dict[str, Any] = {}
        """Classes of actors, by name."""
        self.subscriptions: dict[tuple[str, str], Any] = {}
        """Subscriptions that are declared, by topic and group."""
        self.queues: dict[str, Limits] = {}
        self.movable: set[str] = set()
        """Activities that any node may run for any other."""

    def add(self, definition: Activity[..., Any] | Workflow[..., Any]) -> None:
        """Raises AlreadyRegistered if another function has the name, and the version."""
        if definition.name.startswith(RESERVED):
            raise InvalidArgument(
                f"the name {definition.name!r} begins with {RESERVED!r}, which is kept for Perdure's own"
            )
        where = definition.options.place
        if where is not None and self.queues.setdefault(where.queue, where.limits) != where.limits:
            raise AlreadyRegistered(f"queue {where.queue!r} has two sets of limits; give both places the same Queue")
        if isinstance(definition, Activity):
            _add(self.activities, definition.name, definition)
            if not (definition.is_transaction or definition.has_stream):
                self.movable.add(definition.name)
            return
        versions = self.versions.setdefault(definition.name, {})
        _add(versions, definition.version, definition)
        self.workflows[definition.name] = _latest(versions)

    def workflow(self, name: str, version: str | None, *, is_new: bool) -> Workflow[..., Any] | None:
        """The code for a run of that version; a new run that names none takes the latest."""
        if version is None and is_new:
            return self.workflows.get(name)
        return self.versions.get(name, {}).get(version)

    def include(self, other: Definitions) -> Self:
        for activity in other.activities.values():
            self.add(activity)
        for versions in other.versions.values():
            for workflow in versions.values():
                self.add(workflow)
        for id, spec in other.schedules.items():
            self.declare(id, spec)
        for actor in other.actors.values():
            self.add_actor(actor)
        for subscription in other.subscriptions.values():
            self.subscribe(subscription)
        return self

    def add_actor(self, actor: Any) -> None:
        """Raises AlreadyRegistered if another class has the name."""
        if self.actors.setdefault(actor.name, actor) is not actor:
            raise AlreadyRegistered(f"actor {actor.name!r} is registered twice; give one another name with name=...")

    def subscribe(self, subscription: Any) -> None:
        """Keep a subscription. Raises AlreadyRegistered if its group subscribes to the topic already."""
        place = subscription.topic, subscription.group
        if self.subscriptions.setdefault(place, subscription) is not subscription:
            raise AlreadyRegistered(
                f"group {subscription.group!r} subscribes to {subscription.topic!r} twice; give one of them another "
                "name with group=..."
            )

    def declare(self, id: str, spec: Any) -> None:
        """Keep the specification of a schedule. Raises AlreadyRegistered if it is declared in another way."""
        if self.schedules.setdefault(id, spec) is not spec:
            raise AlreadyRegistered(f"schedule {id!r} is declared twice; give one of them another id")


def definition_name(function: Callable[..., Any], name: str | None) -> str:
    """The name to register a function under: the given one, else its own. Raises InvalidArgument if it has none."""
    if name is not None:
        return checked_name(name)
    own = getattr(function, "__name__", "<none>")
    if own.startswith("<"):
        raise InvalidArgument(f"{function!r} has no name of its own; give it one with name=...")
    return checked_name(own)


def _add(table: dict[Any, Any], key: str | None, definition: Activity[..., Any] | Workflow[..., Any]) -> None:
    present = table.get(key)
    if present is not None and present.function is not definition.function:
        places = f"{_place(present.function)} and {_place(definition.function)}"
        remedy = "give one of them another name with name=..."
        if isinstance(definition, Workflow):
            remedy += ", or another version with version=..."
        raise AlreadyRegistered(f"{definition.name!r} is registered twice, at {places}; {remedy}")
    table[key] = definition


def _latest(versions: dict[str | None, Workflow[..., Any]]) -> Workflow[..., Any]:
    marked = [workflow for workflow in versions.values() if workflow.is_marked]
    if len(marked) > 1:
        raise AlreadyRegistered(
            f"versions {' and '.join(repr(each.version) for each in marked)} of {marked[0].name!r} are both registered "
            "with latest=True; mark one"
        )
    return marked[0] if marked else versions[max(versions, key=version_order)]


def version_order(version: str | None) -> list[tuple[bool, int, str]]:
    """Sorts versions by their parts, numbers as numbers: none, "1", "1.5", "1.10", "2", "10", "2024-05-01"."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in _PARTS.findall(version or "")]


_PARTS = re.compile(r"[0-9]+|[^0-9]+")


def check_activity_function(function: Callable[..., Any]) -> None:
    """Raise what makes a function unfit to be an activity."""
    if isinstance(function, (Activity, Workflow)):
        raise InvalidArgument(f"{function.name} is registered already; decorate the function itself, once")
    if inspect.isclass(function) or (callable(function) and inspect.iscoroutinefunction(type(function).__call__)):
        raise InvalidArgument(f"{function!r} is no function; write a `def` or `async def` that uses it")
    if not callable(function):
        raise InvalidArgument(f"{function!r} must be a function, `def` or `async def`, to be an activity")


def activity_of(
    function: Callable[..., Any], name: str, options: CallOptions, *, has_stream: bool = False
) -> Activity[..., Any]:
    """What a function becomes: one that yields has a stream, and so has one that was said to put items on it."""
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        return StreamActivity(function, name, options)
    if has_stream and not inspect.iscoroutinefunction(function):
        raise InvalidArgument(f"activity {name} is a plain `def`, which cannot await room on its stream; yield instead")
    return Activity(function, name, options, has_stream=has_stream)


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
    from perdure.sdk.determinism import (
        check_function,  # because `ast` is slow to import and clients define nothing
    )

    findings = check_function(function)
    if findings:
        raise NotDeterministic("workflow code must be repeatable: " + "; ".join(str(finding) for finding in findings))


D = TypeVar("D")


def _twin(definition: D) -> D:
    """A copy that shares everything, because going through __init__ would read the function's signature anew."""
    twin = object.__new__(type(definition))
    twin.__dict__.update(definition.__dict__)
    return twin


def _place(function: Callable[..., Any]) -> str:
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else repr(function)
