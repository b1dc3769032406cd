"""The spans of a run, made from its history when it has ended. Names and attributes are those of Dapr's workflows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from perdure.clock import to_datetime
from perdure.history.events import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    EventRaised,
    Failure,
    RunCompleted,
    RunResumed,
    RunStarted,
    RunSuspended,
    TimerCancelled,
    TimerCreated,
    TimerFired,
    TurnStarted,
)
from perdure.history.traced import CONTINUED, TracedRun
from perdure.stores.contract import Status
from perdure.telemetry.trace_context import TraceContext, call_span, creation_span, parse

Attributes = dict[str, str | int | bool]

TYPE = "durabletask.type"
NAME = "durabletask.task.name"
INSTANCE = "durabletask.task.instance_id"
NUMBER = "durabletask.task.task_id"
VERSION = "durabletask.task.version"
DUE = "durabletask.fire_at"
STATUS = "durabletask.runtime_status"
PATCHES = "applied_patches"


class Moment(msgspec.Struct, frozen=True, gc=False):
    """Something that happened during a span."""

    at: int
    name: str
    attributes: Attributes = {}


class Span(msgspec.Struct, frozen=True, gc=False):
    """One span; times in microseconds since 1970 UTC. `kind` is server, client or internal; `error`: why it failed.

    There are few attributes, because to write them costs more than all the rest.
    """

    app: str
    name: str
    context: TraceContext
    parent: TraceContext | None
    kind: str
    start: int
    end: int
    attributes: Attributes
    moments: tuple[Moment, ...] = ()
    link: TraceContext | None = None
    error: str | None = None
    state: str | None = None


def spans_of(run: TracedRun, events: Iterable[Any]) -> list[Span]:
    """The spans of its start and of the run, then those of its activities and timers as they ended."""
    reading = _Reading(run)
    for event in events:
        reading.take(event)
    return reading.spans()


class _Reading:
    """Where a history is read to."""

    def __init__(self, run: TracedRun) -> None:
        self._run = run
        self._at: int | None = None
        self._started: RunStarted | None = None
        self._version: str | None = None
        self._patches: list[str] = []
        self._failure: Failure | None = None
        self._moments: list[Moment] = []
        self._open: dict[int, ActivityScheduled | TimerCreated] = {}
        self._done: list[Span] = []

    def take(self, event: Any) -> None:
        take = _TAKE.get(type(event))
        if take is not None:
            take(self, event)

    def spans(self) -> list[Span]:
        for event in list(self._open.values()):
            self._close(event.number, self._run.ended, None, {"perdure.left_open": True})
        return [*self._creation(), self._run_span(), *self._done]

    def _creation(self) -> Iterator[Span]:
        """The span of who started it, until its first turn, if that was part of a trace."""
        run, started, came = self._run, self._started, self._came
        if started is None or came is None or not self._has_caller:
            return
        yield Span(
            app=run.app,
            name=f"create_orchestration||{run.name}",
            context=msgspec.structs.replace(came, span_id=creation_span(run.execution)),
            parent=came,
            kind="client",
            start=started.at,
            end=max(self._at or started.at, started.at),
            attributes={TYPE: "orchestration", NAME: run.name, INSTANCE: run.instance},
            state=run.state,
        )

    @property
    def _has_caller(self) -> bool:
        """Whether somebody else than a parent's run started it, within a trace. One that begins a trace is told of no
        other span than this, which nobody makes."""
        started, came = self._started, self._came
        is_first = self._run.generation == 1 and started is not None and started.parent is None
        return is_first and came is not None and came.span_id != creation_span(self._run.execution)

    @property
    def _came(self) -> TraceContext | None:
        """The span that the start tells of."""
        started = self._started
        return parse(started.trace.parent) if started is not None and started.trace is not None else None

    def _parent(self) -> TraceContext | None:
        """What the span of the run is part of: the start by a caller, or the run of a parent."""
        run, started, came = self._run, self._started, self._came
        if came is None or started is None or run.generation > 1:
            return None
        if self._has_caller:
            return msgspec.structs.replace(came, span_id=creation_span(run.execution))
        return came if started.parent is not None else None

    def _run_span(self) -> Span:
        run = self._run
        version = f"||{self._version}" if self._version else ""
        attributes: Attributes = {
            TYPE: "orchestration",
            NAME: run.name,
            INSTANCE: run.instance,
            STATUS: run.status,
        }
        if run.generation > 1 or run.status == CONTINUED:
            attributes["perdure.run"] = run.generation
        if self._version:
            attributes[VERSION] = self._version
        if self._patches:
            attributes[PATCHES] = ",".join(self._patches)
        if not run.is_whole:
            attributes["perdure.truncated"] = True
        failure = self._failure
        return Span(
            app=run.app,
            name=f"orchestration||{run.name}{version}",
            context=run.context,
            parent=self._parent(),
            kind="server",
            start=self._at if self._at is not None else run.ended,
            end=run.ended,
            attributes=attributes,
            moments=tuple(self._moments),
            link=None if run.generation == 1 else self._came,
            error=f"{failure.type}: {failure.message}" if failure is not None and run.status == Status.FAILED else None,
            state=run.state,
        )

    def _turn(self, event: TurnStarted) -> None:
        if self._at is None:
            self._at = event.at
        self._version = event.version or self._version
        self._patches += event.patches or ()

    def _begin(self, event: RunStarted) -> None:
        self._started = event
        self._version = event.version or self._version

    def _complete(self, event: RunCompleted) -> None:
        self._failure = event.failure

    def _schedule(self, event: ActivityScheduled | TimerCreated) -> None:
        self._open[event.number] = event

    def _activity_ended(self, event: ActivityCompleted | ActivityFailed) -> None:
        failure = event.failure if isinstance(event, ActivityFailed) else None
        error = f"{failure.type}: {failure.message}" if failure is not None else None
        if event.attempt == 1:
            self._close(event.number, event.at, error, {}, begun=event.started)
            return
        moments = () if event.started is None else (Moment(event.started, "attempt started"),)
        self._close(event.number, event.at, error, {"perdure.attempt": event.attempt}, moments)

    def _cancelled(self, event: ActivityCancelled | TimerCancelled) -> None:
        self._close(event.number, event.at, None, {"perdure.cancelled": True})

    def _fired(self, event: TimerFired) -> None:
        self._close(event.number, event.at, None, {})

    def _close(
        self,
        number: int,
        at: int,
        error: str | None,
        more: Attributes,
        moments: tuple[Moment, ...] = (),
        begun: int | None = None,
    ) -> None:
        """An action is over. A call of one attempt began when that did (`begun`), others when they were asked for."""
        event = self._open.pop(number, None)
        if event is None:
            return
        run = self._run
        span_id = call_span(run.execution, run.generation, number)
        if isinstance(event, TimerCreated):
            name, kind = "timer", "internal"
            own: Attributes = {TYPE: "timer", DUE: to_datetime(event.due).isoformat()}
        else:
            name, kind = f"activity||{event.name}", "server"
            own = {TYPE: "activity", NAME: event.name}
        start = max(event.at, begun or 0)
        self._done.append(
            Span(
                app=run.app,
                name=name,
                context=TraceContext(run.context.trace_id, span_id, run.context.sampled),
                parent=run.context,
                kind=kind,
                start=start,
                end=max(at, start),
                attributes={**own, INSTANCE: run.instance, NUMBER: number, **more},
                moments=moments,
                error=error,
                state=run.state,
            )
        )

    def _heard(self, event: EventRaised) -> None:
        size = len(event.data.data) if event.data is not None else 0
        self._moments.append(Moment(event.at, "Received external event", {"name": event.name, "size": size}))

    def _suspended(self, event: RunSuspended) -> None:
        self._moments.append(Moment(event.at, "Execution suspended"))

    def _resumed(self, event: RunResumed) -> None:
        self._moments.append(Moment(event.at, "Execution resumed"))


_TAKE: dict[type, Callable[[_Reading, Any], None]] = {
    TurnStarted: _Reading._turn,
    RunStarted: _Reading._begin,
    RunCompleted: _Reading._complete,
    ActivityScheduled: _Reading._schedule,
    TimerCreated: _Reading._schedule,
    ActivityCompleted: _Reading._activity_ended,
    ActivityFailed: _Reading._activity_ended,
    ActivityCancelled: _Reading._cancelled,
    TimerCancelled: _Reading._cancelled,
    TimerFired: _Reading._fired,
    EventRaised: _Reading._heard,
    RunSuspended: _Reading._suspended,
    RunResumed: _Reading._resumed,
}
