"""A handle: one instance as programs outside hold it, to wait for, ask and steer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import msgspec

from perdure.codec import decode, encode
from perdure.errors import InvalidArgument
from perdure.history.events import (
    AnyEvent,
    EventRaised,
    RunCancelRequested,
    RunResumed,
    RunSuspended,
    RunTerminated,
    UpdateRequested,
)
from perdure.history.state import Explanation
from perdure.history.streams import Selection
from perdure.history.waiting import WaitState
from perdure.sdk.failures import update_error
from perdure.sdk.messages import ExternalEvent, Update, checked_update, name_of
from perdure.sdk.options import checked_count, checked_flag, checked_id, checked_name, checked_number, checked_text
from perdure.sdk.snapshot import State, outcome_error, shown
from perdure.sdk.streams import Source, StreamReader, StreamState, shown_stream
from perdure.stores.contract import Status

if TYPE_CHECKING:
    from perdure.sdk.client import Client
    from perdure.sdk.debugger import Coded, Debugger

A = TypeVar("A")
R = TypeVar("R")
T = TypeVar("T")
HISTORY_PAGE = 100
"""Segments of a history that one read of `Handle.history` takes."""


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
        name, answer_type = checked_update(update)
        request = UpdateRequested(
            at=self._client.now(),
            key=f"update.{checked_id(id)}" if id is not None else self._client.fresh_key(),
            name=name,
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

    async def resume(self, reason: str = "", *, now: bool = False) -> None:
        """Let the code go on; also tries a stalled instance again.

        With `now`, activities that failed and wait for their next attempt are tried at once.
        """
        text = encode(checked_text("reason", reason))
        await self._send(RunResumed(at=self._client.now(), reason=text, now=bool(checked_flag("now", now))))

    async def terminate(self, output: Any = None, recursive: bool = True) -> None:
        """End the instance at once, and its children if `recursive`. No code of it runs any more."""
        checked_flag("recursive", recursive)
        payload = self._client.writer.encode(output)
        await self._send(RunTerminated(at=self._client.now(), output=payload, recursive=recursive))

    async def purge(self, recursive: bool = True) -> int:
        """Delete the finished instance, and its finished children if `recursive`; how many went."""
        checked_flag("recursive", recursive)
        return await self._client.gateway.purge(self.id, self.execution_id, recursive)

    async def rerun(
        self,
        from_event: int | None = None,
        *,
        id: str | None = None,
        input: Any = msgspec.UNSET,
        result: Any = msgspec.UNSET,
    ) -> Handle[R]:
        """A new instance that keeps the history before the action numbered `from_event` and runs on from there.

        Without a number it goes on from before the failure of a run that failed: what has completed is kept, what
        failed is made again. `input` replaces the workflow's input. With `result` the activity or child of that number
        is not made again: it has this result instead of its own, and the run goes on behind it. Raises
        EventNotRerunnable if there is no such action, or no failure.
        """
        if from_event is not None:
            checked_count("from_event", from_event, 1)
        if id is not None:
            checked_id(id)
        if result is not msgspec.UNSET:
            return await self._revised(from_event, id, input, result)
        replace = input is not msgspec.UNSET
        payload = self._client.writer.encode_arguments((input,), {}) if replace else None
        new_id, execution = await self._client.gateway.rerun(self.id, from_event, id, payload, replace)
        return Handle(self._client, new_id, execution, self._type)

    async def _revised(self, number: int | None, id: str | None, input: Any, result: Any) -> Handle[R]:
        if number is None or input is not msgspec.UNSET:
            raise InvalidArgument("result=... is that of one action; give its number, and no input")
        payload = self._client.writer.encode(result)
        new_id, execution = await self._client.gateway.revise(self.id, number, id, payload)
        return Handle(self._client, new_id, execution, self._type)

    async def history(self) -> AsyncIterator[AnyEvent]:
        """The events of the current run, oldest first; their types are in `perdure.events`."""
        after: int | None = 0
        while after is not None:
            events, after = await self._client.gateway.events(self.id, after, HISTORY_PAGE)
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
        return StreamReader(lambda: self._client.gateway, self.id, self.execution_id, selection, offset, follow, kind)

    async def streams(self) -> list[StreamState]:
        """The streams of the instance that have an item, oldest first. Raises InstanceNotFound."""
        return [shown_stream(stream) for stream in await self._client.gateway.streams(self.id, self.execution_id)]

    async def waits(self) -> Sequence[WaitState]:
        """What the instance waits for, by when it began; read from the store. Raises InstanceNotFound."""
        return await self._client.gateway.waits(self.id)

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
