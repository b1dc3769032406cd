"""The deterministic event loop of one run: an asyncio loop whose time stands still and whose timers are durable.

It runs callbacks in the order they became ready, until none is left; then the turn is over. Nothing of the outside
reaches it but the events that `Run` delivers. Callers see a documented part of asyncio (tasks, futures, timers, locks,
queues, task groups, timeouts); everything that needs a thread, a socket or a process is refused by name.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from asyncio import _get_running_loop, _set_running_loop
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from types import FrameType
from typing import Any, Protocol

from perdure.errors import NotDeterministic, NotInWorkflow

ITERATIONS_MAX = 10_000
"""Passes over its ready callbacks that the loop makes without a durable action; more is a turn that will not end."""

TASKS_LOOK = 64
"""A run's list of tasks is cleared of those that are done when it has doubled, and grown by this."""


class _Thread(threading.local):
    """Which run's loop runs on this thread; asyncio knows it too, but asks the system for the process id each time."""

    loop: Loop | None = None


_thread = _Thread()


def running_loop() -> Loop | None:
    """The run's loop that runs on this thread, None outside workflow code."""
    return _thread.loop


class Timers(Protocol):
    """Where the loop's timers are made durable."""

    def create_timer(self, handle: TimerHandle) -> None: ...
    def cancel_timer(self, handle: TimerHandle) -> None: ...


class TooManyIterations(BaseException):
    """The loop made `ITERATIONS_MAX` passes without a durable action."""


class Handle:
    """A callback that is ready to run."""

    __slots__ = ("args", "callback", "context")

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context | None) -> None:
        self.callback: Callable[..., Any] | None = callback
        self.args = args
        self.context = context if context is not None else copy_context()

    def cancel(self) -> None:
        self.callback = None

    def cancelled(self) -> bool:
        return self.callback is None


class TimerHandle(Handle):
    """A callback that runs when its durable timer `number` fires."""

    __slots__ = ("_when", "loop", "number")

    def __init__(
        self, when: float, callback: Callable[..., Any], args: tuple[Any, ...], context: Context | None, loop: Loop
    ) -> None:
        super().__init__(callback, args, context)
        self._when = when
        self.loop = loop
        self.number = 0

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        if self.callback is not None:
            self.callback = None
            self.loop.cancel_timer(self)


class Future(asyncio.Future[Any]):
    """A future that hashes by its number in the run, because asyncio iterates sets of futures."""

    __slots__ = ("_hash",)

    def __init__(self, loop: Loop) -> None:
        self._hash = loop.next_hash()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._hash


class Task(asyncio.Task[Any]):
    """A task that hashes by its number in the run, because task groups iterate sets of tasks."""

    __slots__ = ("_hash", "context")

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], loop: Loop, name: str | None, context: Context | None
    ) -> None:
        self._hash = loop.next_hash()
        self._log_destroy_pending = False  # because an evicted run drops its tasks on purpose
        self.context = context if context is not None else copy_context()
        super().__init__(coroutine, loop=loop, name=name or f"task-{loop.created}", context=self.context)

    def __hash__(self) -> int:
        return self._hash


_NONE_READY: list[Handle] = []
"""Stands for a list that nobody fills, because a thousand loops at rest need not hold a thousand empty ones."""


