"""A turn of an actor: its operations one after the other at the program that hosts it, and what it keeps meanwhile.

What the program asks of the actor while a turn runs is part of the turn: it is written with the turn's end, in the one
commit that also answers the callers, or not at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from perdure.codec import JSON, NOTHING, Payload
from perdure.errors import InvalidArgument, PerdureError
from perdure.history.actions import ClearReminder, SetReminder
from perdure.history.events import EntityCalled, EntitySignaled, Failure, TurnAnswered
from perdure.history.work import Batch, BatchResult, Operated, Stall
from perdure.remote.actors.host import Answer, HostGone, Hosting, Invocation, actor_of
from perdure.remote.actors.memory import Asked, Change, Memory, check, memory_of
from perdure.remote.actors.operations import Forget, Method, Remind, Reminded, Timed, read_operation

log = logging.getLogger("perdure")
TURN_SECONDS = 0.05
"""After this time a turn begins no further operation, so that those that are done are answered."""
DEATHS_MAX = 3
"""How often the program may die in one operation before that fails instead of being tried again."""


class Stage(Protocol):
    """What a turn needs of the actors of its app."""

    is_paused: bool

    def now(self) -> int: ...
    async def invoke(self, turn: Turn, asked: Invocation) -> Answer:
        """Have the program do it, which holds what the turn holds. Raises HostGone."""

    def is_timer(self, entity: str, name: str, number: int) -> bool:
        """Whether the timer is still wanted."""

    async def begun(self, turn: Turn) -> None:
        """Returns when nothing is under way any more of an earlier turn that was taken back."""

    def ended(self, turn: Turn, *, is_whole: bool) -> None:
        """`is_whole`: what the program has of the actor in memory is what the turn is about to write."""


class Turn:
    """Operations under way. Fulfils LiveBatch."""

    def __init__(self, batch: Batch, done: Callable[[BatchResult | Stall], None], stage: Stage) -> None:
        self.entity = batch.entity
        self.type, self.id = actor_of(batch.entity)
        self.chain: tuple[str, ...] = (batch.entity,)
        """The actors whose methods wait for this one, and itself, outermost first."""
        self.depth = 0
        self.requests: set[str] = set()
        """Those that the turn has done."""
        self.began_with = batch.state
        self.state: Payload | None = batch.state
        self.memory = Memory({}, {})
        self._actions: list[SetReminder | ClearReminder] = []
        self._batch = batch
        self._done = done
        self._stage = stage
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"perdure-actor {batch.entity}")

    # -- what the engine asks -------------------------------------------------------------------------------------

    def retract(self) -> None:
        self._task.cancel()

    def expects(self, token: str) -> bool:
        return False  # because no other node is asked

    def answer(self, answered: TurnAnswered) -> None:
        raise AssertionError("a turn of an actor expects no answer by mail")

    # -- what the program asks while it runs ----------------------------------------------------------------------

    def transact(self, changes: Sequence[Change]) -> None:
        """Raises InvalidArgument."""
        check(changes, self.memory)
        self.memory.apply(changes, self._stage.now())

    def remind(self, asked: Asked) -> None:
        """Raises InvalidArgument."""
        due, period = self.memory.remind(asked, self._stage.now())
        self._actions.append(
            SetReminder(name=asked.name, operation=Reminded.operation(asked.name), due=due, period=period)
        )

    def forget(self, names: Sequence[str] | None) -> None:
        """Unregister reminders; None: all."""
        for name in list(self.memory.reminders) if names is None else names:
            if self.memory.reminders.pop(name, None) is not None:
                self._actions.append(ClearReminder(name=name))

    async def nest(self, method: str, data: bytes) -> Answer:
        """A method that comes back to the actor while it waits. Raises HostGone."""
        self.depth += 1
        try:
            return await self._invoke("method", method, data)
        finally:
            self.depth -= 1

    # -- the operations -------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            self.memory = memory_of(self.state)
        except InvalidArgument as error:
            self._done(BatchResult(failure=Failure(type=type(error).__name__, message=str(error))))
            return
        await self._stage.begun(self)
        is_whole = False
        try:
            result = await self._results()
            is_whole = True
        finally:
            self._stage.ended(self, is_whole=is_whole)
        self._done(result)

    async def _results(self) -> BatchResult:
        loop = asyncio.get_running_loop()
        ends, results = loop.time() + TURN_SECONDS, []
        for operation in self._batch.operations:
            results.append(await self._operated(operation))
            self.requests.add(operation.request)
            if loop.time() > ends or self._stage.is_paused:
                break
        self.state = self.memory.payload(self._stage.now())
        return BatchResult(results, self._actions, self.state)

    async def _operated(self, event: EntitySignaled | EntityCalled) -> Operated:
        """How one operation ended. One whose program dies is tried again, from what was kept before it."""
        kept, asked = self.memory.copy(), len(self._actions)
        self.chain = (*getattr(event, "chain", ()), self.entity)
        deaths = 0
        while deaths < DEATHS_MAX:
            try:
                return await self._operate(event)
            except HostGone as error:
                log.info("%s is tried again on %s: %s", event.operation, self.entity, error)
                deaths += error.was_asked
                self.memory = kept.copy()
                del self._actions[asked:]
            except PerdureError as error:
                return Operated(failure=Failure(type=type(error).__name__, message=str(error)))
        told = f"the program that hosts the actor died {DEATHS_MAX} times while it ran {event.operation}"
        return Operated(failure=Failure(type="ActorHostDied", message=told))

    async def _operate(self, event: EntitySignaled | EntityCalled) -> Operated:
        match read_operation(event.operation, event.input):
            case Method(name, data):
                return _operated(await self._invoke("method", name, data))
            case Reminded(name):
                return await self._reminded(name)
            case Timed(name, number) as timed:
                return await self._timed(name, number, timed)
            case Remind(asked):
                self.remind(asked)
            case Forget(names):
                self.forget(names)
        return Operated(NOTHING)

    async def _reminded(self, name: str) -> Operated:
        """The time of a reminder has come; it may be over."""
        reminder, now = self.memory.reminders.get(name), self._stage.now()
        if reminder is None:
            return Operated(NOTHING)
        if reminder.ends is not None and reminder.ends < now:
            self.forget([name])
            return Operated(NOTHING)
        answer = await self._invoke(
            "remind", name, bytes(reminder.data), due_time=reminder.due_time, period=reminder.period
        )
        if self.memory.reminders.get(name) is not reminder:
            return _operated(answer)  # because the method has registered or unregistered it itself
        if answer.error is not None and not reminder.drops:
            return _operated(answer)
        left = reminder.left - 1 if reminder.left is not None else None
        if answer.cancels or left == 0:
            self.forget([name])
        elif not reminder.period:
            del self.memory.reminders[name]  # the row goes by itself
        elif left is not None:
            self.memory.reminders[name] = msgspec.structs.replace(reminder, left=left)
        return Operated(NOTHING)

    async def _timed(self, name: str, number: int, timed: Timed) -> Operated:
        if not self._stage.is_timer(self.entity, name, number):
            return Operated(NOTHING)
        asked = timed.asked
        answer = await self._invoke(
            "timer",
            name,
            bytes(asked.data),
            due_time=asked.due_time,
            period=asked.period,
            callback=asked.callback,
        )
        if answer.error is not None:
            log.warning("the timer %s of %s failed: %s", name, self.entity, answer.error)
        return Operated(NOTHING)

    async def _invoke(
        self, kind: str, name: str, data: bytes, *, due_time: str = "", period: str = "", callback: str = ""
    ) -> Answer:
        asked = Invocation(
            kind=kind,
            type=self.type,
            id=self.id,
            name=name,
            data=data,
            due_time=due_time,
            period=period,
            callback=callback,
        )
        return await self._stage.invoke(self, asked)

    def __repr__(self) -> str:
        return f"<Turn of {self.entity}: {len(self._batch.operations)} operations>"


def _operated(answer: Answer) -> Operated:
    if answer.error is not None:
        return Operated(failure=Failure(type="ActorFailed", message=answer.error))
    return Operated(Payload(JSON, None, msgspec.Raw(msgspec.json.encode(answer.data))))


def may_come_back(turn: Turn, hosting: Hosting | None) -> str | None:
    """Why a method may not come back to an actor that waits for it; None if it may."""
    if hosting is None or hosting.depth is None:
        return (
            f"the actor {turn.type} {turn.id} waits for the one that calls it, so both would wait for ever; "
            "switch reentrancy on for its type, or call it when the method has ended"
        )
    if turn.depth + 1 >= hosting.depth:
        return f"the actor {turn.type} {turn.id} has {hosting.depth} methods under way within each other, as it may"
    return None
