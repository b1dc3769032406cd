"""Driving workflows from outside: the client, its handles, and the port to the engine behind them."""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar, overload

import msgspec

from perdure.clock import Clock, SystemClock, forks, to_datetime, to_microseconds
from perdure.codec import PLAIN, Payload, Writer, decode, encode, readable
from perdure.errors import (
    ForkedEngine,
    InstanceNotFound,
    InvalidArgument,
    NotInWorkflow,
    NotOpen,
    OutcomeError,
    PerdureError,
    WorkflowCancelled,
    WorkflowFailed,
    WorkflowTerminated,
)
from perdure.history.events import (
    AnyEvent,
    EventRaised,
    RunCancelRequested,
    RunResumed,
    RunSuspended,
    RunTerminated,
    UpdateAnswered,
    UpdateRequested,
)
from perdure.history.queued import QueueState
from perdure.history.state import Explanation, InstanceState
from perdure.history.streams import Selection, StreamPage
from perdure.history.work import StartOptions
from perdure.sdk.failures import to_exception, update_error
from perdure.sdk.loop import running_loop
from perdure.sdk.messages import ExternalEvent, Update, name_of
from perdure.sdk.options import (
    checked_count,
    checked_id,
    checked_moment,
    checked_name,
    checked_number,
    checked_tags,
    checked_text,
    start_options,
)
from perdure.sdk.queues import place
from perdure.sdk.streams import Source, StreamReader, StreamState, shown_stream
from perdure.stores.contract import Query, Status, Stream

if TYPE_CHECKING:
    from perdure.scheduler.schedule import Overlap
    from perdure.sdk.debugger import Coded, Debugger
    from perdure.sdk.schedule_state import ScheduleState
    from perdure.sdk.schedules import Schedule, Scheduling

A = TypeVar("A")
R = TypeVar("R")
T = TypeVar("T")
LIST_PAGE = 100
"""Instances that one page of `Client.list` reads."""
SWEEP_DAYS = 2
"""Offloaded payloads of younger days are never swept, because what refers to them may be about to be written."""
BATCH_CONCURRENCY = 32
"""How many instances a batch operation works on at once."""


class Gateway(Protocol):
    """What a client asks of an engine; the engine in this process fulfils it, or one behind a wire.

    `execution` pins a call to one execution; None means the newest.
    """

    @property
    def offloads(self) -> bool:
        """Whether payloads may lie in blobs, and so have to be swept."""

    async def start(self, name: str, input: Payload, options: StartOptions) -> tuple[str, str]:
        """Begin an instance; (instance id, execution id) when it is durable. Raises InstanceExists."""

    async def command(self, id: str, execution: str | None, event: Any, key: str) -> None:
        """Send a command or event; returns when it is durable. Raises InstanceNotFound, MailboxFull."""

    async def update(
        self, id: str, execution: str | None, event: UpdateRequested, is_repeatable: bool
    ) -> UpdateAnswered:
        """Send an update; its answer once that is durable. `is_repeatable`: the same key may have been sent before.

        Raises InstanceNotFound, MailboxFull, UpdateNotAnswered.
        """

    async def published(self, id: str, execution: str | None, name: str) -> Payload | None:
        """The state that the instance has set under a name. Raises InstanceNotFound."""

    async def streams(self, id: str, execution: str | None) -> list[Stream]:
        """The streams of the instance that have an item. Raises InstanceNotFound."""

    async def items(
        self, id: str, execution: str | None, selection: Selection, after: int, limit: int, wait: bool
    ) -> StreamPage:
        """Items of a stream with offset > after; if `wait`, once there is one, or the stream or instance has ended.

        Raises InstanceNotFound.
        """

    async def outcome(self, id: str, execution: str | None, timeout: float | None) -> InstanceState:
        """The finished instance, as soon as it is. Raises TimeoutError, InstanceNotFound."""

    async def state(self, id: str, execution: str | None) -> InstanceState:
        """Raises InstanceNotFound."""

    async def events(self, id: str, after: int, limit: int) -> tuple[list[Any], int | None]:
        """A page of history from segment `after` on, and where to go on (None: the end)."""

    async def find(self, query: Query, cursor: str | None, limit: int) -> tuple[list[InstanceState], str | None]:
        """A page of instances, newest first, without payloads."""

    async def purge(self, id: str, execution: str | None, recursive: bool) -> int:
        """Delete a finished instance; how many went. Raises InstanceNotFound, InstanceNotFinished."""

    async def rerun(
        self, id: str, from_event: int, new_id: str | None, input: Payload | None, replace_input: bool
    ) -> tuple[str, str]:
        """A new instance that keeps the history before event number `from_event`."""

    async def explain(self, id: str) -> Explanation:
        """Why it is not finished."""

    async def queues(self) -> list[QueueState]:
        """The queues in which something waits or runs, by name."""

    async def holder(self) -> str | None:
        """Which process runs the app, for people to read; None: nobody."""

    async def unreferenced(self, names: set[str]) -> set[str]:
        """Those of the names that stand nowhere in the store, whichever app's."""

    async def sweep(self, days: int) -> int:
        """Delete blobs that are `days` old or older and that nothing refers to; how many. Raises InvalidArgument."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of an instance as `Handle.state` and `Client.list` give it; values are decoded JSON."""

    id: str
    app: str
    name: str
    status: Status
    execution_id: str
    run: int
    created: datetime
    updated: datetime
    finished: datetime | None = None
    input: Any = None
    output: Any = None
    custom_status: Any = None
    failure: BaseException | None = None
    tags: dict[str, str] = {}
    parent: str | None = None
    suspended: Any = None
    stalled: Any = None
    version: str | None = None


