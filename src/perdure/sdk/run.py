"""One run of workflow code, live in memory: feed it events, take its actions; the same for a first run and a replay.

The code advances only inside `advance` and `replay`. Each event is delivered by itself and the loop then drained, so
that what the code sees does not depend on which events happened to share a turn.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import sys
import traceback
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from types import CodeType, FrameType
from typing import Any, NoReturn

import msgspec

from perdure.clock import LATEST, SECOND
from perdure.codec import PLAIN, Example, Payload, Writer, decode
from perdure.errors import NotDecodable, NotSupportedByServer, OnlyInWorkflow, PayloadTooLarge, PerdureError
from perdure.history.actions import (
    FIRST_EVENT_WAIT,
    Action,
    AnswerUpdate,
    CallEntity,
    CancelActivity,
    CancelChild,
    CancelInstance,
    CancelTimer,
    CompleteRun,
    ContinueRun,
    CreateChild,
    CreateDetached,
    CreateTimer,
    PublishMessage,
    PublishState,
    RecordCode,
    RecordPatch,
    ScheduleActivity,
    SendEvent,
    SetStatus,
    SignalEntity,
    StopWaiting,
    WaitForEvent,
)
from perdure.history.delivery import Delivery
from perdure.history.events import (
    ActivityCompleted,
    ActivityFailed,
    ChildCompleted,
    ChildFailed,
    EntityCompleted,
    EntityFailed,
    EventRaised,
    RunCancelRequested,
    RunStarted,
    TimerFired,
    UpdateAnswered,
    UpdateRequested,
)
from perdure.history.replay import Difference, compare
from perdure.history.work import Identity
from perdure.sdk.failures import to_failure
from perdure.sdk.inbox import Inbox
from perdure.sdk.leaving import ContinueAsNew, Sealed
from perdure.sdk.loop import Future, Task, TimerHandle, new_loop, running_loop
from perdure.sdk.step_code import Bodies, StepCode
from perdure.sdk.updates import Updates


class Diverged(Exception):
    """A replay asked for other actions than history holds."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(str(difference))
        self.difference = difference


