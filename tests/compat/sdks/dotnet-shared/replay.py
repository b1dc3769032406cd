"""How the .NET SDKs run a workflow over its history: ids from 0, and each one's own idea of suspending."""

import json
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from google.protobuf import timestamp_pb2
from messages import make, text_of

END = 0x7FFF
"""The id of the action that ends a turn for good."""
COMPLETED, CONTINUED, FAILED, TERMINATED = 1, 2, 3, 5
FOR_EVER = timestamp_pb2.Timestamp(seconds=253402300799, nanos=999_999_900)
"""DateTime.MaxValue, which counts in 100 ns: when a wait without a time limit ends."""

Flow = Generator["Task", Any, Any]


@dataclass(frozen=True)
class Flavour:
    """What differs between Dapr's SDK and Microsoft's."""

    is_dapr: bool

    @property
    def task_failure(self) -> str:
        return (
            "Dapr.Workflow.WorkflowTaskFailedException" if self.is_dapr else "Microsoft.DurableTask.TaskFailedException"
        )


class TaskFailed(Exception):
    """A call failed. `details` is the Failure message that came."""

    def __init__(self, name: str, number: int, details: Any) -> None:
        super().__init__(f"Task '{name}' (#{number}) failed with an unhandled exception: {details.message}")
        self.details = details