class Handle(Generic[R]):
    """One instance. From `start` it is pinned to that execution; from `client.get` it means the newest."""

    def __init__(self, client: Client, id: str, execution: str | None, result_type: Any = Any) -> None:
        self.id = id
        self.execution_id = execution
        self._client = client
        self._type = result_type

    async def result(self, timeout: float | None = None) -> R:
        """What the workflow returned, as soon as it did.

        Raises WorkflowFailed (with the causes as `__cause__`), WorkflowCancelled or WorkflowTerminated; TimeoutError
        after `timeout` seconds, which the workflow does not notice.
        """
        if timeout is not None:
            checked_number("timeout", timeout, 0.0)
        state = await self._client.gateway.outcome(self.id, self.execution_id, timeout)
        if state.status == Status.COMPLETED:
            return decode(state.output, self._type)  # type: ignore[no-any-return]
        raise outcome_error(state)

    async def state(self) -> State:
        """Everything about the instance but its history. Raises InstanceNotFound."""
        return shown(await self._client.gateway.state(self.id, self.execution_id))

    @overload
    async def query(self, type: type[T], name: str = "state") -> T | None: ...
    @overload
    async def query(self, type: Any = Any, name: str = "state") -> Any: ...
    async def query(self, type: Any = Any, name: str = "state") -> Any:
        """What the workflow has set with `set_state` under `name`, as `type`; None if nothing yet.

        Read from the store: no worker needs to be up. Raises InstanceNotFound.
        """
        found = await self._client.gateway.published(self.id, self.execution_id, checked_name(name, "a state's name"))
        return None if found is None else decode(found, type)

    @overload
    async def update(
        self, update: Update[A, T], data: A, *, id: str | None = None, timeout: float | None = None
    ) -> T: ...
    @overload
    async def update(
        self, update: str, data: Any = None, *, id: str | None = None, timeout: float | None = None
    ) -> Any: ...
    async def update(
        self, update: Update[Any, Any] | str, data: Any = None, *, id: str | None = None, timeout: float | None = None
    ) -> Any:
        """Ask the workflow to do something and wait for its answer, which is durable then.

        `id` makes a repetition harmless: the same id is done once and answered alike. Raises UpdateRefused or
        UpdateFailed (with the cause as `__cause__`), UpdateNotAnswered, or TimeoutError after `timeout` seconds.
        """
        if timeout is not None:
            checked_number("timeout", timeout, 0.0)
        name, answer_type = (update, Any) if isinstance(update, str) else (update.name, update.answer_type)
        request = UpdateRequested(
            at=self._client.now(),
            key=f"update.{checked_id(id)}" if id is not None else self._client.fresh_key(),
            name=checked_name(name, "an update's name"),
            data=self._client.writer.encode(data),
        )
        async with asyncio.timeout(timeout):
            answer = await self._client.gateway.update(self.id, self.execution_id, request, id is not None)
        if answer.failure is not None:
            raise update_error(name, answer.failure, answer.refused)
        return decode(answer.result, answer_type)

    async def raise_event(self, name: str | ExternalEvent[Any], data: Any = None) -> None:
        """Send an external event; returns when it is durable. An instance that is finished ignores it."""
        name = name_of(name, "an event's name")
        await self._send(EventRaised(at=self._client.now(), name=name, data=self._client.writer.encode(data)))

    async def cancel(self, reason: str = "") -> None:
        """Deliver CancelledError to the workflow, so that its compensations run."""
        await self._send(RunCancelRequested(at=self._client.now(), reason=checked_text("reason", reason) or None))

    async def suspend(self, reason: str = "") -> None:
        """Hold the workflow's code until `resume`; events and results are kept."""
        await self._send(RunSuspended(at=self._client.now(), reason=encode(checked_text("reason", reason))))

    async def resume(self, reason: str = "") -> None:
        """Let the code go on; also tries a stalled instance again."""
        await self._send(RunResumed(at=self._client.now(), reason=encode(checked_text("reason", reason))))

    async def terminate(self, output: Any = None, recursive: bool = True) -> None:
        """End the instance at once, and its children if `recursive`. No code of it runs any more."""
        _flag("recursive", recursive)
        payload = self._client.writer.encode(output)
        await self._send(RunTerminated(at=self._client.now(), output=payload, recursive=recursive))

    async def purge(self, recursive: bool = True) -> int:
        """Delete the finished instance, and its finished children if `recursive`; how many went."""
        _flag("recursive", recursive)
        return await self._client.gateway.purge(self.id, self.execution_id, recursive)

    async def rerun(self, from_event: int, *, id: str | None = None, input: Any = msgspec.UNSET) -> Handle[R]:
        """A new instance that keeps the history before the action numbered `from_event` and runs on from there.

        `input` replaces the workflow's input. Raises EventNotRerunnable if there is no such action.
        """
        checked_count("from_event", from_event, 1)
        if id is not None:
            checked_id(id)
        replace = input is not msgspec.UNSET
        payload = self._client.writer.encode_arguments((input,), {}) if replace else None
        new_id, execution = await self._client.gateway.rerun(self.id, from_event, id, payload, replace)
        return Handle(self._client, new_id, execution, self._type)

    async def history(self) -> AsyncIterator[AnyEvent]:
        """The events of the current run, oldest first; their types are in `perdure.events`."""
        after: int | None = 0
        while after is not None:
            events, after = await self._client.gateway.events(self.id, after, LIST_PAGE)
            for event in events:
                yield event

    @overload
    def stream(
        self,
        source: Source[T],
        *,
        call: int | None = None,
        run: int | None = None,
        after: int = 0,
        follow: bool = True,
    ) -> StreamReader[T]: ...
    @overload
    def stream(
        self,
        source: str | None,
        type: type[T],
        *,
        call: int | None = None,
        run: int | None = None,
        after: int = 0,
        follow: bool = True,
    ) -> StreamReader[T]: ...
    @overload
    def stream(
        self,
        source: str | None = None,
        *,
        call: int | None = None,
        run: int | None = None,
        after: int = 0,
        follow: bool = True,
    ) -> StreamReader[Any]: ...
    def stream(
        self,
        source: Source[Any] | str | None = None,
        type: Any = None,
        *,
        call: int | None = None,
        run: int | None = None,
        after: int = 0,
        follow: bool = True,
    ) -> StreamReader[Any]:
        """The items that a call yields, with offset > `after`, until the call has ended and all are given.

        `source` is the activity or its name (None: any), of which the first call of the current run is meant; `call`
        and `run` mean another one. A stream that has not begun is waited for while the instance lives. `follow` False
        gives what is there. Read from the store: no worker needs to be up. Raises InstanceNotFound.
        """
        name: Any = getattr(source, "name", source)
        selection = Selection(
            name=checked_name(name, "an activity's name") if name is not None else None,
            run=checked_count("run", run, 1) if run is not None else None,
            number=checked_count("call", call, 1) if call is not None else None,
        )
        kind = getattr(source, "item_type", Any) if type is None else type
        offset = checked_count("after", after, 0)
        return StreamReader(self._gateway, self.id, self.execution_id, selection, offset, follow, kind)

    async def streams(self) -> list[StreamState]:
        """The streams of the instance that have an item, oldest first. Raises InstanceNotFound."""
        return [shown_stream(stream) for stream in await self._gateway().streams(self.id, self.execution_id)]

    def _gateway(self) -> Gateway:
        return self._client.gateway

    async def explain(self) -> Explanation:
        """Why the instance is not finished, since when, and what moves it."""
        return await self._client.gateway.explain(self.id)

    async def debug(self, app: Coded | None = None, *, at: int | None = None) -> Debugger:
        """Replay the current run here, in memory, and stop before its event `at`, from 1; else at the end.

        Nothing is written and no activity runs. `app` has the code; a handle of an app's own client needs none. Raises
        InvalidArgument, InstanceNotFound.
        """
        from perdure.sdk.debugger import Debugger  # because most programs debug nothing

        used = app if app is not None else self._client.app
        if used is None:
            raise InvalidArgument("this client has no code to replay; give the app: handle.debug(app)")
        return Debugger(used, [event async for event in self.history()], instance_id=self.id, at=at)

    async def _send(self, event: Any) -> None:
        await self._client.gateway.command(self.id, self.execution_id, event, self._client.fresh_key())

    def __repr__(self) -> str:
        return f"<Handle {self.id}>"