class Run:
    """The coroutine of one run, its loop, and what it waits for."""

    __slots__ = (
        "_actions",
        "_calls",
        "_code",
        "_continuation",
        "_event_wait",
        "_inbox",
        "_keep_calls",
        "_keeps_events",
        "_loop",
        "_main",
        "_number",
        "_owed",
        "_patches",
        "_random",
        "_refusals",
        "_refused",
        "_sealed",
        "_seed",
        "_task",
        "_timers",
        "_updates",
        "_writer",
        "bodies",
        "finished",
        "identity",
        "misfit",
        "now",
        "obstacle",
        "replaying",
        "status",
    )

    def __init__(
        self,
        identity: Identity,
        main: Callable[[Run, RunStarted], Coroutine[Any, Any, Payload]],
        keep_calls: bool,
        code: RecordCode | None = None,
        writer: Writer = PLAIN,
    ) -> None:
        self.identity = identity
        self._writer = writer
        self.replaying = False
        self.now = identity.started
        self.status: Payload | None = None
        self.finished = False
        self.obstacle: PerdureError | None = None
        self.misfit: tuple[Payload | None, Any] | None = None
        self._main = main
        self._code = code
        self._patches: dict[str, bool] = _NO_PATCHES
        self._keep_calls = keep_calls
        self._seed = int(identity.execution[:15], 16) + identity.generation
        self._loop = new_loop(self, self._seed)
        self._task: Task | None = None
        self._sealed = False
        self._refusals = 0
        self._number = 0
        self._event_wait = FIRST_EVENT_WAIT
        self._actions: dict[Any, Action] = {}
        self._calls: dict[int, Future] = {}
        self._timers: dict[int, TimerHandle] | None = None
        self._inbox: Inbox | None = None
        self._updates: Updates | None = None
        self._refused = _NONE_REFUSED
        self._owed: dict[str, AnswerUpdate] = _NONE_OWED
        self._continuation: ContinueRun | None = None
        self._keeps_events = False
        self._random: random.Random | None = None
        self.bodies: Bodies | None = None

    # -- driven by the worker -------------------------------------------------------------------------------------

    def advance(self, at: int, events: Sequence[Any]) -> list[Action]:
        """Deliver the events of one turn that happens `at` and return what the code then asked for.

        Raises TooManyIterations if the code does not come to rest.
        """
        loop = self._loop
        self.now = at
        loop.set_time((at - self.identity.started) / 1_000_000)
        for event in events:
            # because who is told that an update is done must not have had it done by code that is over
            deliver = (_KEEP if self.is_over else _DELIVER).get(type(event))
            if deliver is not None:
                loop.iterations = 0
                deliver(self, event)
                if loop.ready:
                    loop.run_until_idle()
        if self._task is not None and not self.finished and self.is_over:
            self._finish(self._task)
        actions = list(self._actions.values())
        self._actions.clear()
        return actions

    def replay(self, turn: Delivery) -> list[Action]:
        """Deliver a turn that history holds, check that the code asks again for what it recorded, and return that.

        Raises Diverged with the first difference.
        """
        actions = self.retrace(turn)
        if self._task is None:
            return actions  # because the code has not begun, whatever has ended the run
        difference = compare(turn.recorded, [*actions, *self._owed.values()], self.finished)
        if self._updates is not None:
            self._owe(turn.recorded, actions)
        if difference is not None and self.obstacle is None:  # because code that cannot read goes another way
            line = difference.line or self.where() or self._raised_at()
            raise Diverged(msgspec.structs.replace(difference, line=line))
        return actions

    def retrace(self, turn: Delivery) -> list[Action]:
        """Deliver a turn that history holds, or its beginning, and return what the code asked for again, unchecked."""
        if turn.patches:
            self._patches = {**self._patches, **dict.fromkeys(turn.patches, True)}
        self.replaying = True
        self._refused = frozenset(e.key for e in turn.recorded if type(e) is UpdateAnswered and e.refused)
        try:
            return self.advance(turn.at, turn.events)
        finally:
            self.replaying = False

    def _raised_at(self) -> str | None:
        """Where the code raised what has ended it."""
        task = self._task
        if task is None or not task.done() or task.cancelled() or (error := task.exception()) is None:
            return None
        places = [
            f"{frame.f_code.co_filename}:{line} in {frame.f_code.co_name}"
            for frame, line in traceback.walk_tb(error.__traceback__)
            if is_of_user(frame.f_code)
        ]
        return places[-1] if places else None

    def _owe(self, recorded: Sequence[Any], actions: Sequence[Action]) -> None:
        """Remember what a handler answers that the code had not when the update came, until history has the answer."""
        told = {event.key for event in recorded if type(event) is UpdateAnswered}
        asked = {action.key: action for action in actions if type(action) is AnswerUpdate}
        self._owed = {key: answer for key, answer in {**self._owed, **asked}.items() if key not in told}

    def pay(self) -> None:
        """Record with the next turn the answers that history has not."""
        for key, answer in self._owed.items():
            self._actions["update", key] = answer

    def take_up(self) -> None:
        """Record with the next turn that this code goes on with the run."""
        if self._code is not None:
            self._actions["code"] = self._code

    def close(self) -> None:
        """Unwind the code sealed: `finally` blocks run, but nothing durable can be asked for or recorded."""
        self._sealed = True
        loop = self._loop
        for task in loop.tasks:
            if not task.done():
                self._unwind()
                break
        self._task = None  # because run, loop and task in a circle would wait for the garbage collector
        loop.forget()

    def _unwind(self) -> None:
        outer = self._loop.enter()
        try:
            for task in reversed(self._loop.tasks):
                _unwind(task)
        finally:
            self._loop.leave(outer)
        self._actions.clear()

    @property
    def tasks(self) -> list[Task]:
        """The tasks of its code that are not done, in the order in which they began."""
        return [task for task in self._loop.tasks if not task.done()]

    @property
    def sealed(self) -> bool:
        return self._sealed

    @property
    def is_over(self) -> bool:
        """Whether the code has ended the run; what comes in the same turn is kept for the next one, if there is one."""
        return self._continuation is not None or (self._task is not None and self._task.done())

    def unconsumed(self) -> list[EventRaised]:
        """External events that arrived and that no code has taken."""
        return self._inbox.untaken() if self._inbox is not None else []

    def listening(self) -> dict[int, str]:
        """The waits for external events, by number, and the event that each is for, in lower case."""
        return self._inbox.listening() if self._inbox is not None else {}

    # -- asked by workflow code -----------------------------------------------------------------------------------

    def next_number(self) -> int:
        """The number of the action that is about to be recorded."""
        if self._sealed:
            self._refuse()
        self._loop.iterations = 0
        self._number += 1
        return self._number

    def _refuse(self) -> None:
        """Raise Sealed; code that catches it too often asks in vain, so that it comes to an await and can be left."""
        self._refusals += 1
        if self._refusals <= REFUSALS_MAX:
            raise Sealed

    def call(self, action: ScheduleActivity | CreateChild | CallEntity) -> Future:
        """Record a call; the future of the event that will answer it."""
        number = action.number
        self._actions[number] = action
        future = self._calls[number] = Future(self._loop)
        return future

    def cancel_call(self, cancellation: CancelActivity | CancelChild) -> None:
        """Nobody awaits the answer any more."""
        number = cancellation.number
        if self._calls.pop(number, None) is not None:
            self._withdraw(number, cancellation)

    def keep_code(self, number: int, code: StepCode) -> None:
        """Let the attempts of step `number` find their code. Raises NotSupportedByServer where they could not."""
        if self.bodies is None:
            raise NotSupportedByServer(
                "steps (and agents, which are made of them) need an engine of Perdure's, which this app's server has "
                "not; give the app a store, or a `perdure serve`, or use activities"
            )
        self.bodies[self._address(number)] = code

    def drop_code(self, number: int) -> None:
        """The step is answered, or nobody awaits it here."""
        if self.bodies is not None:
            self.bodies.pop(self._address(number), None)

    def code_of(self, number: int) -> StepCode | None:
        """The code of an open step."""
        return self.bodies.get(self._address(number)) if self.bodies is not None else None

    def _address(self, number: int) -> tuple[str, int, int]:
        return self.identity.execution, self.identity.generation, number

    def give_up_call(self, number: int) -> None:
        """Nobody awaits the answer any more, which comes all the same: nobody takes back what an actor was asked."""
        if self._calls.pop(number, None) is not None and not self._sealed:
            self._actions.pop(number, None)

    def record(self, action: CreateDetached | SendEvent | CancelInstance | SignalEntity | PublishMessage) -> None:
        """Record an action that nothing answers."""
        self._actions[action.number] = action

    async def next_event(self, name: str, line: str | None, example: Example | None = None) -> Payload | None:
        """The data of the next external event called `name`, oldest first; waits if none is there yet.

        `example` is of such data, for who is to send it.
        """
        if self._sealed:
            self._refuse()
        if self.is_over:
            await Future(self._loop)  # because what is there, and what comes, is for the next run
        inbox = self._inbox = self._inbox or Inbox()
        early = inbox.take(name)
        if early is not None:
            return early.data
        number = self._event_wait
        self._event_wait -= 1
        future = Future(self._loop)
        inbox.listen(name, number, future)
        self._actions[number] = WaitForEvent(number=number, name=name, line=line, example=example)
        try:
            heard: EventRaised = await future
        except asyncio.CancelledError:
            if inbox.stop_listening(name, number, future):
                self._withdraw(number, StopWaiting(number=number))
            raise
        return heard.data

    def patched(self, name: str) -> bool:
        """Whether the run takes the new side of a patch: it does unless it has passed here before there was one."""
        if self._sealed:
            self._refuse()
        known = self._patches.get(name)
        if known is None:
            known = not self.replaying
            self._patches = {**self._patches, name: known}
            if known:
                self._actions["patch", name] = RecordPatch(name=name)
        return known

    @property
    def patches(self) -> Mapping[str, bool]:
        """The patches that the code has asked for, or had before, and whether this run takes their new side."""
        return self._patches

    def decode(self, payload: Payload | None, expected: Any) -> Any:
        """The value of a recorded payload; one that does not fit stalls the run, whatever its code does about it."""
        try:
            return decode(payload, expected)
        except NotDecodable as error:
            self.obstacle, self.misfit = error, (payload, expected)
            raise

    def encode(self, value: Any) -> Payload:
        """The payload of a value; one beyond the bound stalls the run, whatever its code makes of the error."""
        try:
            return self._writer.encode(value)
        except PayloadTooLarge as error:
            self.obstacle = error
            raise

    def encode_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Payload:
        """As `encode`, of a call's arguments."""
        try:
            return self._writer.encode_arguments(args, kwargs)
        except PayloadTooLarge as error:
            self.obstacle = error
            raise

    def where(self) -> str | None:
        """A place in user code that is alive, newest task first; for the message about a turn that does not end."""
        for task in reversed(self._loop.tasks):
            line = _line_of(task.get_coro())
            if line is not None:
                return line
        return None

    def set_status(self, status: Payload) -> None:
        if self._sealed:
            raise Sealed
        self.status = status
        self._actions["status"] = SetStatus(status=status)

    def publish_state(self, name: str, state: Payload) -> None:
        """Tell queries for `name` this from now on."""
        if self._sealed:
            raise Sealed
        self._actions[("state", name)] = PublishState(name=name, state=state)

    def updates(self) -> Updates:
        """Who answers updates of this run."""
        if self._updates is None:
            self._updates = Updates(self, self._loop)
        return self._updates

    def answer_update(self, answer: AnswerUpdate) -> None:
        if not self._sealed:
            self._actions[("update", answer.key)] = answer

    def was_refused(self, key: str) -> bool | None:
        """What history says of a request that is replayed, because the validator may be another now; None if new."""
        return key in self._refused if self.replaying else None

    def ask_sealed(self, question: Callable[[Any], Any], data: Any) -> None:
        """Ask code that must change nothing: what it asks for durably is refused. Raises what the code raises."""
        loop = self._loop
        is_outside = running_loop() is None
        outer = loop.enter() if is_outside else None
        sealed, self._sealed = self._sealed, True
        try:
            question(data)
        except Sealed:
            raise OnlyInWorkflow("a validator only looks: let the handler do what is durable") from None
        finally:
            self._sealed = sealed
            if is_outside:
                loop.leave(outer)

    def continue_as_new(self, input: Payload, keep_events: bool) -> NoReturn:
        if self._sealed or self.is_over:
            raise Sealed
        self._continuation = ContinueRun(input=input)
        self._keeps_events = keep_events
        raise ContinueAsNew

    def random(self) -> random.Random:
        if self._random is None:
            self._random = random.Random(self._seed)
        return self._random

    def uuid4(self) -> uuid.UUID:
        return uuid.UUID(int=self.random().getrandbits(128), version=4)

    # -- asked by the loop ----------------------------------------------------------------------------------------

    def create_timer(self, handle: TimerHandle) -> None:
        number = handle.number = self.next_number()
        if self._timers is None:
            self._timers = {}
        self._timers[number] = handle
        delay = round(min(handle.when() * SECOND, LATEST))  # because a timer may be infinite, a row may not
        due = min(self.identity.started + delay, LATEST)
        self._actions[number] = CreateTimer(number=number, due=due, line=calling_line())

    def cancel_timer(self, handle: TimerHandle) -> None:
        if not self._sealed and self._timers and self._timers.pop(handle.number, None) is not None:
            self._withdraw(handle.number, CancelTimer(number=handle.number))

    # -- inside ---------------------------------------------------------------------------------------------------

    def _withdraw(self, number: int, action: Action) -> None:
        """Take an action back: silently if its turn is not over, with an action of its own otherwise."""
        if not self._sealed and self._actions.pop(number, None) is None:
            self._actions[("cancel", number)] = action

    def _start(self, event: RunStarted) -> None:
        if not self.replaying:
            self.take_up()
        # because the workflow must not see, nor replay differently by, what the caller's context holds
        context = contextvars.Context()
        self._task = self._loop.begin(self._main(self, event), self.identity.name, context)

    def _activity_done(self, event: ActivityCompleted | ActivityFailed | EntityCompleted | EntityFailed) -> None:
        future = self._calls.pop(event.number or 0, None)  # because the answer of an actor may come without a number
        if future is not None and not future.done():
            future.set_result(event)

    def _timer_fired(self, event: TimerFired) -> None:
        handle = self._timers.pop(event.number, None) if self._timers else None
        if handle is not None and handle.callback is not None:
            # because due times are whole microseconds, and code that finds itself before its deadline waits again
            self._loop.set_time(max(self._loop.time(), handle.when()))
            self._loop.make_ready(handle)

    def _event_raised(self, event: EventRaised) -> None:
        inbox = self._inbox = self._inbox or Inbox()
        number = inbox.arrive(event)
        if number is not None:
            self._withdraw(number, StopWaiting(number=number))

    def _update_requested(self, event: UpdateRequested) -> None:
        self.updates().arrive(event)

    def _cancel_requested(self, event: RunCancelRequested) -> None:
        if self._task is not None:
            self._task.cancel(event.reason)

    def _keep_event(self, event: EventRaised) -> None:
        inbox = self._inbox = self._inbox or Inbox()
        inbox.close()
        inbox.arrive(event)

    def _keep_cancellation(self, event: RunCancelRequested) -> None:
        """It means the instance, and the run that it came for has none of it."""
        if self._continuation is not None:
            self._continuation = msgspec.structs.replace(self._continuation, events=[event])

    def _continued(self) -> ContinueRun | None:
        """The next generation, with what came until the end of the turn that asked for it: updates, and events if
        they are kept."""
        if self._continuation is None:
            return None
        events: list[Any] = self.unconsumed() if self._keeps_events else []
        if self._updates is not None:
            events = events + self._updates.unanswered()
        if not events:
            return self._continuation
        return msgspec.structs.replace(self._continuation, events=events + self._continuation.events)

    def _finish(self, task: Task) -> None:
        self.finished = True
        action = self._continued() or _completion(task, self._keep_calls)
        dropped = _WAITS if self._keep_calls else _WAITS + _CALLS
        if self._actions:
            self._actions = {key: value for key, value in self._actions.items() if not isinstance(value, dropped)}
        self._actions["end"] = action

    def __repr__(self) -> str:
        waiting = f"{len(self._calls)} calls, {len(self._timers or ())} timers, {len(self.listening())} events"
        identity = self.identity
        return f"<perdure Run {identity.name} {identity.instance} generation {identity.generation}: {waiting}>"


