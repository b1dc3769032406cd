"""The actors of one process that are in memory: batches for each, and who leaves when nobody asks."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from perdure.blocks.actors.activation import Activation
from perdure.blocks.actors.definition import ActorType
from perdure.blocks.actors.timers import TICK
from perdure.blocks.actors.turn import Turn
from perdure.clock import Clock, SystemClock
from perdure.codec import Payload, Writer
from perdure.errors import NotDecodable, PerdureError
from perdure.history.events import EntityCalled, EntitySignaled, Failure
from perdure.history.work import Batch, BatchResult, Operated, Stall
from perdure.sdk.failures import to_failure
from perdure.sdk.watchdog import Watchdog

log = logging.getLogger("perdure")
ACTIVE_MAX = 10_000
"""Actors that a process keeps in memory; beyond it those that nobody has asked for longest leave."""
BATCH_SECONDS = 0.05
"""After so long a batch is answered with what is done of it, so that nobody waits for those behind."""
LOST_TRIES_MAX = 100
"""How often a method is run again that failed because the store gave no answer to a call of its own."""
LOST_PAUSE_SECONDS = 0.05
LOST_PAUSE_SECONDS_MAX = 5.0
"""Before the first of these tries, and how far the pause grows, twofold each time."""
LOOK_SECONDS = 1.0
"""Between looks at who is idle."""
LEAVE_SECONDS = 5.0
"""How long closing waits for the hooks of those that leave."""


class Stage:
    """Runs operations of actors for the engine, each actor's in a task of its own."""

    def __init__(
        self,
        kinds: Mapping[str, ActorType],
        writer: Writer,
        clock: Clock | None = None,
        watchdog: Watchdog | None = None,
    ) -> None:
        self._kinds = kinds
        self._watchdog = watchdog or Watchdog()
        self._clock = clock or SystemClock()
        self._writer = writer
        self._active: OrderedDict[str, Activation] = OrderedDict()
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._look: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._active)

    def knows(self, name: str) -> bool:
        """Whether there are actors of this name here."""
        return name in self._kinds

    def operate(self, batch: Batch, done: Callable[[BatchResult | Stall], None]) -> Performance | None:
        """Begin a batch; None if there are no actors of this name here. A stall: its state cannot be read."""
        kind = self._kinds.get(batch.name)
        if kind is None:
            return None
        task = self._spawn(self._perform(kind, batch, done))
        return Performance(task)

    async def rest(self, seconds: float) -> None:
        """Return when no batch is under way, or after `seconds`."""
        busy = [task for task in self._tasks if not task.done()]
        if busy:
            await asyncio.wait(busy, timeout=seconds)

    async def close(self) -> None:
        """Let everybody leave."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        for activation in list(self._active.values()):
            self._let_go(activation)
        leaving = list(self._leaving.values())
        if leaving:
            await asyncio.wait(leaving, timeout=LEAVE_SECONDS)
        for task in list(self._tasks):
            task.cancel()

    # -- a batch --------------------------------------------------------------------------------------------------

    async def _perform(self, kind: ActorType, batch: Batch, done: Callable[[BatchResult | Stall], None]) -> None:
        leaving = self._leaving.get(batch.entity)
        if leaving is not None:
            await asyncio.wait([leaving])
        try:
            activation = self._activated(kind, batch)
        except NotDecodable as error:
            done(_unreadable(kind, error))
            return
        except Exception as error:  # noqa: BLE001 because what a field begins with is made by code of the app
            done(BatchResult(failure=to_failure(error)))
            return
        activation.is_busy = True
        try:
            result = await self._operated(activation, batch)
        except BaseException as error:
            self._drop(activation)  # because nobody knows how far it came
            if not isinstance(error, Exception):
                raise
            done(BatchResult(failure=to_failure(error)))
            return
        activation.is_busy = False
        activation.durable = result.state
        activation.used = asyncio.get_running_loop().time()
        done(result)

    async def _operated(self, activation: Activation, batch: Batch) -> BatchResult:
        loop = asyncio.get_running_loop()
        ends = loop.time() + BATCH_SECONDS
        results: list[Operated] = []
        actions: list[Any] = []
        state = batch.state
        reminders = set(batch.reminders)
        for event in batch.operations:
            turn, operated = await self._run(activation, event, reminders)
            results.append(operated)
            if operated.failure is None:
                actions += turn.actions
                reminders, state = turn.reminders, activation.clean
            elif not isinstance(event, EntityCalled):
                failure = operated.failure
                log.warning("%s of %s failed: %s: %s", event.operation, batch.entity, failure.type, failure.message)
            if loop.time() > ends:
                break
        return BatchResult(results, actions, state)

    async def _run(
        self, activation: Activation, event: EntitySignaled | EntityCalled, reminders: set[str]
    ) -> tuple[Turn, Operated]:
        """Run one operation; again, if it failed at a call of its own that brought no answer."""
        tries = 0
        while True:
            chain, timers = _chain_of(event), activation.timers.names
            turn = Turn(activation.id, event.request, self._clock, chain, reminders, timers)
            with self._watchdog.watching() as watched:
                operated = await activation.operate(event, turn)
            if operated.failure is not None and watched.stack is not None:
                return turn, Operated(failure=_blocked(watched.stack))
            if operated.failure is None or not turn.is_lost or tries == LOST_TRIES_MAX:
                return turn, operated
            await asyncio.sleep(min(LOST_PAUSE_SECONDS * 2.0**tries, LOST_PAUSE_SECONDS_MAX))
            tries += 1

    def _activated(self, kind: ActorType, batch: Batch) -> Activation:
        """The actor in memory, if it is still what the store has. Raises NotDecodable.

        Not one that is busy: its batch was taken back, and its method has not heard of it yet.
        """
        found = self._active.get(batch.entity)
        if found is not None and not found.is_busy and _is_same(found.durable, batch.state):
            self._active.move_to_end(batch.entity)
            return found
        if found is not None:
            self._drop(found)  # because another node has written it since, or a turn was lost
        new = Activation(kind, batch.entity, batch.state, self._writer, self._tick)
        new.load()
        self._active[batch.entity] = new
        self._make_room()
        self._look_later()
        return new

    def _tick(self, actor: str, input: Payload) -> None:
        activation = self._active.get(actor)
        if activation is not None:
            self._spawn(self._signal(activation.kind, actor, input))

    async def _signal(self, kind: ActorType, actor: str, input: Payload) -> None:
        client = kind.home.client
        try:
            await client.gateway.signal_actor(actor, TICK, client.fresh_key(), input, None)
        except PerdureError as error:
            log.warning("a timer of %s was lost: %s", actor, error)

    # -- who leaves -----------------------------------------------------------------------------------------------

    def _look_later(self) -> None:
        if self._look is None and self._active:
            self._look = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look_round)

    def _look_round(self) -> None:
        self._look = None
        now = asyncio.get_running_loop().time()
        for activation in list(self._active.values()):
            if not activation.is_busy and now - activation.used > activation.kind.idle:
                self._let_go(activation)
        self._look_later()

    def _make_room(self) -> None:
        surplus = max(len(self._active) - ACTIVE_MAX, 0)
        for activation in list(islice(self._active.values(), surplus)):
            if not activation.is_busy:
                self._let_go(activation)

    def _let_go(self, activation: Activation) -> None:
        self._drop(activation)
        if not activation.has_hook:
            return
        id = activation.id
        task = self._leaving[id] = self._spawn(self._leave(activation))
        task.add_done_callback(lambda _: self._leaving.pop(id, None))

    async def _leave(self, activation: Activation) -> None:
        with self._watchdog.watching() as watched:
            failure = await activation.leave(self._clock)
        if watched.stack is not None:
            failure = _blocked(watched.stack)
        if failure is not None:
            log.warning("on_deactivate of %s failed: %s: %s", activation.id, failure.type, failure.message)

    def _drop(self, activation: Activation) -> None:
        activation.timers.stop_all()
        if self._active.get(activation.id) is activation:
            del self._active[activation.id]

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def __repr__(self) -> str:
        return f"<Stage: {len(self._active)} actors in memory, {len(self._tasks)} tasks>"


class Performance:
    """A batch under way."""

    __slots__ = ("_task",)

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task

    def retract(self) -> None:
        """Take it back; `done` is never called."""
        self._task.cancel()

    def expects(self, token: str) -> bool:
        """It is answered in this process alone."""
        return False

    def answer(self, answered: object) -> None:
        """Likewise."""


def _unreadable(kind: ActorType, error: NotDecodable) -> Stall:
    return Stall("payload-not-decodable", f"the state does not fit the fields of {kind.name}: {error}"[:2_000])


def _blocked(stack: str) -> Failure:
    text = "it is `async def` but blocked the event loop; await, or give what blocks to `asyncio.to_thread`"
    return Failure(type="ActorBlockedLoop", message=text, stack=stack)


def _chain_of(event: EntitySignaled | EntityCalled) -> list[str]:
    return event.chain if isinstance(event, EntityCalled) else []


def _is_same(one: Payload | None, other: Payload | None) -> bool:
    if one is None or other is None:
        return one is other
    return bytes(one.data) == bytes(other.data)
