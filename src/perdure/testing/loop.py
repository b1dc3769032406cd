"""A seeded asyncio event loop in virtual time: who runs next is a choice, and time jumps to who waits.

Callbacks belong to a `Process`, which may be killed: then no code of it runs any more, no `finally` either.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import random
import sys
import traceback
import zlib
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

T = TypeVar("T")
STEPS_PER_INSTANT_MAX = 50_000
"""Callbacks without the time moving on: more is a loop that spins."""
START = 1_735_689_600_000_000
"""Wall time at which virtual time begins, microseconds since 1970 UTC."""
THREAD_SECONDS = (0.0, 0.001, 0.05)
"""How long the work of a thread may take."""


UNAWAITED = ("perdure-", "second delivery")
"""How the names of tasks begin whose errors are failures of the world."""


class Deadlock(Exception):
    """Nothing is ready, no timer is set, and the main task is not done."""


class Spin(Exception):
    """The loop ran `STEPS_PER_INSTANT_MAX` callbacks and time stood still."""


class Livelock(Exception):
    """Time went on, and the main task was not done when the loop's bound in steps or in virtual time was met."""


class Process:
    """What dies together: every callback whose context names it.

    Its pending tasks are kept until `bury`, so that no collector resumes them.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen_until = 0.0
        self.tasks: set[asyncio.Task[Any]] = set()
        self.context = copy_context()
        self.context.run(PROCESS.set, self)

    def kill(self) -> None:
        self.alive = False

    def bury(self) -> None:
        """Take apart what was left pending. The world it ran in must be over."""
        for task in self.tasks:
            _close(task)
        self.tasks.clear()

    def __repr__(self) -> str:
        return f"<Process {self.name}: {'alive' if self.alive else 'dead'}, {len(self.tasks)} tasks>"


PROCESS: ContextVar[Process | None] = ContextVar("perdure_simulated_process", default=None)


class SimTask(asyncio.Task[Any]):
    """A task that hashes by its number, because asyncio iterates sets of tasks."""

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], loop: SimLoop, name: str | None, context: Context | None
    ) -> None:
        self._number = next(loop.numbers)
        self.process: Process | None = None
        super().__init__(coroutine, loop=loop, name=name or f"task {self._number}", context=context)
        self._log_destroy_pending = False  # because a killed process drops its tasks on purpose

    def __hash__(self) -> int:
        return self._number


class SimFuture(asyncio.Future[Any]):
    """A future that hashes by its number, for the same reason."""

    def __init__(self, loop: SimLoop) -> None:
        super().__init__(loop=loop)
        self._number = next(loop.numbers)

    def __hash__(self) -> int:
        return self._number


_EventLoop: Any = asyncio.AbstractEventLoop
"""Untyped, because of the many abstract methods of a loop only those are here that a world needs."""


class SimLoop(_EventLoop):  # type: ignore[misc]
    """Runs everything of one simulated world in one thread.

    `chance` decides; `disorder` is the share of steps at which another callback than the oldest may run.
    `after_step` is called after each callback. `seconds_max` and `steps_max` bound a run.
    """

    steps_per_instant_max = STEPS_PER_INSTANT_MAX
    horizon = float("inf")
    """Timers set beyond it, in seconds of the loop, are nobody's work."""

    def __init__(
        self,
        chance: random.Random,
        disorder: float = 0.0,
        *,
        seconds_max: float = math.inf,
        steps_max: float = math.inf,
    ) -> None:
        self.numbers = itertools.count(1)
        self.steps = 0
        self.digest = 0
        self.failures: list[str] = []
        self.after_step: Callable[[], None] | None = None
        self._chance = chance
        self._disorder = disorder
        self._seconds_max = seconds_max
        self._steps_max = steps_max
        self._now = 0.0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.Handle]] = []
        self._instant_began = 0

    # -- driving it -----------------------------------------------------------------------------------------

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run until `main` is done. Raises Deadlock, Spin or Livelock if it never will be."""
        __tracebackhide__ = True
        with self._in_place_of_the_running_one():
            task = self.create_task(main, name="world")
            self._complete(task)
            result: T = task.result()
            return result

    @contextmanager
    def _in_place_of_the_running_one(self) -> Iterator[None]:
        outer = asyncio._get_running_loop()
        outer_task = asyncio.current_task(outer) if outer is not None else None
        hooks = sys.get_asyncgen_hooks()
        if outer is not None and outer_task is not None:
            asyncio.tasks._leave_task(outer, outer_task)  # because a thread is in one task at a time
        asyncio._set_running_loop(self)
        sys.set_asyncgen_hooks(None, _leave)
        try:
            yield
        finally:
            asyncio._set_running_loop(outer)
            if outer is not None and outer_task is not None:
                asyncio.tasks._enter_task(outer, outer_task)
            sys.set_asyncgen_hooks(*hooks)

    def _complete(self, task: asyncio.Task[Any]) -> None:
        while not task.done():
            self._step()

    def _step(self) -> None:
        if not self._ready:
            self._jump()
        handle = self._take()
        if handle._cancelled or not self._may_run(handle):
            return
        self.steps += 1
        if self.steps - self._instant_began > self.steps_per_instant_max:
            raise Spin(f"time stands still at {self._now:.3f} s; the next callback was {handle!r}")
        if self.steps > self._steps_max or self._now > self._seconds_max:
            raise Livelock(f"no end in sight at {self._now:.3f} s, after {self.steps} steps")
        handle._run()
        if self.after_step is not None:
            self.after_step()

    def _may_run(self, handle: asyncio.Handle) -> bool:
        process: Process | None = handle._context.get(PROCESS)  # type: ignore[attr-defined]
        if process is None:
            return True
        if process.frozen_until > self._now:
            heapq.heappush(self._timers, (process.frozen_until, next(self.numbers), handle))
            return False
        return process.alive

    def _take(self) -> asyncio.Handle:
        ready = self._ready
        if self._disorder and len(ready) > 1 and self._chance.random() < self._disorder:
            ready.rotate(-self._chance.randrange(len(ready)))
        return ready.popleft()

    def _jump(self) -> None:
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not timers or timers[0][0] > self.horizon:
            raise Deadlock(f"at {self._now:.3f} s nothing is ready and no timer is set")
        self._now = max(self._now, timers[0][0])
        self._instant_began = self.steps
        while timers and timers[0][0] <= self._now:
            self._ready.append(heapq.heappop(timers)[2])

    def note(self, text: str) -> None:
        """Mix a happening into the digest: two runs of one seed must have the same."""
        self.digest = zlib.crc32(f"{self._now:.6f} {text}".encode(), self.digest)

    # -- what asyncio asks of a loop ------------------------------------------------------------------------

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self.numbers), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are dropped when their time comes."""

    def time(self) -> float:
        return self._now

    def create_future(self) -> asyncio.Future[Any]:
        return SimFuture(self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None, **_: Any) -> Any:
        task = SimTask(coro, self, name, context)
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is not None:
            task.process = process
            process.tasks.add(task)
            task.add_done_callback(process.tasks.discard)
            task.add_done_callback(self._look_at_end)
        return task

    def _look_at_end(self, task: asyncio.Task[Any]) -> None:
        """Nobody awaits the tasks of the engine itself and of the store's manners: an error would be lost with them."""
        error = None if task.cancelled() else task.exception()
        if error is not None and task.get_name().startswith(UNAWAITED):
            self.failures.append(f"{task.get_name()} died of {_described(error)}")

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """A thread's work happens at once, at a chosen time."""
        future = self.create_future()

        def work() -> None:
            if not future.cancelled():
                _settle(future, func, args)

        self.call_later(self._chance.choice(THREAD_SECONDS), work)
        return future

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return asyncio._get_running_loop() is self

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        future = context.get("future")
        process = getattr(future, "process", None)
        is_plain = isinstance(future, asyncio.Future) and not isinstance(future, asyncio.Task)
        if not (is_plain or (process is not None and not process.alive)):  # because who waited for it may have died
            self.failures.append(f"{context.get('message')}: {_described(context.get('exception'))}")

    def __repr__(self) -> str:
        waiting = f"{len(self._ready)} ready, {len(self._timers)} timers"
        return f"<SimLoop at {self._now:.6f} s: {waiting}, {self.steps} steps>"