_NONE_REFUSED: frozenset[str] = frozenset()
_NONE_OWED: dict[str, AnswerUpdate] = {}
_NO_PATCHES: dict[str, bool] = {}
"""What a run begins with, never changed, because most runs ask for none."""
_WAITS = (CreateTimer, WaitForEvent)
_CALLS = (ScheduleActivity, CreateChild, CallEntity)
_DELIVER: dict[type, Callable[[Run, Any], None]] = {
    RunStarted: Run._start,
    ActivityCompleted: Run._activity_done,
    ActivityFailed: Run._activity_done,
    ChildCompleted: Run._activity_done,
    ChildFailed: Run._activity_done,
    EntityCompleted: Run._activity_done,
    EntityFailed: Run._activity_done,
    TimerFired: Run._timer_fired,
    EventRaised: Run._event_raised,
    UpdateRequested: Run._update_requested,
    RunCancelRequested: Run._cancel_requested,
}
_KEEP: dict[type, Callable[[Run, Any], None]] = {
    EventRaised: Run._keep_event,
    UpdateRequested: Run._update_requested,
    RunCancelRequested: Run._keep_cancellation,
}


def is_seen(event: Any) -> bool:
    """Whether it is one of the events that are delivered to code."""
    return type(event) in _DELIVER


def _completion(task: Task, keep_calls: bool) -> CompleteRun:
    if task.cancelled():
        return CompleteRun(status="canceled", keep_calls=keep_calls)
    error = task.exception()
    if error is None:
        return CompleteRun(status="completed", output=task.result(), keep_calls=keep_calls)
    return CompleteRun(status="failed", failure=to_failure(error), keep_calls=keep_calls)