class Loop(asyncio.AbstractEventLoop):
    """One run's loop. `seed` (any integer that belongs to the run) makes its hashes the same in every replay."""

    def __init__(self, run: Timers, seed: int) -> None:
        self.run: Any = run
        self.created = 0
        self.ready: list[Handle] = _NONE_READY
        self.iterations = 0
        self.tasks: list[Task] = []
        self._tasks_look = TASKS_LOOK
        self._seed = seed
        self._seconds = 0.0

    # -- driving it ---------------------------------------------------------------------------------------------

    def enter(self) -> asyncio.AbstractEventLoop | None:
        """Become the thread's running loop; the one that was it before, for `leave`."""
        outer = _get_running_loop()
        _set_running_loop(self)
        _thread.loop = self
        return outer

    def leave(self, outer: asyncio.AbstractEventLoop | None) -> None:
        _thread.loop = None
        _set_running_loop(outer)

    def set_time(self, seconds: float) -> None:
        """The time that the turn sees, in seconds since the run started."""
        self._seconds = seconds

    def run_until_idle(self) -> None:
        """Run what is ready, and what becomes ready by it, as the thread's running loop."""
        outer = self.enter()
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, _leave_generator)
        try:
            while self.ready:
                self.iterations += 1
                if self.iterations > ITERATIONS_MAX:
                    raise TooManyIterations
                ready, self.ready = self.ready, _NONE_READY
                for handle in ready:
                    callback = handle.callback
                    if callback is not None:
                        try:
                            handle.context.run(callback, *handle.args)
                        except SystemExit:
                            continue  # because the task keeps it as its error, and the process has other work
        finally:
            self.leave(outer)
            sys.set_asyncgen_hooks(*hooks)

    def forget(self) -> None:
        """Let go of everything; nothing runs here any more."""
        self.tasks.clear()
        self.ready = _NONE_READY
        self.run = None

    def next_hash(self) -> int:
        self.created += 1
        return self._seed + self.created * 2654435761  # Knuth's multiplicative constant spreads small numbers

    def cancel_timer(self, handle: TimerHandle) -> None:
        if self.run is not None:
            self.run.cancel_timer(handle)

    # -- what asyncio asks of a loop ------------------------------------------------------------------------------

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> Any:
        handle = Handle(callback, args, context)
        self.make_ready(handle)
        return handle

    def make_ready(self, handle: Handle) -> None:
        """Let a callback run in the next pass."""
        if self.ready:
            self.ready.append(handle)
        else:
            self.ready = [handle]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> Any:
        return self.call_at(self._seconds + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> Any:
        handle = TimerHandle(when, callback, args, context, self)
        if when <= self._seconds:
            self.make_ready(handle)
        else:
            self.run.create_timer(handle)
        return handle

    def time(self) -> float:
        return self._seconds

    def create_future(self) -> Any:
        return Future(self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None, **_: Any) -> Any:
        caller = sys._getframe(1)
        if caller.f_code is _ENSURE_FUTURE and _takes_from_a_set(caller.f_back):
            raise NotDeterministic(
                "asyncio.as_completed starts coroutines in the order of a set, another one in each replay; give it "
                "tasks that were started in order: as_completed([asyncio.create_task(each) for each in ...])"
            )
        return self.begin(coro, name, context)

    def begin(self, coro: Any, name: str | None = None, context: Context | None = None) -> Task:
        """A task of this loop."""
        task = Task(coro, self, name, context)
        self.tasks.append(task)
        if len(self.tasks) > self._tasks_look:
            self.tasks = [task for task in self.tasks if not task.done()]
            self._tasks_look = 2 * len(self.tasks) + TASKS_LOOK
        return task

    def get_debug(self) -> bool:
        return False

    def get_task_factory(self) -> None:
        return None

    def is_running(self) -> bool:
        return _thread.loop is self

    def is_closed(self) -> bool:
        return False

    def get_exception_handler(self) -> None:
        return None

    def set_exception_handler(self, handler: Any) -> None:
        raise NotInWorkflow(
            "a workflow's event loop keeps its own exception handler; catch the error where it is raised"
        )

    def default_exception_handler(self, context: Any) -> None:
        """Silent: an error of a task that nobody awaits is the run's own business, in asyncio too only a log line."""

    def call_exception_handler(self, context: Any) -> None:
        """Silent, for the same reason."""

    def __repr__(self) -> str:
        return (
            f"<perdure Loop of {self.run!r}: {len(self.ready)} ready, {len(self.tasks)} tasks, t={self._seconds:.6f}>"
        )


_ENSURE_FUTURE = getattr(asyncio.tasks, "_ensure_future", asyncio.ensure_future).__code__
_OVER_A_SET = ("as_completed", "_AsCompletedIterator")
"""What puts the awaitables it is given into a set: a function, from Python 3.13 on a class behind it."""


def _takes_from_a_set(frame: FrameType | None) -> bool:
    """Whether the code that makes a future, within asyncio, is `as_completed`."""
    while frame is not None and frame.f_code.co_filename == _ENSURE_FUTURE.co_filename:
        if frame.f_code.co_qualname.startswith(_OVER_A_SET):
            return True
        frame = frame.f_back
    return False


def _leave_generator(_: Any) -> None:
    """Abandoned async generators are not resumed, because when the collector finds them is not deterministic."""


def _refusal(name: str) -> Callable[..., Any]:
    def refuse(self: Loop, *args: Any, **kwargs: Any) -> Any:
        raise NotInWorkflow(f"workflow code cannot use loop.{name}(): put it into an activity and await that")

    refuse.__name__ = name
    return refuse


for _name in [
    "add_reader",
    "add_signal_handler",
    "add_writer",
    "call_soon_threadsafe",
    "close",
    "connect_accepted_socket",
    "connect_read_pipe",
    "connect_write_pipe",
    "create_connection",
    "create_datagram_endpoint",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "getaddrinfo",
    "getnameinfo",
    "remove_reader",
    "remove_signal_handler",
    "remove_writer",
    "run_forever",
    "run_in_executor",
    "run_until_complete",
    "sendfile",
    "set_debug",
    "set_default_executor",
    "set_task_factory",
    "shutdown_asyncgens",
    "shutdown_default_executor",
    "sock_accept",
    "sock_connect",
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendfile",
    "sock_sendto",
    "start_tls",
    "stop",
    "subprocess_exec",
    "subprocess_shell",
]:
    setattr(Loop, _name, _refusal(_name))
Loop.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]  # because the refusals above have made it whole


def new_loop(run: Timers, seed: int) -> Loop:
    """A loop for one run."""
    return Loop(run, seed)  # type: ignore[abstract]  # the checker cannot see the refusals