class UntypedWorkflow:
    """A workflow by its name, for programs that do not have its function."""

    def __init__(self, client: Client, name: str, options: StartOptions) -> None:
        self.name = name
        self._client = client
        self._options = options

    def with_options(self, **options: Any) -> UntypedWorkflow:
        """The options of `Workflow.with_options`."""
        defaults: dict[str, Any] = {
            "id": None,
            "at": None,
            "tags": None,
            "app_id": None,
            "if_exists": "raise",
            "run_timeout": None,
            "queue": None,
            "key": None,
            "priority": None,
            "dedup_key": None,
            "dedup_window": None,
            "debounce": None,
            "debounce_max": None,
        }
        unknown = set(options) - set(defaults)
        if unknown:
            raise InvalidArgument(f"unknown option {sorted(unknown)[0]!r}; there are {', '.join(defaults)}")
        given = {**defaults, **options}
        given["place"] = place(given.pop("queue"), given.pop("key"), given.pop("priority"), None)
        return UntypedWorkflow(self._client, self.name, start_options(**given))

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
    ) -> Scheduling[...]:
        """The workflow, to be started by a schedule; see `Workflow.with_schedule`."""
        from perdure.sdk.schedules import scheduling  # because schedules cost nothing where there are none

        return scheduling(
            id,
            self.name,
            self._options,
            cron=cron,
            every=every,
            timezone=timezone,
            start=start,
            end=end,
            overlap=overlap,
            jitter=jitter,
            catch_up=catch_up,
            if_exists=if_exists,
            encoded=self._client.writer.encode_arguments,
            client=lambda: self._client,
            declare=None,
        )

    async def start(self, *args: Any, **kwargs: Any) -> Handle[Any]:
        """Begin an instance; its handle once it is durable."""
        payload = self._client.writer.encode_arguments(args, kwargs)
        id, execution = await self._client.gateway.start(self.name, payload, self._options)
        return Handle(self._client, id, execution)


