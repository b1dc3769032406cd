"""Lends the work of a shard to nodes whose workers have the code: each piece is an offered call of this actor."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec.structs import replace

from perdure.actors.docket import Settled
from perdure.actors.host import Actor
from perdure.actors.message import Message
from perdure.clock import Clock
from perdure.codec import Payload
from perdure.history.draft import Draft
from perdure.history.events import ActivityFailed, Failure
from perdure.history.lending import wait_of
from perdure.history.reports import GIVEN_BACK
from perdure.stores.contract import Head, Loaded, Outcome, Status, Turn

log = logging.getLogger("perdure")
LOANS_PER_TURN = 100
"""Pieces of work that one turn offers; more go with the next."""
_GONE = Failure(type=GIVEN_BACK, message="the shard that lent it has left this node")
_UNWRITABLE = Failure(type=GIVEN_BACK, message="the store cannot keep what would be lent")


class Services(Protocol):
    """What a lender asks of the shard that it belongs to."""

    shard: int
    clock: Clock
    commands_only: bool

    def submit(self, turn: Turn, settled: Settled) -> None: ...
    def consumed(self, id: str, keys: Sequence[str]) -> None: ...
    def drop(self, actor: Actor) -> None: ...
    def retry(self, id: str) -> None: ...
    def count(self, what: str) -> None: ...


class Loan:
    """A piece of work on loan, offered under a name.

    `ended` is called when nobody else has it any more: with None if a node is done with it, whose answer is on its own
    way, else with why it comes back. It is not called once its owner has ended the loan.
    """

    __slots__ = ("ended", "input", "is_over", "lender", "name", "options", "place")

    def __init__(
        self, name: str, input: Payload, options: bytes | None, ended: Callable[[Failure | None], None]
    ) -> None:
        self.name = name
        self.input = input
        self.options = options
        self.ended = ended
        self.place: tuple[int, int] | None = None
        """Number and attempt of its call, once that is decided."""
        self.lender: Lender | None = None
        self.is_over = False

    def call_off(self) -> None:
        """Nobody needs it to be done any more: whoever has it hears so."""
        self.is_over = True
        if self.lender is not None:
            self.lender.call_off(self)

    def end(self, why: Failure | None) -> None:
        if not self.is_over:
            self.is_over = True
            self.ended(why)


class Lender:
    """The loans of one shard. What is lent when it leaves memory comes back; what it finds lent when it is loaded was
    of an owner before, whose turns begin anew, and is called off."""

    __slots__ = (
        "_asked",
        "_batch",
        "_busy",
        "_closed",
        "_ended",
        "_is_new",
        "_loans",
        "_mailbox",
        "_next",
        "_services",
        "_turn",
        "_woken",
        "head",
    )

    def __init__(self, services: Services, loaded: Loaded, *, is_new: bool = False) -> None:
        """`is_new`: it is in no store yet, and begins with its first turn."""
        self.head: Head = loaded.head
        self._services = services
        self._is_new = is_new
        self._asked: list[Loan] = []
        self._loans: dict[tuple[int, int], Loan] = {}
        self._ended = [wait.number for wait in loaded.waits]
        self._mailbox: list[Message] = []
        self._batch: list[Message] = []
        self._busy = self._closed = self._woken = False
        self._turn: Turn | None = None
        self._next = 1 + max(self._ended, default=0)
        if self._ended:
            self._wake()

    # -- what its shard asks --------------------------------------------------------------------------------------

    def lend(self, loan: Loan) -> None:
        """Offer a piece of work with the next turn, unless it is over by then."""
        loan.lender = self
        self._asked.append(loan)
        self._wake()

    def call_off(self, loan: Loan) -> None:
        if loan.place is not None and self._loans.pop(loan.place, None) is not None:
            self._ended.append(loan.place[0])
            self._wake()

    # -- what the host asks ---------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        return self.head.id

    @property
    def is_idle(self) -> bool:
        return not (self._busy or self._woken or self._asked or self._loans or self._ended or self._mailbox)

    @property
    def rests(self) -> bool:
        return False

    def tell(self, message: Message) -> None:
        self._mailbox.append(message)
        self._wake()

    def rouse(self) -> None:
        """It needs no code."""

    def unstall(self) -> None:
        """It stands still for nobody."""

    def examine(self) -> None:
        """There is no history."""

    def due(self, number: int) -> None:
        """It has no due times."""

    def untaken(self) -> list[str]:
        return [message.key for message in (*self._batch, *self._mailbox) if message.stored and message.key is not None]

    def close(self) -> None:
        self._closed = True
        loans, self._asked, self._loans = [*self._asked, *self._loans.values()], [], {}
        for loan in loans:
            loan.end(_GONE)
        for message in (*self._batch, *self._mailbox):
            message.settle()

    # -- a turn ---------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Take a turn soon: not at once, so that what comes together is written together."""
        if not (self._busy or self._woken or self._closed):
            self._woken = True
            asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._woken = False
        if self._busy or self._closed or self._services.commands_only:
            return
        draft = Draft(self.head, {}, max(self._services.clock.now(), self.head.updated))
        self._batch, self._mailbox = self._mailbox, []
        for message in self._batch:
            self._take_back(message)
        draft.closed, self._ended = self._ended, []
        self._offer(draft)
        consumed = self.untaken()
        if not (draft.opened or draft.closed or consumed):
            self._batch = []
            return
        if self.head.status == Status.PENDING:
            draft.fields["status"] = Status.RUNNING
        turn = draft.turn(self._services.shard, None if self._is_new else self.head.sequence, consumed, ())
        assert turn is not None, "there is something to write"
        self._busy, self._turn = True, turn
        self._services.submit(turn, self._committed)

    def _take_back(self, message: Message) -> None:
        """A node is done with a piece of work, or gives it back."""
        event = message.event
        place = getattr(event, "number", 0), getattr(event, "attempt", 0)
        loan = self._loans.pop(place, None) if message.execution == self.head.execution else None
        if loan is not None:
            self._ended.append(place[0])
            loan.end(event.failure if isinstance(event, ActivityFailed) else None)

    def _offer(self, draft: Draft) -> None:
        offered, self._asked = self._asked[:LOANS_PER_TURN], self._asked[LOANS_PER_TURN:]
        sequence = self.head.sequence + 1
        for loan in offered:
            if loan.is_over:
                continue
            number, self._next = self._next, self._next + 1
            loan.place = number, sequence
            self._loans[loan.place] = loan
            draft.opened[number] = wait_of(loan.name, number, sequence, draft.at, loan.input, loan.options)

    def _committed(self, outcome: Outcome) -> None:
        turn, self._turn = self._turn, None
        assert turn is not None
        if outcome != Outcome.COMMITTED:
            self._refused(turn, outcome)
            return
        self._is_new = False
        self.head = turn.head or replace(self.head, sequence=self.head.sequence + 1, updated=turn.at)
        if turn.consumed:
            self._services.consumed(self.id, turn.consumed)
        self._batch = []
        self._busy = False
        if self._asked or self._ended or self._mailbox:
            self._wake()

    def _refused(self, turn: Turn, outcome: Outcome) -> None:
        """Nothing of the turn is written: what it was to lend comes back, and whoever is loaded next begins anew."""
        self._services.count(outcome)
        for wait in turn.opened:
            loan = self._loans.pop((wait.number, wait.attempt), None)
            if loan is not None:
                loan.end(_UNWRITABLE)
        self._services.drop(self)
        self._services.retry(self.id)

    def __repr__(self) -> str:
        return f"<Lender {self.id} turn {self.head.sequence}: {len(self._loans)} lent, {len(self._asked)} to lend>"
