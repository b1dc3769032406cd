"""The attempts that run on this node: slots, cancellation, heartbeats."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from perdure.clock import Clock
from perdure.codec import Payload
from perdure.engine.ports import Attempter
from perdure.history.events import Failure
from perdure.history.options import decode_options
from perdure.history.spread import Room
from perdure.history.work import Attempt, Outcome, Outlet, Stall
from perdure.stores.contract import Wait
from perdure.telemetry.metrics import ActivityMetrics, Metrics

SLOTS = 1_000
"""Attempts that run at once on a node, unless the app says otherwise. More wait their turn in memory."""
HEARTBEAT_LOOK_SECONDS = 0.2
DETAILS_FLUSH_SECONDS = 1.0
"""Heartbeat details are written at most this often for each attempt."""

Ended = Callable[["Running", "Outcome | Stall"], None]
Transact = Callable[["Running", Callable[[Any], "Outcome | Stall"]], Awaitable["Outcome | Stall | None"]]
Flush = Callable[["Running", Payload], None]
OpenOutlet = Callable[["Running"], Outlet]


class Running:
    """One attempt, from the time it is asked for."""

    __slots__ = (
        "address",
        "app",
        "attempts",
        "beaten_at",
        "begun_at",
        "blocked",
        "cancelled",
        "details",
        "entered",
        "flushed_at",
        "metrics",
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
        self.entered = False
        self.cancelled = False
        self.blocked = False
        self.beaten_at = 0.0
        self.begun_at = 0.0
        self.flushed_at = 0.0
        self.details = wait.details
        self.unflushed = False
        self.metrics: ActivityMetrics | None = None

    def beat(self, details: Payload | None) -> None:
        """A sign of life. Called from any thread: plain attribute writes, which the event loop's look reads."""
        self.attempts.beaten(self, details)

    def outlet(self) -> Outlet:
        """Where this attempt's items go."""
        return self.attempts.open_outlet(self)


Address = tuple[str, str, int, int]
"""(instance id, execution, generation, number): which call."""


class AttemptState(NamedTuple):
    """How an attempt stands: when it began (None: it waits for a slot), seconds since its last heartbeat (None: it gave
    none), and of its node the slots and how many attempts wait for one."""

    attempt: int
    started: int | None
    silence: float | None
    slots: int
    waiting: int


def idempotency_key(address: Address) -> str:
    """Stable over attempts, unique over calls."""
    return f"{address[0]}/{address[1]}.{address[2]}/{address[3]}"


OFFER_MARGIN = 8
"""For so many slots one call more is kept in memory when all are busy, so that a slot that falls free has one at once;
what is beyond goes to nodes with room."""


class Slots:
    """How many attempts a node runs at once, on all of its shards, in all and of single activities; more wait their
    turn in memory.

    `limits` bounds those of an activity by its name. `on_free` is called when a slot is left to nobody. While
    `may_begin` says no nothing begins, and `go_on` must be called when it says yes again.
    """

    def __init__(self, count: int = SLOTS, limits: Mapping[str, int] = MappingProxyType({})) -> None:
        self.count = count
        self.limits = limits
        self.busy = 0
        self.waiting = 0
        self.on_free: Callable[[], None] | None = None
        self.may_begin: Callable[[], bool] = lambda: True
        self.promised = 0
        self._busy_names: Counter[str] = Counter()
        self._lines: OrderedDict[str | None, deque[Running]] = OrderedDict()

    def enter(self, running: Running) -> None:
        """Begin the attempt as soon as a slot is free, unless it is cancelled before."""
        name = self._line_of(running) if self.limits else None
        if self._has_slot(name):
            self._begin(running, name)
        else:
            self._lines.setdefault(name, deque()).append(running)
            self.waiting += 1

    def leave(self, running: Running) -> None:
        """An attempt has ended: the next ones may begin, of each line in turn."""
        self.busy -= 1
        if self.limits and (name := self._line_of(running)) is not None:
            self._busy_names[name] -= 1
        self.go_on()

    def go_on(self) -> None:
        """Begin what waits, as far as there are slots; whoever claims calls gets the rest."""
        while self.waiting and self._begin_next():
            """Another one had a slot."""
        if self.on_free is not None and self.busy < self.count:
            self.on_free()

    def promise(self, count: int) -> None:
        """So many calls more (or fewer) will enter once the turns are durable that open them."""
        self.promised += count

    @property
    def free(self) -> int:
        """How many attempts more could begin now."""
        if not self.may_begin():
            return 0
        return max(self.count - self.busy, 0)  # because those that wait then wait for one of their own name

    def room(self) -> Room:
        """For how many calls more there is room, if some may wait for a moment."""
        names = {
            name: limit + _margin(limit) - self._busy_names[name] - len(self._lines.get(name, ()))
            for name, limit in self.limits.items()
        }
        waiting = len(self._lines.get(None, ()))
        return Room(self.count + _margin(self.count) - self.busy - waiting - self.promised, names)

    def free_of(self, name: str) -> int:
        """How many attempts more of a limited activity could begin, if a slot is free."""
        return max(self.limits[name] - self._busy_names[name] - len(self._lines.get(name, ())), 0)

    def _line_of(self, running: Running) -> str | None:
        name = running.wait.name
        return name if name in self.limits else None

    def _has_slot(self, name: str | None) -> bool:
        is_free = self.busy < self.count and (name is None or self._busy_names[name] < self.limits[name])
        return is_free and self.may_begin()

    def _begin_next(self) -> bool:
        """Begin one attempt of the first line that may have a slot; False if none may."""
        for name, line in self._lines.items():
            if not self._has_slot(name):
                continue
            waiting = line.popleft()
            self.waiting -= 1
            if line:
                self._lines.move_to_end(name)  # because each line has its turn
            else:
                del self._lines[name]
            if not waiting.cancelled:
                self._begin(waiting, name)
            return True
        return False

    def _begin(self, running: Running, name: str | None) -> None:
        self.busy += 1
        if name is not None:
            self._busy_names[name] += 1
        running.attempts.begin(running)

    def __repr__(self) -> str:
        return f"<Slots: {self.busy} of {self.count} busy, {self.waiting} wait>"


