"""The attempts that run on this node: slots, cancellation, heartbeats."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from perdure.clock import Clock
from perdure.codec import Payload
from perdure.engine.ports import Executor
from perdure.history.events import Failure
from perdure.history.options import decode_options
from perdure.history.work import Attempt, Outcome, Outlet, Stall
from perdure.stores.contract import Wait

SLOTS = 1_000
"""Attempts that run at once on a node, unless the app says otherwise. More wait their turn in memory."""
HEARTBEAT_LOOK_SECONDS = 0.2
DETAILS_FLUSH_SECONDS = 1.0
"""Heartbeat details are written at most this often for each attempt."""

Ended = Callable[["Running", "Outcome | Stall"], None]
Transact = Callable[["Running", Callable[[Any], Outcome]], Awaitable["Outcome | None"]]
Flush = Callable[["Running", Payload], None]
OpenOutlet = Callable[["Running"], Outlet]


class Running:
    """One attempt, from the time it is asked for."""

    __slots__ = (
        "address",
        "app",
        "attempts",
        "beaten_at",
        "cancelled",
        "details",
        "flushed_at",
        "options",
        "started",
        "task",
        "unflushed",
        "wait",
    )

    def __init__(self, attempts: Attempts, app: str, address: Address, wait: Wait) -> None:
        self.attempts = attempts
        self.app = app
        self.address = address
        self.wait = wait
        self.options = decode_options(wait.options)
        self.task: asyncio.Task[None] | None = None
        self.started = 0
        self.cancelled = False
        self.beaten_at = 0.0
        self.flushed_at = 0.0
        self.details = wait.details
        self.unflushed = False

    def beat(self, details: Payload | None) -> None:
        """A sign of life. Called from any thread: plain attribute writes, which the event loop's look reads."""
        self.attempts.beaten(self, details)

    def outlet(self) -> Outlet:
        """Where this attempt's items go."""
        return self.attempts.open_outlet(self)


Address = tuple[str, str, int, int]
"""(instance id, execution, generation, number): which call."""


def idempotency_key(address: Address) -> str:
    """Stable over attempts, unique over calls."""
    return f"{address[0]}/{address[1]}.{address[2]}/{address[3]}"


