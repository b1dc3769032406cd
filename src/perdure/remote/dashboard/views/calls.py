"""What a run asked for and what became of it, read from its history: activities, children, timers, events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from perdure.clock import to_microseconds
from perdure.history.events import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ChildCancelled,
    ChildCompleted,
    ChildCreated,
    ChildFailed,
    DetachedCreated,
    EntityCalled,
    EntityCompleted,
    EntityFailed,
    EventRaised,
    EventSent,
    MessagePublished,
    RunCancelRequested,
    RunResumed,
    RunSuspended,
    TimerCancelled,
    TimerCreated,
    TimerFired,
    TurnStarted,
    UpdateAnswered,
    UpdateRequested,
)
from perdure.history.waiting import WaitState

OPEN, DONE, FAILED, CANCELED = "open", "done", "failed", "canceled"


class Call(msgspec.Struct, kw_only=True):
    """One thing of a run that took time, or a moment. `turn` counts the turns up to the one that asked for it.

    `number` 0: it came from outside. `answered` is the turn that took its end. `instance` is that of a child.
    """

    kind: str
    name: str
    number: int
    begun: int
    turn: int
    ended: int | None = None
    answered: int | None = None
    started: int | None = None
    state: str = OPEN
    attempt: int = 0
    due: int | None = None
    instance: str | None = None
    problem: str = ""


_ENDS: tuple[tuple[type[Any], str], ...] = (
    (ActivityCompleted, DONE),
    (ActivityFailed, FAILED),
    (ActivityCancelled, CANCELED),
    (ChildCompleted, DONE),
    (ChildFailed, FAILED),
    (ChildCancelled, CANCELED),
    (TimerFired, DONE),
    (TimerCancelled, CANCELED),
)
_STATE_OF = dict(_ENDS)


def calls_of(events: Iterable[Any]) -> list[Call]:
    """In the order in which they were asked for, or came."""
    reader = _Reader()
    for event in events:
        reader.read(event)
    return reader.calls


def with_waits(calls: list[Call], waits: Iterable[WaitState]) -> list[Call]:
    """The calls, and what no history tells: which events are waited for, and how far attempts are that are not over."""
    open_ones = {call.number: call for call in calls if call.number and call.state == OPEN}
    more: list[Call] = []
    for wait in waits:
        begun = to_microseconds(wait.since)
        if wait.kind == "event":
            more.append(Call(kind="wait", name=wait.name, number=0, begun=begun, turn=0))
        elif wait.number in open_ones:
            call = open_ones[wait.number]
            call.attempt = wait.attempt
            call.problem = f"{wait.failure.type}: {wait.failure.message}" if wait.failure is not None else ""
            call.due = to_microseconds(wait.due) if wait.due is not None else call.due
    return calls + more


class _Reader:
    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._by_number: dict[int, Call] = {}
        self._by_request: dict[str, Call] = {}
        self._suspension: Call | None = None
        self._turn = 0
        self._at = 0

    def read(self, event: Any) -> None:
        self._at = max(event.at, self._at)  # because what confirms an action may have no time of its own
        if isinstance(event, TurnStarted):
            self._turn += 1
            return
        begun = self._begun(event)
        if begun is not None:
            self._add(begun, event)
        elif type(event) in _STATE_OF:
            self._end(self._by_number.get(event.number), _STATE_OF[type(event)], event)
        elif isinstance(event, (EntityCompleted, EntityFailed, UpdateAnswered)):
            key = event.key if isinstance(event, UpdateAnswered) else event.request
            failed = event.failure is not None if isinstance(event, UpdateAnswered) else isinstance(event, EntityFailed)
            self._end(self._by_request.get(key), FAILED if failed else DONE, event)
        elif isinstance(event, RunResumed):
            self._end(self._suspension, DONE, event)

    def _begun(self, event: Any) -> Call | None:
        match event:
            case ActivityScheduled():
                return self._call("activity", event.name, event.number)
            case ChildCreated():
                return self._call("child", event.name, event.number, instance=event.instance)
            case DetachedCreated():
                made = self._call("child", event.name, event.number, instance=event.instance)
                return self._momentary(made)
            case TimerCreated():
                return self._call("timer", event.name or "sleep", event.number, due=event.due)
            case EntityCalled():
                return self._call("entity", f"{event.operation} of {event.target}", event.number)
            case EventSent():
                return self._momentary(self._call("sent", event.name, event.number, instance=event.instance))
            case MessagePublished():
                return self._momentary(self._call("sent", event.topic, event.number or 0))
            case EventRaised():
                return self._momentary(self._call("event", event.name, 0))
            case UpdateRequested():
                return self._call("update", event.name, 0)
            case RunSuspended():
                return self._call("suspension", "suspended", 0)
            case RunCancelRequested():
                return self._momentary(self._call("event", "cancel", 0))
            case _:
                return None

    def _call(self, kind: str, name: str, number: int, due: int | None = None, instance: str | None = None) -> Call:
        return Call(kind=kind, name=name, number=number, begun=self._at, turn=self._turn, due=due, instance=instance)

    def _momentary(self, call: Call) -> Call:
        call.ended, call.state, call.answered = call.begun, DONE, call.turn
        return call

    def _add(self, call: Call, event: Any) -> None:
        self.calls.append(call)
        if call.number:
            self._by_number[call.number] = call
        if isinstance(event, EntityCalled):
            self._by_request[event.request] = call
        if isinstance(event, UpdateRequested):
            self._by_request[event.key] = call
        if isinstance(event, RunSuspended):
            self._suspension = call

    def _end(self, call: Call | None, state: str, event: Any) -> None:
        if call is None or call.ended is not None:
            return
        call.ended, call.state, call.answered = max(event.at or self._at, call.begun), state, self._turn
        call.started = getattr(event, "started", None)
        call.attempt = getattr(event, "attempt", 0)
        failure = getattr(event, "failure", None)
        if failure is not None:
            call.problem = f"{failure.type}: {failure.message}"
