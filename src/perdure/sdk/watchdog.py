"""Who has held a thread for too long, and how to make it let go."""

from __future__ import annotations

import asyncio
import ctypes
import sys
import threading
import time
import traceback
from collections.abc import Callable

TURN_SECONDS_MAX = 2.0
"""Wall time that one turn's code may take before it is interrupted."""
BLOCKED_SECONDS_MAX = 2.0
"""Wall time for which an `async def` activity may block the event loop before it is interrupted."""
LOOK_SECONDS = 0.25


class Interrupted(BaseException):
    """Thrown by the watchdog into code that does not let go of its thread."""


class Watchdog:
    """A thread that looks at one event loop's thread every `LOOK_SECONDS`."""

    def __init__(self, turn_seconds: float = TURN_SECONDS_MAX, blocked_seconds: float = BLOCKED_SECONDS_MAX) -> None:
        self._turn_seconds = turn_seconds
        self._blocked_seconds = blocked_seconds
        self._lock = threading.Lock()
        self._thread_id = 0
        self._turn: object | None = None
        self._since = 0.0
        self._interrupted: str | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beat = 0.0
        self._beating: asyncio.TimerHandle | None = None
        self._stop = threading.Event()
        self._attempt: Callable[[], object | None] = lambda: None
        self._blocked: dict[object, str] = {}

    def start(
        self, loop: asyncio.AbstractEventLoop | None = None, attempt: Callable[[], object | None] = lambda: None
    ) -> None:
        """Watch the calling thread. `attempt` tells, from any thread, which activity task runs on the loop."""
        self._thread_id = threading.get_ident()
        self._loop = loop
        self._attempt = attempt
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
            _withdraw(self._thread_id)
        return stack

    def blocked(self, attempt: object) -> str | None:
        """The stack where an activity was interrupted because it blocked the loop; asked once, when it has ended."""
        with self._lock:
            stack = self._blocked.pop(attempt, None)
            if stack is not None:
                _withdraw(self._thread_id)
        return stack

    def _tick(self) -> None:
        self._beat = time.monotonic()
        if self._loop is not None and not self._stop.is_set():
            self._beating = self._loop.call_later(LOOK_SECONDS, self._tick)

    def _look(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            now = time.monotonic()
            with self._lock:
                if self._turn is not None:
                    if now - self._since > self._turn_seconds:
                        self._interrupted = self._interrupted or _stack(self._thread_id)
                        _throw(self._thread_id)
                elif now - self._beat > self._blocked_seconds:
                    self._interrupt_attempt()

    def _interrupt_attempt(self) -> None:
        attempt = self._attempt()
        if attempt is not None and attempt not in self._blocked:
            self._blocked[attempt] = _stack(self._thread_id)
            _throw(self._thread_id)


def _throw(thread_id: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(Interrupted))


def _withdraw(thread_id: int) -> None:
    """Take back an exception that the thread has not met yet, because it is out of the code that it was meant for."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), None)


def _stack(thread_id: int) -> str:
    frame = sys._current_frames().get(thread_id)
    return "".join(traceback.format_stack(frame)[-8:]) if frame is not None else ""
