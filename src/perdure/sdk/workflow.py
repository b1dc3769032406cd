"""A workflow as its author holds it: what the decorator makes of a durable function."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

import msgspec

from perdure.codec import NOTHING, Payload, Signature
from perdure.errors import InstanceExists, InvalidArgument, NotDecodable, NotInWorkflow, NotStarted
from perdure.history.actions import CancelChild, CreateChild, CreateDetached, RecordCode
from perdure.history.entities import hashed
from perdure.history.events import ChildCompleted, RunStarted
from perdure.history.work import StartOptions
from perdure.sdk.client import Client
from perdure.sdk.failures import child_error
from perdure.sdk.fingerprint import fingerprint
from perdure.sdk.gateway import Gateway
from perdure.sdk.generator import drive
from perdure.sdk.handle import Handle
from perdure.sdk.home import Home
from perdure.sdk.messages import Update, checked_update
from perdure.sdk.options import start_options
from perdure.sdk.outgoing import OUTGOING, Outgoing
from perdure.sdk.queues import Queue, place
from perdure.sdk.run import Run, calling_line, current_run
from perdure.sdk.tracing import traced

if TYPE_CHECKING:
    from perdure.scheduler.schedule import Overlap
    from perdure.sdk.schedules import Scheduling

A = TypeVar("A")
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


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
        twin = copy.copy(self)
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
            twin = copy.copy(self)
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
