"""Runs the messages that other nodes lend: the receivers of this node, as the code of offered calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

from perdure.codec import Payload
from perdure.engine.consumers import Consumers, Desk, Seat, made_of
from perdure.history.events import Failure
from perdure.history.handling import Handled, lost
from perdure.history.loans import Loan, call_of, loan_of, result_of
from perdure.history.suspicion import Course, conviction, course_behind, course_lent
from perdure.history.work import Attempt, Outcome, Outlet, Stall


class Deliveries:
    """What a `Claimer` needs of whoever runs code, for the desks of one node.

    A message that is claimed although a node has died with it is not handled: first the owner counts that, and lends it
    again. A suspect is handled while no other one is here, or goes back: one that waited here would be suspected the
    more if this node died.
    """

    is_remote = False

    def __init__(self, consumers: Consumers, quarantine_deaths: int | None) -> None:
        self._consumers = consumers
        self._quarantine_deaths = quarantine_deaths

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
        return Outcome(result=result_of(await self._handled(desk, loan, work.lapses)))

    async def _handled(self, desk: Desk, loan: Loan, lapses: int) -> Handled:
        if lapses and self._quarantine_deaths is not None and not desk.is_remote:
            return lost("the node that had it in hand was not heard of again", lapses)
        course = self._course(desk, loan)
        if course is Course.SET_ASIDE:
            return conviction(loan.unheard)
        if course is Course.BESIDE:
            return await _handled(await _entered(desk), desk, loan)
        seat = desk.enter(_nobody, is_suspect=True)
        if seat is None:
            return lost("another suspect is in hand, or too many others are", 0)
        return await _handled(seat, desk, loan)

    def _course(self, desk: Desk, loan: Loan) -> Course:
        if not desk.is_remote:
            return course_lent(loan.unheard, self._quarantine_deaths)
        return course_behind(loan.unheard, loan.deaths_max) if loan.deaths_max is not None else Course.BESIDE

    def __repr__(self) -> str:
        return f"<Deliveries for {self._consumers!r}>"


async def _handled(seat: Seat, desk: Desk, loan: Loan) -> Handled:
    """What a receiver makes of it."""
    try:
        return await made_of(seat.consumer, loan.message, loan.failed + 1, loan.timeout)
    finally:
        desk.leave(seat)


async def _entered(desk: Desk) -> Seat:
    """Whose turn it is, once there is room."""
    while True:
        again = asyncio.Event()
        seat = desk.enter(again.set, is_suspect=False)
        if seat is not None:
            return seat
        await again.wait()


def _nobody() -> None:
    """Nobody waits for room."""