class Attempts:
    """Runs attempts in the slots of this node. `ended` is called on the event loop with each outcome.

    `transact` does the step of a transaction and gives None once its result is mail, or is not wanted any more.

    A call stays known when its attempt has ended, until the turn that closes it is durable: who reads the store
    before that still finds it open, and would run it again.
    """

    def __init__(
        self,
        executor: Executor,
        clock: Clock,
        ended: Ended,
        flush: Flush,
        transact: Transact,
        open_outlet: OpenOutlet,
        slots: int = SLOTS,
    ) -> None:
        self.open_outlet = open_outlet
        self._executor = executor
        self._clock = clock
        self._ended = ended
        self._flush = flush
        self._transact = transact
        self._slots = slots
        self._busy = 0
        self._queue: deque[Running] = deque()
        self._calls: dict[Address, Running] = {}
        self._beating: dict[Running, None] = {}  # ordered, so that a seeded run repeats
        self._look: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._stopped = False

    def start(self, app: str, address: Address, wait: Wait) -> None:
        """Begin an attempt as soon as a slot is free, unless the call has had this one already."""
        known = self._calls.get(address)
        if self._stopped or (known is not None and known.wait.attempt >= wait.attempt):
            return
        running = self._calls[address] = Running(self, app, address, wait)
        if self._busy < self._slots:
            self._begin(running)
        else:
            self._queue.append(running)

    def cancel(self, address: Address) -> None:
        """The call is closed, with its result or without; what an attempt still does is its own affair."""
        running = self._calls.pop(address, None)
        if running is not None:
            running.cancelled = True
            if running.task is not None:
                running.task.cancel()

    def runs(self, id: str) -> bool:
        """Whether an attempt of the instance runs, or waits for a slot."""
        calls = [running for address, running in self._calls.items() if address[0] == id]
        return any(running.task is not None or not running.started for running in calls)

    @property
    def count(self) -> int:
        return len(self._calls)

    async def drain(self, seconds: float) -> None:
        """Give running attempts some time to end, then cancel them; their calls run again after the next start."""
        tasks = [running.task for running in self._calls.values() if running.task is not None]
        self._queue.clear()
        if tasks and seconds > 0:
            await asyncio.wait(tasks, timeout=seconds)
        self._stopped = True
        left = [running.task for running in self._calls.values() if running.task is not None]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=max(seconds, 1.0))
        if self._look is not None:
            self._look.cancel()

    def _begin(self, running: Running) -> None:
        self._busy += 1
        running.started, running.beaten_at = self._clock.now(), self._loop.time()
        running.task = self._loop.create_task(self._run(running))
        if running.options.heartbeat_timeout is not None:
            self._watch_heartbeat(running)

    async def _run(self, running: Running) -> None:
        wait = running.wait
        work = Attempt(
            running.app,
            running.address[0],
            wait.name,
            wait.attempt,
            idempotency_key(running.address),
            wait.input,
            running.options.timeout,
            wait.details,
        )
        outcome: Outcome | Stall | None = None
        try:
            outcome = await self._executor.attempt(work, running.beat, running.outlet)
            if isinstance(outcome, Outcome) and outcome.step is not None:
                outcome = await self._transact(running, outcome.step)
        except asyncio.CancelledError:
            if not running.cancelled:
                self._free(running)
                raise
        self._free(running)
        if isinstance(outcome, Stall):
            self._calls.pop(running.address, None)  # because it is to run again when the stall is over
        if not running.cancelled and outcome is not None:
            self._ended(running, outcome)

    def _free(self, running: Running) -> None:
        self._busy -= 1
        self._beating.pop(running, None)
        running.task = None  # because the task's context leads back here, and a circle waits for the garbage collector
        while self._queue and self._busy < self._slots:
            waiting = self._queue.popleft()
            if not waiting.cancelled:
                self._begin(waiting)

    # -- heartbeats -----------------------------------------------------------------------------------------------

    def beaten(self, running: Running, details: Payload | None) -> None:
        running.beaten_at = self._loop.time()  # because the clock of the wall may jump under an attempt that is well
        if details is not None:
            running.details = details
            running.unflushed = True
        if running not in self._beating:
            self._loop.call_soon_threadsafe(self._watch_heartbeat, running)

    def _watch_heartbeat(self, running: Running) -> None:
        if running.task is not None and not running.task.done():
            self._beating[running] = None
            if self._look is None:
                self._look = self._loop.call_later(HEARTBEAT_LOOK_SECONDS, self._look_at_heartbeats)

    def _look_at_heartbeats(self) -> None:
        self._look = None
        now = self._loop.time()
        for running in list(self._beating):
            if running.unflushed and now - running.flushed_at >= DETAILS_FLUSH_SECONDS:
                running.flushed_at, running.unflushed = now, False
                assert running.details is not None
                self._flush(running, running.details)
            bound = running.options.heartbeat_timeout
            if bound is not None and now - running.beaten_at > bound:
                self._expire(running, bound)
        if self._beating and not self._stopped:
            self._look = self._loop.call_later(HEARTBEAT_LOOK_SECONDS, self._look_at_heartbeats)

    def _expire(self, running: Running, bound: float) -> None:
        """No sign of life: the attempt has failed, whatever its task still does."""
        running.cancelled = True
        if running.task is not None:
            running.task.cancel()
        self._beating.pop(running, None)
        text = f"activity {running.wait.name} gave no heartbeat for {bound:g} s"
        self._ended(running, Outcome(failure=Failure(type="HeartbeatTimedOut", message=text), timed_out=True))

    def __repr__(self) -> str:
        return f"<Attempts: {self._busy} of {self._slots} slots busy, {len(self._queue)} wait>"
