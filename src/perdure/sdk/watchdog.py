"""Who has held a thread for too long, and how to make it let go."""

from __future__ import annotations

import asyncio
import ctypes
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from types import TracebackType

TURN_SECONDS_MAX = 2.0
"""Wall time that one turn's code may take before it is interrupted."""
BLOCKED_SECONDS_MAX = 2.0
"""Wall time for which an `async def` activity, or method of an actor, may block the event loop before it is
interrupted."""
LOOK_SECONDS = 0.25
ABSENT_SECONDS_MIN = 2 * LOOK_SECONDS
"""Beyond the time of a look and what the process has computed meanwhile, it has not run, as when it is stopped, or its
machine sleeps: nobody in it is to blame for that time, nor for what came before."""
WAITED = Path("/proc/self/task")
"""Where Linux tells of each thread how long it has waited for a processor: the second number, in nanoseconds, of its
file `schedstat`. Nobody is to blame for that time either."""


class Interrupted(BaseException):
    """Thrown by the watchdog into code that does not let go of its thread."""


class Watchdog:
    """A thread that looks at one event loop's thread every `LOOK_SECONDS`."""

    def __init__(self, turn_seconds: float = TURN_SECONDS_MAX, blocked_seconds: float = BLOCKED_SECONDS_MAX) -> None:
        self._turn_seconds = turn_seconds
        self._blocked_seconds = blocked_seconds
        self._lock = threading.RLock()  # because a task may be put away by a collection of garbage inside it
        self._thread_id = self._native_id = 0
        self._turn: object | None = None
        self._since = 0.0
        self._interrupted: str | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beat = 0.0
        self._beating: asyncio.TimerHandle | None = None
        self._stop = threading.Event()
        self._blockers: set[asyncio.Task[object]] = set()
        self._blocked: dict[object, str] = {}

    def start(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Watch the calling thread, and the event loop that it runs."""
        self._thread_id = threading.get_ident()
        self._native_id = threading.get_native_id()
        self._loop = loop
        self._tick()
        threading.Thread(target=self._look, name="perdure-watchdog", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()
        if self._beating is not None:
            self._beating.cancel()

    def enter(self, turn: object) -> None:
        """A turn's code starts to run on the watched thread."""
        self._since = time.monotonic()
        self._turn = turn

    def leave(self) -> str | None:
        """The turn's code has returned; the stack where it was interrupted, None if it was not."""
        if self._interrupted is None:
            self._turn = None
            if self._interrupted is None:
                return None
        with self._lock:
            self._turn = None
            stack, self._interrupted = self._interrupted, None
            _take_back()
        return stack

    def watching(self) -> Watched:
        """What the calling task does inside may block the loop, and is interrupted then."""
        task = asyncio.current_task()
        assert task is not None
        return Watched(self, task)

    def watch(self, task: asyncio.Task[object]) -> None:
        """From now on it is to blame if it blocks the loop."""
        self._blockers.add(task)

    def release(self, task: asyncio.Task[object]) -> str | None:
        """It is no more; the stack where it was interrupted, None if it was not."""
        with self._lock:
            self._blockers.discard(task)
            stack = self._blocked.pop(task, None)
            if stack is not None:
                _take_back()
        return stack

    def _tick(self) -> None:
        self._beat = time.monotonic()
        if self._loop is not None and not self._stop.is_set():
            self._beating = self._loop.call_later(LOOK_SECONDS, self._tick)

    def _look(self) -> None:
        awake = last = time.monotonic()
        computed = time.process_time()
        waited = _waited_seconds(self._native_id)
        judged = excused = 0.0  # what is looked at began then, and has waited so long for a processor
        while not self._stop.wait(LOOK_SECONDS):
            now = time.monotonic()
            before, computed = computed, time.process_time()
            if now - last - (computed - before) > LOOK_SECONDS + ABSENT_SECONDS_MIN:
                awake = now
            last = now
            before, waited = waited, _waited_seconds(self._native_id)
            with self._lock:
                began = self._beat if self._turn is None else self._since
                excused = waited - before + (excused if began == judged else 0.0)
                judged = began
                took = now - max(began, awake) - excused
                if self._turn is None:
                    if took > self._blocked_seconds:
                        self._interrupt_blocker()
                elif took > self._turn_seconds:
                    self._interrupted = self._interrupted or _stack(self._thread_id)
                    _throw(self._thread_id)

    def _interrupt_blocker(self) -> None:
        task = asyncio.current_task(self._loop) if self._loop is not None else None
        if task is not None and task in self._blockers and task not in self._blocked:
            self._blocked[task] = _stack(self._thread_id)
            _throw(self._thread_id)


class Watched:
    """A stretch of a task that may block the loop. `stack`: where it was interrupted for that, once it is over."""

    __slots__ = ("_task", "_watchdog", "stack")

    def __init__(self, watchdog: Watchdog, task: asyncio.Task[object]) -> None:
        self._watchdog = watchdog
        self._task = task
        self.stack: str | None = None

    def __enter__(self) -> Watched:
        self._watchdog.watch(self._task)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stack = self._watchdog.release(self._task)


def _waited_seconds(native_id: int) -> float:
    """For how long a thread of this process has been ready to run, and did not; 0 where the system does not tell."""
    try:
        return int((WAITED / str(native_id) / "schedstat").read_bytes().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0  # other systems, and kernels without these figures


def _throw(thread_id: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(Interrupted))


def _take_back() -> None:
    """Meet an exception that is still on its way to this thread, because it is out of the code that it was meant for.

    Not by throwing NULL: Python 3.11 then believes for ever that one is on its way, and looks for it at every step;
    under a trace function, such as pdb's, it never comes to the next one.
    """
    with suppress(Interrupted):
        for _ in range(2):  # because it is met where a loop goes round
            pass


def _stack(thread_id: int) -> str:
    frame = sys._current_frames().get(thread_id)
    return "".join(traceback.format_stack(frame)[-8:]) if frame is not None else ""
