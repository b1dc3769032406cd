"""A run's history replayed in memory, event by event, forwards and backwards, and past it with invented results."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import IO, Any, Protocol, Self

import msgspec

from perdure.codec import NOTHING, PLAIN, Codec, Payload, encode, readable
from perdure.errors import InvalidArgument, NotOpen, VersionNotRegistered, WorkflowNotRegistered
from perdure.history.actions import (
    Action,
    CancelActivity,
    CancelChild,
    CancelTimer,
    CompleteRun,
    ContinueRun,
    CreateChild,
    CreateTimer,
    ScheduleActivity,
    WaitForEvent,
)
from perdure.history.delivery import Delivery, Gate, deliveries_before
from perdure.history.events import (
    ActivityCompleted,
    ActivityFailed,
    ChildCompleted,
    ChildFailed,
    EventRaised,
    RunCancelRequested,
    TimerFired,
    UpdateRequested,
)
from perdure.history.recording import Recording
from perdure.history.replay import Difference
from perdure.history.work import Stall
from perdure.sdk.definitions import Definitions
from perdure.sdk.failures import to_failure
from perdure.sdk.frames import Frame, LiveTask, live_tasks
from perdure.sdk.options import checked_count, checked_id, checked_name
from perdure.sdk.packing.recordings import plain
from perdure.sdk.run import is_seen
from perdure.sdk.verdict import identity_of
from perdure.sdk.worker import Worker

Wait = ScheduleActivity | CreateChild | CreateTimer | WaitForEvent
"""What code asked for and has no answer to."""


class Coded(Protocol):
    """An app, or what stands for one: an id, its definitions, and its codec if it has one."""

    @property
    def id(self) -> str: ...
    @property
    def definitions(self) -> Definitions: ...
    @property
    def codec(self) -> Codec | None: ...


class Debugger:
    """One run, stopped before an event. Nothing that it does is written anywhere, and no activity runs.

    `events` are those of the history, oldest first and plain, as `Handle.history` gives them; `waiting` those that have
    come since and that no turn has taken. They are numbered from 1, the waiting ones after the others. To go back is
    to replay from the beginning. Raises InvalidArgument if there is no start among them, WorkflowNotRegistered or
    VersionNotRegistered if `app` has no code for it.

    Use it under `with`, or close it.
    """

    def __init__(
        self,
        app: Coded,
        events: Iterable[Any],
        *,
        waiting: Iterable[Any] = (),
        instance_id: str = "replayed",
        version: str | None = None,
        at: int | None = None,
    ) -> None:
        if not isinstance(getattr(app, "definitions", None), Definitions):
            raise InvalidArgument(f"{app!r} is no App; give the app whose code is to be replayed")
        self._history = list(events)
        self._events = [*self._history, *waiting]
        identity = identity_of(app.id, checked_id(instance_id), self._events)
        self._identity = msgspec.structs.replace(identity, version=version or identity.version)
        writer = app.codec.writer if app.codec is not None else PLAIN
        self._worker = Worker(app.id, app.definitions, writer=writer)
        self._open()
        self.goto(len(self._history) + 1 if at is None else at)

    # -- moving ---------------------------------------------------------------------------------------------------

    def goto(self, number: int) -> Self:
        """Stop before the event of this number, from 1 to one beyond the last; what was invented is forgotten.

        Code that does not fit the history stands still at the difference; see `stall`.
        """
        self._require_open()
        checked_count("the number of an event", number, 1)
        if number > len(self._events) + 1:
            raise InvalidArgument(f"there are {len(self._events)} events; go to 1 to {len(self._events) + 1}")
        self._closing()
        self._open()
        self._at = number
        self._replay(number)
        for event in self._events[len(self._history) : number - 1]:
            if self.stall is None:
                self._advance(self._gate.pass_through([event]))
        return self

    def forward(self) -> Self:
        """Stop before the next event, unless there is none or the code stands still."""
        self._require_open()
        return self if self.next_event is None or self.stall is not None else self.goto(self._at + 1)

    def back(self) -> Self:
        """Stop before the event before; of a what-if, take back the last that was invented."""
        self._require_open()
        if not self._invented:
            return self.goto(max(1, self._at - 1))
        *kept, _ = self._invented
        self.goto(self._at)
        for event in kept:
            self.what_if(event)
        return self

    def step_into(self, *, stdin: IO[str] | None = None, stdout: IO[str] | None = None) -> Self:
        """Deliver the next event that the code sees under `pdb`, which stops at the line that it leads to.

        In pdb, `quit` lets the code go on. What is changed there is forgotten, because the history is as it is.
        """
        from perdure.sdk.stepping import Stepper  # because pdb brings much along

        self._require_open()
        while self.stall is None and self.next_event is not None and not is_seen(self.next_event):
            self.forward()
        event = self.next_event
        if event is None or self.stall is not None:
            raise InvalidArgument("no event comes that the code would see; go back")
        seen = self._gate.pass_through([event])
        with Stepper(self._live.file, stdin, stdout).armed():
            if self._at > len(self._history):
                self._advance(seen)
            else:
                self._live.retrace(Delivery(self._now, seen, self._turn), is_whole=False)
        return self.goto(self._at + 1)

    # -- what if --------------------------------------------------------------------------------------------------

    def what_if(self, event: Any) -> Self:
        """Go on from here with an invented event, in memory alone. Without `at` it happens now, as the code sees it."""
        self._require_open()
        if type(event) not in _INVENTED:
            kinds = ", ".join(kind.__name__ for kind in _INVENTED)
            raise InvalidArgument(f"{event!r} cannot be invented; give one of {kinds}")
        if self.stall is not None:
            raise InvalidArgument(f"the code stands still: {self.stall.description}")
        if self.end is not None:
            raise InvalidArgument("the run has ended, and takes no more events; go back")
        self._invented.append(event)
        self._advance([event])
        return self

    def answer(self, number: int, result: Any = None) -> Self:
        """Go on as if the call `number` had this result, or the timer `number` had fired."""
        match wait := self._wait(number):
            case ScheduleActivity():
                return self.what_if(ActivityCompleted(number=number, result=_payload(result)))
            case CreateChild():
                return self.what_if(ChildCompleted(number=number, result=_payload(result)))
            case CreateTimer():
                if result is not None:
                    raise InvalidArgument(f"{number} is a timer, which has no result; write answer({number})")
                return self.what_if(TimerFired(at=wait.due, number=number, due=wait.due))
            case _:
                raise InvalidArgument(f"{number} waits for event {wait.name!r}; write raise_event({wait.name!r}, data)")

    def fail(self, number: int, error: BaseException) -> Self:
        """Go on as if the call `number` had failed for good with this error."""
        if not isinstance(error, BaseException):
            raise InvalidArgument(f"error is {error!r}; give an exception")
        wait, failure = self._wait(number), to_failure(error)
        if isinstance(wait, ScheduleActivity):
            return self.what_if(ActivityFailed(number=number, failure=failure))
        if isinstance(wait, CreateChild):
            return self.what_if(ChildFailed(number=number, failure=failure))
        raise InvalidArgument(f"{number} is no call, so it cannot fail")

    def raise_event(self, name: str, data: Any = None) -> Self:
        """Go on as if an external event had come."""
        return self.what_if(EventRaised(name=checked_name(name, "an event's name"), data=encode(data)))

    # -- looking --------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """Of the instance."""
        return self._identity.instance

    @property
    def at(self) -> int:
        """The number of the event before which the code stands."""
        return self._at

    @property
    def events(self) -> list[Any]:
        """The events of the history, then those that wait."""
        return list(self._events)

    @property
    def next_event(self) -> Any | None:
        """What the code is told next; None at the end, and in a what-if."""
        return None if self._invented or self._at > len(self._events) else self._events[self._at - 1]

    @property
    def invented(self) -> list[Any]:
        """The events of the what-if, oldest first."""
        return list(self._invented)

    @property
    def asked(self) -> list[Action]:
        """What the code has asked for until here, in order."""
        return list(self._asked)

    @property
    def waits(self) -> list[Wait]:
        """What the code has asked for and has no answer to, in order."""
        if self.end is not None:
            return []
        listening = self._live.listening()
        return [
            action
            for action in self._asked
            if isinstance(action, Wait)
            and (action.number in listening if isinstance(action, WaitForEvent) else action.number not in self._settled)
        ]

    @property
    def tasks(self) -> list[LiveTask]:
        """The tasks of the code that are not done, in the order in which they began, with their frames."""
        self._require_open()
        return live_tasks(self._live.run)

    def where(self) -> list[Frame]:
        """The innermost frame of user code in each task."""
        return [task.frames[-1] for task in self.tasks if task.frames]

    def locals(self, task: int = 0) -> dict[str, str]:
        """The variables in the innermost frame of a task, as text; `task` counts, from 0, those that `where` gives."""
        places = self.where()
        if not places:
            return {}
        if checked_count("task", task, 0) >= len(places):
            raise InvalidArgument(f"task is {task}; there are {len(places)}, from 0")
        return places[task].locals

    @property
    def end(self) -> CompleteRun | ContinueRun | None:
        """How the code ended the run; None if it has not."""
        return next((action for action in self._asked if isinstance(action, (CompleteRun, ContinueRun))), None)

    @property
    def output(self) -> Any:
        """What the code has returned, as decoded JSON; None as long as it has not."""
        return readable(self.end.output) if isinstance(self.end, CompleteRun) else None

    @property
    def stall(self) -> Stall | None:
        """What stands against going on: the difference between code and history, or what could not be read."""
        return self._stall

    def close(self) -> None:
        """Let go of the code: it unwinds, and can ask for nothing any more. Closing twice is fine."""
        self._closing()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        identity, places = self._identity, "" if not self._closing.alive else "; ".join(map(str, self.where()))
        return (
            f"<Debugger of {identity.name} {identity.instance} before event {self._at} of {len(self._events)}"
            f"{f', {len(self._invented)} invented' if self._invented else ''}: {places or 'no code stands'}>"
        )

    # -- inside ---------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """New code, at its beginning."""
        live = self._worker.open(self._identity, is_new=not self._history)
        if isinstance(live, Stall):
            missing = WorkflowNotRegistered if live.reason == "workflow-not-registered" else VersionNotRegistered
            raise missing(live.description)
        self._live = live
        # because code that the collector resumes outside its run would call activities as ordinary functions
        self._closing = weakref.finalize(self, live.close)
        self._at = 1
        self._now = self._identity.started
        self._gate = Gate()
        self._turn: list[Any] = []
        self._invented: list[Any] = []
        self._asked: list[Action] = []
        self._settled: set[int] = set()
        self._stall: Stall | None = None

    def _replay(self, number: int) -> None:
        for delivery, first, is_whole in deliveries_before(self._history, number, self._gate):
            self._now, self._turn = delivery.at, list(delivery.recorded)
            self._take(delivery.events, self._live.retrace(delivery, is_whole=is_whole))
            if self._stall is not None:
                self._at = _place(self._turn, first, self._stall.difference)
                return

    def _advance(self, events: list[Any]) -> None:
        """Deliver what no history holds."""
        self._now = max([self._now, *(event.at for event in events)])
        self._live.advance(self._now, events, lambda result: self._take(events, result))

    def _take(self, delivered: list[Any], result: list[Action] | Stall) -> None:
        self._settled.update(event.number for event in delivered if isinstance(event, _SETTLING))
        if isinstance(result, Stall):
            self._stall = result
            return
        self._asked += result
        self._settled.update(action.number for action in result if isinstance(action, _TAKING_BACK))

    def _wait(self, number: int) -> Wait:
        waits = {wait.number: wait for wait in self.waits}
        if number not in waits:
            there = ", ".join(str(each) for each in waits) or "nothing"
            raise InvalidArgument(f"the code does not wait for {number!r}; it waits for {there}")
        return waits[number]

    def _require_open(self) -> None:
        if not self._closing.alive:
            raise NotOpen("this debugger is closed; make another one")


_SETTLING = (ActivityCompleted, ActivityFailed, ChildCompleted, ChildFailed, TimerFired)
_TAKING_BACK = (CancelActivity, CancelChild, CancelTimer)
_INVENTED = (*_SETTLING, EventRaised, UpdateRequested, RunCancelRequested)


async def debug_recording(app: Coded, recording: Recording, *, at: int | None = None) -> Debugger:
    """A debugger of a recorded run, with its payloads unpacked by the app's codec. Raises HistoryCorrupt."""
    recording = await plain(recording, app.codec)
    events, waiting = recording.events(), recording.waiting()
    return Debugger(app, events, waiting=waiting, instance_id=recording.id, version=recording.version, at=at)


def _payload(value: Any) -> Payload:
    return NOTHING if value is None else encode(value)


def _place(turn: list[Any], first: int, difference: Difference | None) -> int:
    """The number of the event at which the code parts from its history: the one that it did not bring about, else the
    turn's last."""
    asked = difference.number if difference is not None else 0
    for number, event in enumerate(turn, first):
        if asked and getattr(event, "number", None) == asked and not isinstance(event, _SETTLING):
            return number
    return first + len(turn) - 1