UNWIND_STEPS_MAX = 100
"""How often code that is put away may await again while it unwinds before it is left alone."""
REFUSALS_MAX = 100
"""How often code that is put away is refused something durable before it is let wait for what never comes."""
_left_alone: list[Any] = []
"""Coroutines that would not unwind, kept because the collector would resume them outside their run, where an activity
is an ordinary call."""


def _unwind(task: Task) -> None:
    coroutine = task.get_coro()
    if coroutine is None or task.done():
        return
    for _ in range(UNWIND_STEPS_MAX):
        try:
            # in its own context, because what its `finally` blocks reset was set there
            task.context.run(coroutine.throw, Sealed())
        except BaseException:  # noqa: BLE001
            return  # because whatever it unwinds with, nobody is there to hear it
    _left_alone.append(coroutine)


def current_run() -> Run | None:
    """The run whose code is asking, None outside workflow code."""
    loop = running_loop()
    return loop.run if loop is not None else None


def require_run(what: str) -> Run:
    run = current_run()
    if run is None:
        raise OnlyInWorkflow(f"{what} works only inside a workflow: call it from a function under @app.workflow")
    return run


_LIBRARY = ("/perdure/sdk/", "/perdure/blocks/", "/asyncio/", "/anyio/", "/contextlib.py")


