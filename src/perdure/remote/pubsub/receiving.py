"""A worker of Perdure's own that is given messages of its app's topics, over one stream of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from itertools import count

from perdure.engine.engine import Engine
from perdure.history.events import MessagePublished
from perdure.history.handling import Handled, lost
from perdure.remote.native.receiving import Answered, Given, Receiving

log = logging.getLogger("perdure")
DIED = lost("the worker that had it in hand is gone")
LEFT = lost("the worker that had it in hand has left", 0)


class ReceivingStream:
    """From `begin` to `end`. `engine` hands out the messages of the groups that the worker has code for."""

    def __init__(self, engine: Engine, groups: Sequence[Receiving]) -> None:
        self.engine = engine
        self.is_let_go = False
        self._consumers = [_Consumer(self, group) for group in groups]
        self._outgoing: asyncio.Queue[Given | None] = asyncio.Queue()
        self._waiting: dict[int, asyncio.Future[Handled]] = {}
        self._numbers = count(1)
        self._is_begun = self._is_over = self._has_taken_leave = False

    def begin(self) -> None:
        """Messages come from now on."""
        self._is_begun = True
        for consumer in self._consumers:
            self.engine.consumers.add(consumer.group.topic, consumer.group.group, consumer)

    def take_leave(self) -> None:
        """The worker goes in good order, so what it does not answer any more is not what killed it."""
        self._has_taken_leave = True
        self.leave()

    def leave(self) -> None:
        """No more messages; those that are out may be answered."""
        if self._is_begun:
            self._is_begun = False
            for consumer in self._consumers:
                self.engine.consumers.remove(consumer.group.topic, consumer.group.group, consumer)

    def let_go(self) -> None:
        """This server has the work no more. What is out counts as no attempt: whoever has it next gives it out anew."""
        self.leave()
        self.is_let_go = True
        self._outgoing.put_nowait(None)

    def end(self) -> None:
        """The worker is gone, and what it had in hand comes again, unless this server goes as well."""
        self.leave()
        self._is_over = True
        self._outgoing.put_nowait(None)
        for answer in self._waiting.values():
            if not (answer.done() or self.is_let_go):
                answer.set_result(LEFT if self._has_taken_leave else DIED)

    async def ask(self, group: str, message: MessagePublished, attempt: int) -> Handled:
        """What the worker makes of a message."""
        if self._is_over and not self.is_let_go:
            return LEFT  # because it was given to nobody
        number = next(self._numbers)
        answer: asyncio.Future[Handled] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._outgoing.put_nowait(Given(number, group, attempt, message))
        try:
            return await answer
        finally:
            del self._waiting[number]

    def answer(self, answered: Answered) -> None:
        """One that nobody waits for any more, because it took too long, is let pass."""
        answer = self._waiting.get(answered.id)
        if answer is not None and not answer.done():
            answer.set_result(answered.handled)

    async def outgoing(self) -> AsyncIterator[Given]:
        """Messages to give, until the end."""
        while (given := await self._outgoing.get()) is not None:
            yield given

    def __repr__(self) -> str:
        return f"<ReceivingStream of {len(self._consumers)} groups: {len(self._waiting)} messages out>"


class _Consumer:
    """One group; fulfils the engine's port `Consumer`."""

    is_remote = True

    def __init__(self, stream: ReceivingStream, group: Receiving) -> None:
        self.in_hand_max = group.in_hand_max
        self.group = group
        self._stream = stream

    def decide(self, message: MessagePublished) -> None:
        """The code is elsewhere."""

    async def handle(self, message: MessagePublished, attempt: int) -> Handled:
        return await self._stream.ask(self.group.group, message, attempt)

    def __repr__(self) -> str:
        return f"<Consumer of {self.group.group} for {self.group.topic}, at a worker>"