def _margin(count: int) -> int:
    return -(-count // OFFER_MARGIN)


class Attempts:
    """Runs attempts in the slots of this node. `ended` is called on the event loop with each outcome.

    `transact` does the step of a transaction and gives None once its result is mail, or is not wanted any more.

    A call stays known when its attempt has ended, until the turn that closes it is durable: who reads the store
    before that still finds it open, and would run it again. One whose attempt cannot be made here is known as blocked
    until it is tried again, because its run may be loaded many times while it stands still.
    """

    def __init__(
        self,
        executor: Attempter,
        clock: Clock,
        ended: Ended,
        flush: Flush,
        transact: Transact,
        open_outlet: OpenOutlet,
        slots: Slots,
        metrics: Metrics | None = None,
    ) -> None:
        self.open_outlet = open_outlet
        self._executor = executor
        self._clock = clock
        self._ended = ended
        self._flush = flush
        self._transact = transact
        self._slots = slots
        self._metrics = metrics
        self._calls: dict[Address, Running] = {}
        self._beating: dict[Running, None] = {}  # ordered, so that a seeded run repeats
        self._look: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._begins_none = False
        self._stopped = False

    def start(self, app: str, address: Address, wait: Wait) -> None:
        """Begin an attempt as soon as a slot is free, unless the call has had this one already."""
        known = self._calls.get(address)
        if self._begins_none or (known is not None and known.wait.attempt >= wait.attempt):
            return
        running = self._calls[address] = Running(self, app, address, wait)
        self._slots.enter(running)

    def cancel(self, address: Address) -> None:
        """The call is closed, with its result or without; what an attempt still does is its own affair."""
        running = self._calls.pop(address, None)
        if running is not None:
            self._cancel(running)

    def call_off(self, address: Address, attempt: int | None) -> None:
        """Nobody needs this attempt, nor an earlier one (None: none at all), because its end is durable already.

        The call stays known, as after any end.
        """
        known = self._calls.get(address)
        if known is not None and (attempt is None or known.wait.attempt <= attempt):
            self._cancel(known)

    def is_blocked(self, address: Address) -> bool:
        known = self._calls.get(address)
        return known is not None and known.blocked

    def is_under_way(self, address: Address) -> bool:
        """Whether an attempt of the call runs, or waits for a slot."""
        known = self._calls.get(address)
        return known is not None and (known.task is not None or not known.started)

    def state(self, address: Address) -> AttemptState | None:
        """How the newest attempt of a call stands here. None: none is under way."""
        known = self._calls.get(address)
        if known is None or not self.is_under_way(address):
            return None
        if not known.started:
            return AttemptState(known.wait.attempt, None, None, self._slots.count, self._slots.waiting)
        silence = self._loop.time() - known.beaten_at if known.beaten_at > known.begun_at else None
        return AttemptState(known.wait.attempt, known.started, silence, self._slots.count, self._slots.waiting)

    def try_again(self, id: str) -> None:
        """What blocked calls of the instance may be over: let them be started."""
        for address in [address for address, running in self._calls.items() if running.blocked and address[0] == id]:
            del self._calls[address]

    def runs(self, id: str) -> bool:
        """Whether an attempt of the instance runs, or waits for a slot."""
        calls = [running for address, running in self._calls.items() if address[0] == id]
        return any(running.task is not None or not running.started for running in calls)

    @property
    def count(self) -> int:
        return len(self._calls)

    async def drain(self, seconds: float) -> None:
        """Begin nothing any more. Give running attempts some time to end, then cancel them; their calls run again after
        the next start."""
        self._begins_none = True  # because what began while others end would be cancelled with the last of them
        tasks = [running.task for running in self._calls.values() if running.task is not None]
        self._call_off_waiting()
        if tasks and seconds > 0:
            await asyncio.wait(tasks, timeout=seconds)
        left = self.halt()
        if left:
            await asyncio.wait(left, timeout=max(seconds, 1.0))
        if self._look is not None:
            self._look.cancel()

    def halt(self) -> list[asyncio.Task[None]]:
        """Begin nothing from now on and cancel what runs, as the calls are somebody else's; gives what ends now."""
        self._begins_none = self._stopped = True
        self._call_off_waiting()
        under_way = [running for running in self._calls.values() if running.task is not None]
        left = [running.task for running in under_way if running.entered and running.task is not None]
        for running in under_way:
            self._end(running)
        return left

    def _call_off_waiting(self) -> None:
        for running in self._calls.values():
            if not running.started:
                running.cancelled = True

    def begin(self, running: Running) -> None:
        """There is a slot for the attempt."""
        running.started = self._clock.now()
        running.begun_at = running.beaten_at = self._loop.time()
        running.task = self._loop.create_task(self._run(running))
        if self._metrics is not None:
            running.metrics = _count_begin(running, self._metrics)
        if running.options.heartbeat_timeout is not None and not self._executor.is_remote:
            self._watch_heartbeat(running)  # elsewhere its silence counts from the first beat, when a worker has it

    def _cancel(self, running: Running) -> None:
        running.cancelled = True
        self._end(running)

    def _end(self, running: Running) -> None:
        if running.task is None:
            return
        running.task.cancel()
        if not running.entered:
            self._free(running)  # because the code of a task that is cancelled before its first step never runs

    async def _run(self, running: Running) -> None:
        running.entered = True
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
            *running.address[1:],
            wait.on,
            running.options.label,
            running.options.heartbeat_timeout,
            wait.lapses,
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
        except Exception as error:  # noqa: BLE001 because a call whose attempt has no outcome would stay open for ever
            outcome = Outcome(failure=Failure(type=type(error).__name__, message=str(error)))
        self._free(running)
        running.blocked = isinstance(outcome, Stall)
        if running.metrics is not None:
            _count_end(running, outcome, running.metrics, self._clock.now() - running.started)
        if not running.cancelled and outcome is not None:
            self._ended(running, outcome)

    def _free(self, running: Running) -> None:
        self._beating.pop(running, None)
        running.task = None  # because the task's context leads back here, and a circle waits for the garbage collector
        self._slots.leave(running)

    # -- heartbeats -----------------------------------------------------------------------------------------------

    def beaten(self, running: Running, details: Payload | None) -> None:
        running.beaten_at = self._loop.time()  # because the clock of the wall may jump under an attempt that is well
        if details is not None:
            running.details = details
            running.unflushed = True
        has_use = running.unflushed or running.options.heartbeat_timeout is not None
        if has_use and running not in self._beating:  # because to wake the loop costs as much as a turn
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
        self._cancel(running)
        self._beating.pop(running, None)
        text = f"activity {running.wait.name} gave no heartbeat for {bound:g} s"
        self._ended(running, Outcome(failure=Failure(type="HeartbeatTimedOut", message=text), timed_out=True))

    def __repr__(self) -> str:
        return f"<Attempts of {len(self._calls)} calls in {self._slots!r}>"


def _count_begin(running: Running, metrics: Metrics) -> ActivityMetrics:
    wait = running.wait
    activity = metrics.activity(wait.name)
    activity.delay.add(running.started - (wait.since if wait.due is None else wait.due))
    if wait.attempt > 1:
        activity.retries += 1
    return activity


def _count_end(running: Running, outcome: Outcome | Stall | None, activity: ActivityMetrics, micros: int) -> None:
    """One without an outcome here has gone well: it is in the run's mailbox."""
    if running.cancelled:
        activity.spans.of("cancelled").add(micros)
    elif isinstance(outcome, Stall):
        activity.spans.of("blocked").add(micros)
    elif outcome is None or outcome.failure is None:
        activity.success.add(micros)
    else:
        activity.spans.of("failed").add(micros)
