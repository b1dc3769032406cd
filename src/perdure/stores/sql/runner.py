"""Where a connection's work runs: a thread of its own, or here and now."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Runner(Protocol):
    """Runs one piece of work after the other. `run` gives its result or raises its error."""

    async def run(self, work: Callable[..., T], *args: Any) -> T: ...

    def stop(self) -> None:
        """Let go of what runs the work, after that which was already given."""


class InlineRunner:
    """Runs work at once on the event loop: for simulators, where a seed decides the order of all things."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        return work(*args)

    def stop(self) -> None:
        pass


class ThreadRunner:
    """Runs work on a thread of its own, because an fsync must not hold up the event loop.

    A call that is cancelled before its work began takes it back; later it waits for the work's end.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        job = Job(asyncio.get_running_loop(), work, args)
        self._jobs.put(job)
        try:
            result: T = await job.outcome  # and not shielded, which costs each call a round of the event loop
            return result
        except asyncio.CancelledError:
            if not job.claim():
                await job.end()
            raise

    def stop(self) -> None:
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.claim():
                job.do()
            # because the frame would keep the last job's rows alive until the next one comes
            del job


class Job:
    """One piece of work and the future of its outcome, which its caller may cancel; the work ends all the same."""

    __slots__ = ("_args", "_claimed", "_end", "_has_ended", "_loop", "_work", "outcome")

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.outcome: asyncio.Future[Any] = loop.create_future()
        self._loop = loop
        self._work = work
        self._args = args
        self._claimed = threading.Lock()
        self._has_ended = False
        self._end: asyncio.Future[None] | None = None

    def claim(self) -> bool:
        """True for the first who asks: the thread that does the work, or the caller who takes it back."""
        return self._claimed.acquire(blocking=False)

    def do(self) -> None:
        try:
            outcome: tuple[Any, BaseException | None] = (self._work(*self._args), None)
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            outcome = (None, error)
        try:
            self._loop.call_soon_threadsafe(self._settle, *outcome)
        except Exception:  # noqa: BLE001 because this thread serves others too, and a loop that is closed has nobody left
            return

    async def end(self) -> None:
        """Wait for the end of work whose outcome nobody waits for any more."""
        if not self._has_ended:
            self._end = self._loop.create_future()
            await self._end

    def _settle(self, result: Any, error: BaseException | None) -> None:
        self._has_ended = True
        if self._end is not None and not self._end.done():
            self._end.set_result(None)
        if self.outcome.done():
            return
        if error is not None:
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(result)