class Client:
    """Starts, finds and steers instances through a gateway."""

    def __init__(
        self, gateway: Gateway, clock: Clock | None = None, writer: Writer = PLAIN, app: Coded | None = None
    ) -> None:
        self._gateway = gateway
        self.app = app
        """Whose code runs here; None for a client from outside."""
        self.writer = writer
        self._clock = clock or SystemClock()
        self._forks = forks()
        self._loop = _get_running_loop()

    @property
    def gateway(self) -> Gateway:
        """What is behind this client.

        Raises ForkedEngine in a process that inherited it over fork(), NotInWorkflow in workflow code, and NotOpen on
        an event loop that it was not opened on.
        """
        gateway = self._gateway
        if forks() != self._forks:
            raise ForkedEngine(
                "this client was opened before a fork; open an app or client in the child process instead"
            )
        if _get_running_loop() is not self._loop:
            raise _misplaced()
        return gateway

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    def workflow(self, name: str) -> UntypedWorkflow:
        """The untyped twin of a workflow, by name."""
        return UntypedWorkflow(self, checked_name(name, "a workflow's name"), StartOptions())

    def get(self, id: str) -> Handle[Any]:
        """The handle of an existing instance, without I/O; it means the newest execution."""
        return Handle(self, checked_id(id), None)

    def get_schedule(self, id: str) -> Schedule:
        """The handle of a schedule, without I/O."""
        from perdure.sdk.schedules import Schedule  # because schedules cost nothing where there are none

        return Schedule(self, id)

    def schedules(self) -> AsyncIterator[ScheduleState]:
        """The schedules, newest first."""
        from perdure.sdk.schedules import listed

        return listed(self)

    async def list(
        self,
        *,
        name: str | None = None,
        status: str | Sequence[str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        finished_after: datetime | None = None,
        finished_before: datetime | None = None,
        tags: dict[str, str] | None = None,
        parent: str | None = None,
        text: str | None = None,
        suspended: bool | None = None,
        stalled: bool | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[State]:
        """Instances that meet all conditions, newest first; `limit` of them at most."""
        query = Query(
            name=_text("name", name),
            status=_statuses(status),
            created_after=_micros("created_after", created_after),
            created_before=_micros("created_before", created_before),
            finished_after=_micros("finished_after", finished_after),
            finished_before=_micros("finished_before", finished_before),
            tags=checked_tags(tags) if tags is not None else None,
            parent=_text("parent", parent),
            text=_text("text", text),
            suspended=_flag("suspended", suspended),
            stalled=_flag("stalled", stalled),
        )
        if limit is not None:
            checked_count("limit", limit, 0)
        cursor: str | None = None
        left = limit if limit is not None else -1
        while left != 0:
            page = LIST_PAGE if left < 0 else min(LIST_PAGE, left)
            states, cursor = await self.gateway.find(query, cursor, page)
            for state in states:
                yield shown(state)
            left -= len(states)
            if cursor is None:
                return

    async def terminate_all(self, output: Any = None, recursive: bool = True, **filters: Any) -> int:
        """Terminate the unfinished instances that `list` would give; how many."""
        return await self._each(lambda handle: handle.terminate(output, recursive), _UNFINISHED, filters)

    async def cancel_all(self, reason: str = "", **filters: Any) -> int:
        """Cancel the unfinished instances that `list` would give; how many."""
        return await self._each(lambda handle: handle.cancel(reason), _UNFINISHED, filters)

    async def suspend_all(self, reason: str = "", **filters: Any) -> int:
        """Suspend the unfinished instances that `list` would give; how many."""
        return await self._each(lambda handle: handle.suspend(reason), _UNFINISHED, filters)

    async def resume_all(self, reason: str = "", **filters: Any) -> int:
        """Resume the unfinished instances that `list` would give; how many."""
        return await self._each(lambda handle: handle.resume(reason), _UNFINISHED, filters)

    async def purge_all(self, recursive: bool = True, **filters: Any) -> int:
        """Purge the finished instances that `list` would give; how many, with their children.

        A client that offloads sweeps what they leave behind.
        """
        count = await self._each(lambda handle: handle.purge(recursive), _FINISHED, filters)
        if count and self.gateway.offloads:
            await self.gateway.sweep(SWEEP_DAYS)
        return count

    async def _each(self, work: Any, statuses: tuple[Status, ...], filters: dict[str, Any]) -> int:
        if filters.get("status") is None:
            filters["status"] = statuses
        ids = [state.id async for state in self.list(**filters)]
        gate = asyncio.Semaphore(BATCH_CONCURRENCY)

        async def one(id: str) -> int:
            async with gate:
                try:
                    count = await work(self.get(id))
                except InstanceNotFound:
                    return 0  # because a parent's recursive purge may have taken it along
                return count if isinstance(count, int) else 1

        return sum(await asyncio.gather(*(one(id) for id in ids)))

    async def sweep(self, *, days: int = SWEEP_DAYS) -> int:
        """Delete offloaded payloads that nothing refers to: of purged instances, and those that crashes left; how many.

        What is of younger days than `days` ago (UTC, at least 2) is left. It reads the whole store. Raises
        InvalidArgument without a codec that offloads.
        """
        return await self.gateway.sweep(checked_count("days", days, SWEEP_DAYS))

    async def queues(self) -> Sequence[QueueState]:
        """The queues in which something waits or runs, by name; read from the store, no worker needs to be up."""
        return await self.gateway.queues()

    async def holder(self) -> str | None:
        """Which process runs the app's workflows, for people to read; None: nobody does."""
        return await self.gateway.holder()

    def now(self) -> int:
        return self._clock.now()

    def fresh_key(self) -> str:
        """An id for a message, so that a repetition of it is noticed."""
        return self._clock.token()

    def __repr__(self) -> str:
        return f"<Client of {self.gateway!r}>"


def _misplaced() -> PerdureError:
    """Why a client cannot be used here, on a loop that is not its own."""
    if running_loop() is not None:
        return NotInWorkflow(
            "workflow code cannot use a client or a handle, whose answers are no part of its history; await the child "
            "workflow itself, wait for an external event, call perdure.raise_event, or use the client in an activity"
        )
    return NotOpen(
        "this client was opened on another event loop, and an engine runs on one; use it there "
        "(asyncio.run_coroutine_threadsafe from other threads), or open an app or client on this loop"
    )


_UNFINISHED = (Status.PENDING, Status.RUNNING)
_FINISHED = (Status.COMPLETED, Status.FAILED, Status.CANCELED, Status.TERMINATED)


def shown(state: InstanceState) -> State:
    """A snapshot with its payloads decoded."""
    return State(
        id=state.id,
        app=state.app,
        name=state.name,
        status=Status(state.status),
        execution_id=state.execution,
        run=state.generation,
        created=to_datetime(state.created),
        updated=to_datetime(state.updated),
        finished=to_datetime(state.finished) if state.finished is not None else None,
        input=readable(state.input),
        output=readable(state.output),
        custom_status=readable(state.custom_status),
        failure=outcome_error(state) if state.is_finished and state.status != Status.COMPLETED else None,
        tags=state.tags or {},
        parent=state.parent,
        suspended=state.suspended,
        stalled=state.stalled,
        version=state.version,
    )


def outcome_error(state: InstanceState) -> OutcomeError:
    """The error for an instance that finished without a result."""
    what = f"workflow {state.name} ({state.id})"
    if state.status == Status.CANCELED:
        return WorkflowCancelled(f"{what} was cancelled")
    if state.status == Status.TERMINATED:
        return WorkflowTerminated(f"{what} was terminated")
    failure = state.failure
    if failure is None:
        return WorkflowFailed(f"{what} failed")
    error = WorkflowFailed(f"{what} failed: {failure.type}: {failure.message}")
    error.__cause__ = to_exception(failure)
    return error


def _statuses(status: str | Sequence[str] | None) -> tuple[str, ...]:
    if status is None:
        return ()
    given = (status,) if isinstance(status, str) or not isinstance(status, Sequence) else tuple(status)
    for one in given:
        if not isinstance(one, str) or one.lower() not in set(Status):
            raise InvalidArgument(f"status {one!r} is none of {', '.join(Status)}")
    return tuple(one.lower() for one in given)


def _micros(what: str, at: datetime | None) -> int | None:
    return to_microseconds(checked_moment(what, at)) if at is not None else None


def _text(what: str, value: str | None) -> str | None:
    return checked_text(what, value) if value is not None else None


def _flag(what: str, value: bool | None) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise InvalidArgument(f"{what} is {value!r}; give True or False")
    return value