def is_of_user(code: CodeType) -> bool:
    """Whether code is a user's own: neither ours nor of what its tasks run on."""
    path = code.co_filename.replace("\\", "/")
    return not any(part in path for part in _LIBRARY)


_AWAITED = ("cr_await", "ag_await", "gi_yieldfrom")


def awaited_frames(coroutine: Any) -> Iterator[FrameType]:
    """The frames of a chain of coroutines that await each other, outermost first."""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            yield frame
        coroutine = next((getattr(coroutine, name) for name in _AWAITED if hasattr(coroutine, name)), None)


def _line_of(coroutine: Any) -> str | None:
    """The innermost line of user code in a chain of coroutines that await each other."""
    found = None
    for frame in awaited_frames(coroutine):
        if is_of_user(frame.f_code):
            found = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
    return found


_lines: dict[tuple[str, int, str], str | None] = {}
LINES_MAX = 10_000


def calling_line() -> str | None:
    """Where user code asks, as "file.py:12 in checkout"; the nearest frame that is neither ours nor asyncio's."""
    frame: Any = sys._getframe(2)
    for _ in range(8):
        if frame is None:
            return None
        code = frame.f_code
        key = (code.co_filename, frame.f_lineno, code.co_name)  # not the code itself, which takes long to hash
        line = _lines.get(key, "")
        if line == "":
            if len(_lines) > LINES_MAX:
                _lines.clear()
            path = code.co_filename.replace("\\", "/")
            line = _lines[key] = (
                f"{path.rsplit('/', 1)[-1]}:{frame.f_lineno} in {code.co_name}" if is_of_user(code) else None
            )
        if line is not None:
            return line
        frame = frame.f_back
    return None
