"""Runs the messages that other nodes lend: the receivers of this node, as the code of offered calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

from perdure.codec import Payload
from perdure.engine.consumers import Consumer, Consumers, Desk, made_of
from perdure.history.events import Failure
from perdure.history.loans import call_of, loan_of, result_of
from perdure.history.work import Attempt, Outcome, Outlet, Stall


class Deliveries:
    """What a `Claimer` needs of whoever runs code, for the desks of one node."""

    is_remote = False

    def __init__(self, consumers: Consumers) -> None:
        self._consumers = consumers

    def activities(self) -> Collection[str]:
        """The names of the calls that can be made here."""
        return {call_of(topic, group) for topic, group in self._consumers.groups()}

    def room(self) -> int | None:
        """As many as its slots."""
        return None

    def attempt(
        self, work: Attempt, beat: Callable[[Payload | None], None], outlet: Callable[[], Outlet]
    ) -> Awaitable[Outcome | Stall | None]:
        """Have a message handled."""
        return self._attempt(work)

    async def _attempt(self, work: Attempt) -> Outcome | Stall:
        try:
            loan = loan_of(work.input)
        except ValueError as error:
            return Outcome(failure=Failure(type="MessageUnreadable", message=str(error)))
        desk = self._consumers.desk(loan.message.topic, loan.group)
        if desk is None:
            return Stall("no-consumer", "nobody here handles messages of the group any more")
        consumer = await _entered(desk)
        try:
            return Outcome(result=result_of(await made_of(consumer, loan.message, loan.failed + 1, loan.timeout)))
        finally:
            desk.leave()

    def __repr__(self) -> str:
        return f"<Deliveries for {self._consumers!r}>"


async def _entered(desk: Desk) -> Consumer:
    """Whose turn it is, once there is room."""
    while True:
        again = asyncio.Event()
        consumer = desk.enter(again.set)
        if consumer is not None:
            return consumer
        await again.wait()
