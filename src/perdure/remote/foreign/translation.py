"""One run at a server that keeps no retries: what its code asks for as the wire's actions, and the answers back.

The wire has numbers of its own, since a retry is a timer and another call there, which the code does not know. They
follow from the events alone, so that a replay gives the same ones. Pure: `chance` is the jitter's, from what it is for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from perdure.codec import Payload
from perdure.errors import NotSupportedByServer
from perdure.history.actions import (
    Action,
    AnswerUpdate,
    CancelActivity,
    CancelChild,
    CancelInstance,
    CancelTimer,
    CompleteRun,
    ContinueRun,
    CreateChild,
    CreateDetached,
    CreateTimer,
    PublishState,
    RecordCode,
    RecordPatch,
    ScheduleActivity,
    SendEvent,
    SetStatus,
    StopWaiting,
    TerminateInstance,
    WaitForEvent,
)
from perdure.history.events import (
    ActivityCompleted,
    ActivityFailed,
    ChildCompleted,
    ChildFailed,
    Router,
    TimerFired,
    TimerOrigin,
)
from perdure.history.retry import next_attempt
from perdure.remote.foreign.arguments import outward
from perdure.remote.requests import Flavour

STRIDE = 1 << 20
"""By how much the numbers of two attempts of a call differ, so that a worker reads from the number alone which call it
is and which attempt; a run of more actions counts on without telling."""
ATTEMPTS_MAX = 2_000
"""Attempts that are told like that, since numbers have 31 bits."""
TIMED_OUT = "ActivityTimedOut"
"""The type of a failure by which a worker says that the time was up, for which the wire has no field."""
_RETRY = "activity-retry"


class Call(msgspec.Struct, frozen=True):
    """An activity call of the code. `attempt` is the one that is out, or is waited for; `since` is when it was made;
    `first` is the number that its first attempt has on the wire."""

    asked: ScheduleActivity
    attempt: int
    since: int
    first: int = 0


def told_by(number: int) -> tuple[int, int]:
    """(number of the first attempt, attempt) of a call by the number that an attempt of it has on the wire."""
    return number % STRIDE, number // STRIDE + 1


class Translation:
    """What is open of a run, by the numbers of the wire."""

    def __init__(
        self,
        instance: str,
        execution: str,
        flavour: Flavour,
        chance: Callable[[str], float],
        timeout_of: Callable[[str], float | None],
    ) -> None:
        self._timeout_of = timeout_of
        self._instance = instance
        self._execution = execution
        self._flavour = flavour
        self._chance = chance
        self._last = 0
        self._calls: dict[int, Call] = {}
        self._children: dict[int, tuple[int, str]] = {}
        self._timers: dict[int, Call | int] = {}
        self.status: Payload | None = None
        self.version: str | None = None
        self.patches: list[str] = []

    # -- events in ------------------------------------------------------------------------------------------------

    def arrived(self, at: int, events: Iterable[Any]) -> tuple[list[Any], list[Action]]:
        """What the code sees of the events of a turn, and what is asked for without it: the next attempts."""
        seen: list[Any] = []
        asked: list[Action] = []
        for event in events:
            match event:
                case ActivityCompleted():
                    self._completed(event, seen)
                case ActivityFailed():
                    self._failed(at, event, seen, asked)
                case ChildCompleted() | ChildFailed():
                    number, _ = self._children.pop(event.number, (None, ""))
                    if number is not None:
                        seen.append(msgspec.structs.replace(event, number=number))
                case TimerFired():
                    self._fired(event, seen, asked)
                case _:
                    seen.append(event)
        return seen, asked

    def _completed(self, event: ActivityCompleted, seen: list[Any]) -> None:
        call = self._calls.pop(event.number, None)
        if call is not None:
            seen.append(msgspec.structs.replace(event, number=call.asked.number, attempt=call.attempt))

    def _failed(self, at: int, event: ActivityFailed, seen: list[Any], asked: list[Action]) -> None:
        call = self._calls.pop(event.number, None)
        if call is None:
            return
        chance = self._chance(f"{self._execution}.{call.asked.number}.{call.attempt}")
        due = next_attempt(call.asked.options.retry, call.attempt, call.since, at, event.failure, chance)
        if due is None:
            told = {"number": call.asked.number, "attempt": call.attempt, "timed_out": event.failure.type == TIMED_OUT}
            seen.append(msgspec.structs.replace(event, **told))
            return
        number = self._next()
        self._timers[number] = msgspec.structs.replace(call, attempt=call.attempt + 1)
        asked.append(CreateTimer(number=number, due=due, origin=TimerOrigin(_RETRY, self._key(call))))

    def _fired(self, event: TimerFired, seen: list[Any], asked: list[Action]) -> None:
        waiting = self._timers.pop(event.number, None)
        if isinstance(waiting, Call):
            asked.append(self._scheduled(waiting))
        elif waiting is not None:
            seen.append(msgspec.structs.replace(event, number=waiting))

    # -- actions out ----------------------------------------------------------------------------------------------

    def asked(self, at: int, actions: Sequence[Action]) -> list[Action]:
        """The wire's actions for what the code asks. Raises NotSupportedByServer for what the wire has no word for."""
        found: list[Action] = []
        for action in actions:
            found.extend(self._translated(at, action))
        return found

    def _translated(self, at: int, action: Action) -> list[Action]:
        match action:
            case ScheduleActivity():
                return [self._scheduled(Call(action, 1, at))]
            case CreateChild():
                return [self._child(action)]
            case CreateTimer():
                number = self._next()
                self._timers[number] = action.number
                return [msgspec.structs.replace(action, number=number, line=None)]
            case CancelActivity() | CancelTimer():
                self._forget(action.number, of_timer=isinstance(action, CancelTimer))
                return []
            case CancelChild():
                return self._ended_child(action)
            case SendEvent():
                return [msgspec.structs.replace(action, number=self._next(), line=None)]
            case CreateDetached() if self._flavour is Flavour.DAPR and action.place is None:
                started = msgspec.structs.replace(action, number=self._next(), input=outward(action.input), line=None)
                return [self._routed(started)]
            case TerminateInstance():
                return [msgspec.structs.replace(action, number=self._next(), line=None)]
            case CompleteRun():
                return [msgspec.structs.replace(action, number=self._next(), line=None)]
            case ContinueRun():
                return [msgspec.structs.replace(action, number=self._next(), input=outward(action.input), line=None)]
            case _:
                self._note(action)
                return []

    def _note(self, action: Action) -> None:
        """What is told beside the actions, or needs not be told."""
        match action:
            case SetStatus():
                self.status = action.status
            case RecordCode():
                self.version = action.version
            case RecordPatch() if self._flavour is Flavour.DAPR:
                self.patches.append(action.name)
            case WaitForEvent() | StopWaiting():
                return  # because the wire has no word for a wait
            case _:
                raise NotSupportedByServer(
                    f"the server of {self._instance!r} has no word for {_FEATURES.get(type(action), 'this')}; "
                    "do without it, or run the app on `perdure serve`"
                )

    def _scheduled(self, call: Call) -> Action:
        asked = call.asked
        self._check(asked)
        if not call.first:
            call = msgspec.structs.replace(call, first=self._next())
        is_told = call.first < STRIDE and call.attempt <= ATTEMPTS_MAX
        number = call.first + (call.attempt - 1) * STRIDE if is_told else self._next()
        self._calls[number] = call
        scheduled = ScheduleActivity(
            number=number,
            name=asked.name,
            input=outward(asked.input),
            app=asked.app,
            version=asked.version,
            key=self._key(call) if self._flavour is Flavour.DAPR else None,
        )
        return self._routed(scheduled)

    def _check(self, asked: ScheduleActivity) -> None:
        options = asked.options
        if options.place is not None:
            raise NotSupportedByServer(f"the server has no queues, and the call of {asked.name!r} names one")
        if options.heartbeat_timeout is not None or options.timeout != self._timeout_of(asked.name):
            raise NotSupportedByServer(
                f"the server does not pass on the timeouts of a call, and that of {asked.name!r} has some; "
                "give a timeout to @app.activity"
            )

    def _child(self, action: CreateChild) -> Action:
        if action.place is not None or action.timeout is not None:
            raise NotSupportedByServer(
                f"the server has neither queues nor run timeouts, and the child {action.name!r} names one"
            )
        number = self._next()
        instance = action.instance or f"{self._instance}:{number:04x}"
        self._children[number] = (action.number, instance)
        child = msgspec.structs.replace(
            action, number=number, instance=instance, input=outward(action.input), line=None
        )
        return self._routed(child)

    def _ended_child(self, action: CancelChild) -> list[Action]:
        """A child that nobody awaits is terminated, because the wire has no word for a cancellation."""
        for number, (asked, instance) in self._children.items():
            if asked == action.number:
                del self._children[number]
                return [TerminateInstance(number=self._next(), instance=instance, recursive=True)]
        return []

    def _forget(self, number: int, *, of_timer: bool) -> None:
        """Nobody awaits the answer any more: it is passed over when it comes."""
        if of_timer:
            self._timers = {key: value for key, value in self._timers.items() if value != number}
            return
        self._calls = {key: call for key, call in self._calls.items() if call.asked.number != number}
        self._timers = {
            key: value
            for key, value in self._timers.items()
            if not (isinstance(value, Call) and value.asked.number == number)
        }

    def _routed(self, action: Any) -> Action:
        if action.app is None:
            return action  # type: ignore[no-any-return]
        if self._flavour is not Flavour.DAPR:
            raise NotSupportedByServer(f"the server has one app, and {action.name!r} is to run in {action.app!r}")
        return msgspec.structs.replace(action, router=Router(target_app=action.app))  # type: ignore[no-any-return]

    def _key(self, call: Call) -> str:
        """The idempotency key: the same for every attempt."""
        return f"{self._instance}/{self._execution}/{call.first}"

    def _next(self) -> int:
        self._last += 1
        return self._last

    def __repr__(self) -> str:
        return f"<Translation of {self._instance}: {len(self._calls)} calls, {len(self._timers)} timers>"


_FEATURES: dict[type, str] = {
    PublishState: "published state (set_state)",
    AnswerUpdate: "updates",
    CancelInstance: "the cancellation of another instance",
    CreateDetached: "detached workflows",
    RecordPatch: "patches (patched)",
}