class Task:
    """Something that a workflow waits for."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.value: Any = None
        self.error: Exception | None = None
        self._done = False

    @property
    def done(self) -> bool:
        return self._done

    def finish(self, value: Any = None, error: Exception | None = None) -> None:
        if not self._done:
            self.value, self.error, self._done = value, error, True


class All(Task):
    """Done when every task is; its value is theirs."""

    def __init__(self, tasks: list[Task]) -> None:
        super().__init__()
        self._tasks = tasks

    @property
    def done(self) -> bool:
        if not all(task.done for task in self._tasks):
            return False
        self.value = [task.value for task in self._tasks]
        self.error = next((task.error for task in self._tasks if task.error), None)
        return True


class Context:
    """What a workflow function is given."""

    def __init__(self, flavour: Flavour, execution: str) -> None:
        self.actions: dict[int, Any] = {}
        self.open: dict[int, Task] = {}
        self.listening: dict[str, deque[Task]] = defaultdict(deque)
        self.buffered: dict[str, deque[Any]] = defaultdict(deque)
        self.status: str | None = None
        self.continued: Any = None
        self.now = timestamp_pb2.Timestamp()
        self._flavour = flavour
        self._execution = execution
        self._next = 0

    def call(self, name: str, input: Any = None, key: str | None = None) -> Task:
        if self._flavour.is_dapr:
            key = key or str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._execution}/{self._next}"))
        return self._act(name, call=make("Call", name=name, input=json.dumps(input), key=key))

    def child(self, name: str, input: Any, id: str | None = None) -> Task:
        id = id or str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._execution}:{self._next}"))
        return self._act(name, child=make("Child", instance=id, name=name, input=json.dumps(input)))

    def timer(self, seconds: float) -> Task:
        return self._timer(seconds, origin_timer=make("Empty"))

    def event(self, name: str, seconds: float | None = None) -> Task:
        """The next event of a name. Dapr's SDK starts a timer for every wait, even for one without a limit."""
        if self.buffered[name]:
            task = Task(name)
            task.finish(json.loads(text_of(self.buffered[name].popleft().raised, "input") or "null"))
            return task
        task = Task(name)
        self.listening[name].append(task)
        if seconds is not None or self._flavour.is_dapr:
            self.open[self._next] = task
            self._timer(seconds, origin_event=make("Named", name=name), task=task)
        return task

    def retried(self, name: str, input: Any, attempts: int) -> Flow:
        """A call with a retry policy: each attempt is a call of its own, the same key in all."""
        key = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._execution}/{name}")) if self._flavour.is_dapr else None
        for attempt in range(1, attempts + 1):
            try:
                return (yield self.call(name, input, key))
            except TaskFailed:
                if attempt == attempts:
                    raise
                yield self.timer(0.1)

    def continue_as_new(self, input: Any) -> None:
        self.continued = (input,)

    def _timer(self, seconds: float | None, *, task: Task | None = None, **origin: Any) -> Task:
        fires = FOR_EVER
        if seconds is not None:
            nanos = self.now.ToNanoseconds() + int(seconds * 1e9)
            fires = timestamp_pb2.Timestamp(seconds=nanos // 10**9, nanos=nanos % 10**9 // 100 * 100)
        return self._act(
            "timer", task=task, timer=make("StartTimer", fires=fires, **(origin if self._flavour.is_dapr else {}))
        )

    def _act(self, name: str, task: Task | None = None, **action: Any) -> Task:
        task = task or Task(name)
        self.actions[self._next] = make("Action", id=self._next, **action)
        self.open[self._next] = task
        self._next += 1
        return task


class Replay:
    """One turn of one workflow."""

    def __init__(self, flavour: Flavour, flows: dict[str, Callable[[Context, Any], Flow]], turn: Any) -> None:
        self._flavour = flavour
        self._flows = flows
        self._context = Context(flavour, text_of(turn, "execution") or "")
        self._flow: Flow | None = None
        self._waits: Task | None = None
        self._end: Any = None
        self._held: list[Any] | None = None

    def run(self, past: list[Any], new: list[Any]) -> tuple[list[Any], str | None]:
        """The actions of the turn and the custom status."""
        last = _kind(new[-1])
        if self._flavour.is_dapr and last == "suspended":
            return [], None  # because that SDK looks at the last event alone, and leaves the rest to the server
        if self._flavour.is_dapr and last == "terminated":
            return [_complete(END, TERMINATED)], None
        for event in [*past, *new]:
            self._take(event)
        context = self._context
        if self._end is not None and self._end.complete.status == CONTINUED:
            kept = [event for events in context.buffered.values() for event in events]
            self._end.complete.carried.extend(
                kept
            )  # only now, because events may come after the one that ended the flow
        ends = [] if self._end is None else [self._end]
        return [*context.actions.values(), *ends], context.status

    def _take(self, event: Any) -> None:
        kind = _kind(event)
        if self._held is not None and kind not in ("resumed", "terminated", "turn_started"):
            self._held.append(event)
            return
        getattr(self, f"_{kind}", lambda event: None)(event)
        self._advance()

    def _turn_started(self, event: Any) -> None:
        self._context.now = event.at

    def _started(self, event: Any) -> None:
        input = json.loads(text_of(event.started, "input") or "null")
        self._flow = self._flows[event.started.name](self._context, input)
        self._step(next)

    def _scheduled(self, event: Any) -> None:
        self._confirm(event, "call", event.scheduled.name)

    def _child_created(self, event: Any) -> None:
        self._confirm(event, "child", event.child_created.name)

    def _timer_created(self, event: Any) -> None:
        action = self._confirm(event, "timer", None)
        told, asked = event.timer_created.fires, action.timer.fires
        assert told == asked, f"timer {event.id} was asked for {asked} and is told as {told}"

    def _completed(self, event: Any) -> None:
        self._finish(event.completed)

    def _child_completed(self, event: Any) -> None:
        self._finish(event.child_completed)

    def _failed(self, event: Any) -> None:
        self._fail(event.failed)

    def _child_failed(self, event: Any) -> None:
        self._fail(event.child_failed)

    def _timer_fired(self, event: Any) -> None:
        task = self._context.open.pop(event.timer_fired.number, None)
        if task is None or task.done:
            return
        for listening in self._context.listening.values():
            if task in listening:
                listening.remove(task)
                task.finish(error=TimeoutError(task.name))
        task.finish()

    def _raised(self, event: Any) -> None:
        name = event.raised.name
        if self._context.listening[name]:
            self._context.listening[name].popleft().finish(json.loads(text_of(event.raised, "input") or "null"))
        else:
            self._context.buffered[name].append(event)

    def _suspended(self, event: Any) -> None:
        if not self._flavour.is_dapr:
            self._held = []

    def _resumed(self, event: Any) -> None:
        held, self._held = self._held or [], None
        for waiting in held:
            self._take(waiting)

    def _terminated(self, event: Any) -> None:
        self._flow, self._held = None, None
        self._end = _complete(END, TERMINATED, text_of(event.terminated, "input"))

    def _confirm(self, event: Any, kind: str, name: str | None) -> Any:
        action = self._context.actions.pop(event.id, None)
        assert action is not None, f"event {event.id} confirms what was not asked for"
        assert action.HasField(kind), f"event {event.id} confirms no {kind}: {action}"
        assert name is None or getattr(action, kind).name == name, f"event {event.id} is {name}, not {action}"
        return action

    def _finish(self, done: Any) -> None:
        task = self._context.open.pop(done.number, None)
        if task is not None:
            task.finish(json.loads(text_of(done, "result") or "null"))

    def _fail(self, failed: Any) -> None:
        task = self._context.open.pop(failed.number, None)
        if task is not None:
            task.finish(error=TaskFailed(task.name, failed.number, failed.failure))

    def _advance(self) -> None:
        while self._flow is not None and self._waits is not None and self._waits.done:
            task = self._waits
            if task.error is not None:
                self._step(lambda flow, error=task.error: flow.throw(error))
            else:
                self._step(lambda flow, value=task.value: flow.send(value))

    def _step(self, step: Callable[[Flow], Task]) -> None:
        assert self._flow is not None
        try:
            self._waits = step(self._flow)
        except StopIteration as end:
            self._flow = None
            self._end = self._ending(end.value)
        except Exception as error:  # noqa: BLE001 whatever a workflow raises is its failure
            self._flow = None
            self._end = _complete(END, FAILED, failure=self._failure(error))

    def _ending(self, value: Any) -> Any:
        context = self._context
        if context.continued is None:
            return _complete(END, COMPLETED, json.dumps(value))
        return _complete(END, CONTINUED, json.dumps(context.continued[0]))

    def _failure(self, error: Exception) -> Any:
        if isinstance(error, TaskFailed):
            return make("Failure", type=self._flavour.task_failure, message=str(error), inner=error.details)
        return failure_of(error)


def failure_of(error: BaseException) -> Any:
    """An exception with its causes, as both SDKs send them."""
    inner = failure_of(error.__cause__) if error.__cause__ is not None else None
    return make(
        "Failure", type=f"Recorded.{type(error).__name__}", message=str(error), stack="   at Recorded", inner=inner
    )


def _complete(id: int, status: int, result: str | None = None, **more: Any) -> Any:
    return make("Action", id=id, complete=make("Complete", status=status, result=result, **more))


def _kind(event: Any) -> str:
    return next((field.name for field, _ in event.ListFields() if field.name not in ("id", "at")), "unknown")