class SimClock:
    """Wall time of a machine in the loop's world, `skew` microseconds off, and ids that its seed decides."""

    def __init__(self, loop: SimLoop, chance: random.Random, skew: int = 0) -> None:
        self._loop = loop
        self._chance = chance
        self._skew = skew

    def now(self) -> int:
        return START + self._skew + round(self._loop.time() * 1_000_000)

    def token(self) -> str:
        return f"{self._chance.getrandbits(128):032x}"


def _settle(future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        future.set_result(func(*args))
    except Exception as error:  # noqa: BLE001 - it is raised where the result is awaited
        future.set_exception(error)


def _close(task: asyncio.Task[Any]) -> None:
    coroutine = task.get_coro()
    if coroutine is not None and not task.done():
        outer = asyncio._get_running_loop()
        # because asyncio makes a loop, which nobody closes, for who gathers while it unwinds outside of any
        asyncio._set_running_loop(task.get_loop())
        try:
            coroutine.close()
        except BaseException:  # noqa: BLE001 - whatever it unwinds with, its world is over
            return
        finally:
            asyncio._set_running_loop(outer)


def _described(error: BaseException | None) -> str:
    if error is None:
        return "no error"
    last = traceback.extract_tb(error.__traceback__)[-1:]
    return f"{error!r}" + "".join(f" at {frame.filename}:{frame.lineno} in {frame.name}" for frame in last)


def _leave(_: Any) -> None:
    """Abandoned async generators are not resumed, because when the collector finds them is not repeatable."""


SimLoop.__abstractmethods__ = frozenset()
