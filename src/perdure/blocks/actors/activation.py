"""One actor in memory: its object, what its fields were when they were last right, and its timers."""

from __future__ import annotations

import asyncio
from typing import Any

from perdure.blocks.actors.actor import embody
from perdure.blocks.actors.definition import ActorType
from perdure.blocks.actors.timers import TICK, Tick, Timers
from perdure.blocks.actors.turn import Turn, entered
from perdure.cancellation import is_for_task
from perdure.clock import Clock
from perdure.codec import NOTHING, Payload, Writer
from perdure.history.events import EntityCalled, EntitySignaled, Failure
from perdure.history.work import Operated
from perdure.sdk.failures import to_failure
from perdure.sdk.watchdog import Interrupted


class Activation:
    """`durable` is the state that the store had when the last batch was answered; `clean` that of the object's fields
    before the method under way."""

    def __init__(self, kind: ActorType, id: str, durable: Payload | None, writer: Writer, tick: Tick) -> None:
        self.kind = kind
        self.id = id
        self.durable = durable
        self.used = 0.0
        self.is_busy = False
        self.timers = Timers(id, writer, tick)
        self.actor: Any = embody(kind, id.split("@", 2)[2])
        self._writer = writer
        self.clean: Payload | None = durable
        self._actions: list[Any] = []
        self._is_new = True

    def load(self) -> None:
        """Read the fields. Raises NotDecodable."""
        self.restore()

    async def operate(self, event: EntitySignaled | EntityCalled, turn: Turn) -> Operated:
        """Run one operation; `clean` is the state from then on. What a failed one has done is taken back."""
        task = asyncio.current_task()
        assert task is not None
        try:
            with entered(turn, self._writer):
                await self._begin(turn)
                result = await self._run(event)
            clean = self.kind.write(self.actor, self._writer)
        except BaseException as error:
            if is_for_task(error, task):
                raise
            self.restore()
            return Operated(failure=to_failure(error))
        self.clean = clean
        self._keep(turn)
        return Operated(result=result)

    async def _begin(self, turn: Turn) -> None:
        """Call the hook of a new activation; what it changes and asks for is written with the first that succeeds."""
        if not self._is_new:
            return
        await self.actor.on_activate()
        self._is_new = False
        self.clean = self.kind.write(self.actor, self._writer)
        self._actions, turn.actions = turn.actions, []
        self._start_timers(turn)

    async def _run(self, event: EntitySignaled | EntityCalled) -> Payload:
        operation, input = event.operation, event.input
        if operation == TICK:
            asked = self.timers.asked(input)
            if asked is None:
                return NOTHING  # because the timer was of an earlier activation, or was stopped
            operation, input = asked
        method = self.kind.methods.get(operation)
        if method is None:
            known = ", ".join(sorted(self.kind.methods)) or "none"
            raise LookupError(f"actor {self.kind.name} has no method {operation[:100]!r}; there are: {known}")
        args, kwargs = method.signature.decode(input)
        value = await method.function(self.actor, *args, **kwargs)
        result = NOTHING if value is None else self._writer.encode(value)
        if isinstance(event, EntityCalled):
            method.check(result)  # now, because the caller would find out when the state is written
        return result

    def _keep(self, turn: Turn) -> None:
        turn.actions[:0] = self._actions
        self._actions = []
        self._start_timers(turn)

    def _start_timers(self, turn: Turn) -> None:
        changes, turn.set_timers = turn.set_timers, []
        for change in changes:
            change(self.timers)

    def restore(self) -> None:
        """Give the object the fields that it had before the method."""
        self.kind.fill(self.actor, self.kind.read(self.clean))

    @property
    def has_hook(self) -> bool:
        """Whether it is to be told that it leaves."""
        return not self._is_new and self.kind.has_farewell

    async def leave(self, clock: Clock) -> Failure | None:
        """Call the hook, in a turn of which nothing is written; what it raised."""
        try:
            with entered(Turn(self.id, "leave", clock), self._writer):
                await self.actor.on_deactivate()
        except (Exception, Interrupted) as error:  # noqa: BLE001 because it leaves whatever its hook says
            return to_failure(error)
        return None

    def __repr__(self) -> str:
        return f"<Activation of {self.id}: {'busy' if self.is_busy else 'idle'}, {self.timers!r}>"
