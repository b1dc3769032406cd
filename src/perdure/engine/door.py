"""The door of a queue whose waits are on many shards: one actor that gives all of its slots, by mail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from perdure.actors.docket import Settled
from perdure.actors.host import Actor
from perdure.actors.message import Message
from perdure.clock import SECOND, Clock
from perdure.history.events import SlotGranted, SlotLeft, SlotWanted, encode_event
from perdure.history.options import Limits
from perdure.history.slots import DOOR, Address, holder_of
from perdure.scheduler.limiter import Limiter, Ticket
from perdure.stores.contract import HELD, LOCKED, Head, Loaded, Mail, Outcome, Permit, Turn, Wait, WaitKind

log = logging.getLogger("perdure")
GRANTS_PER_TURN = 1_000
"""Slots that one turn gives; more go with the next."""
CHECK_SECONDS = 10.0
"""Between looks of a door at those who have its slots, for the case that one has gone without a word."""
WAKE_WAIT = 0
"""The number of the wait that wakes a door: for such a look, or when its rate allows the next start."""


class Services(Protocol):
    """What a door asks of the shard that it belongs to."""

    shard: int
    clock: Clock
    commands_only: bool

    def submit(self, turn: Turn, settled: Settled) -> None: ...
    def released(self, turn: Turn) -> None: ...
    def consumed(self, id: str, keys: list[str]) -> None: ...
    def schedule(self, due: int, id: str, number: int) -> None: ...
    def drop(self, actor: Actor) -> None: ...
    def retry(self, id: str) -> None: ...
    def count(self, what: str) -> None: ...


class Doors(Protocol):
    """What all doors of a shard share."""

    declared: Mapping[str, Limits]
    """The limits that the code says, by queue."""

    def is_ready(self, door: Door) -> bool:
        """Whether it is known what has started before; if not, the door is woken once it is."""

    def starts_of(self, queue: str) -> list[int]:
        """When the rate of the queue last counted a start, oldest first; the door adds to it."""

    def check(self, door: Door) -> None:
        """Tell the door, now or later, which of its slots nobody holds any more."""


class Member(msgspec.Struct, frozen=True):
    """Who waits at a door, or has a slot: `number` and `generation` are those to which the slot is sent."""

    asked: SlotWanted

    @property
    def holder(self) -> Address:
        asked = self.asked
        return holder_of(asked.instance, asked.execution, asked.generation, asked.number)


class Door:
    """One queue. Each member is a wait of this actor: HELD while it waits, LOCKED while it has a slot.

    A slot is given in the turn that writes it, as mail to the run that asked. It is free when a turn of the run that
    leaves it has written so.
    """

    __slots__ = (
        "_batch",
        "_busy",
        "_closed",
        "_doors",
        "_knows_starts",
        "_limiter",
        "_mailbox",
        "_members",
        "_next",
        "_next_check",
        "_numbers",
        "_services",
        "_turn",
        "_woken",
        "head",
        "queue",
        "waits",
    )

    def __init__(self, doors: Doors, services: Services, loaded: Loaded) -> None:
        self.head: Head = loaded.head
        self.queue = loaded.head.id.removeprefix(DOOR)
        self.waits: dict[int, Wait] = {wait.number: wait for wait in loaded.waits}
        self._doors = doors
        self._services = services
        self._mailbox: list[Message] = []
        self._batch: list[Message] = []
        self._busy = self._closed = self._woken = False
        self._turn: Turn | None = None
        self._limiter = Limiter(doors.declared.get(self.queue, Limits()))
        self._knows_starts = False
        self._members: dict[Address, Member] = {}
        self._numbers: dict[Address, int] = {}
        self._next_check = 0
        self._next = 1 + max((wait.number for wait in loaded.waits), default=0)
        for wait in sorted(loaded.waits, key=lambda wait: (wait.since, wait.number)):
            if wait.number != WAKE_WAIT:
                self._take_up(wait)
            elif wait.due is not None:
                self._next_check = wait.due
                services.schedule(wait.due, self.id, WAKE_WAIT)  # because the timers may have read this time before

    def _take_up(self, wait: Wait) -> None:
        member = msgspec.json.decode(wait.options or b"", type=Member)
        self._members[member.holder], self._numbers[member.holder] = member, wait.number
        self._obey(member.asked)
        if wait.state == LOCKED:
            self._limiter.occupy(member.holder, member.asked.place.key)
        else:
            self._limiter.join(_ticket(member))

    # -- what the host asks ---------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        return self.head.id

    @property
    def is_idle(self) -> bool:
        return not (self._busy or self._woken or self._mailbox or self._members)

    @property
    def rests(self) -> bool:
        return False

    def tell(self, message: Message) -> None:
        self._mailbox.append(message)
        self._wake()

    def rouse(self) -> None:
        """A door needs no code."""

    def unstall(self) -> None:
        """A door stands still for nobody; this is one more look."""
        self._wake()

    def examine(self) -> None:
        """There is no history."""

    def due(self, number: int) -> None:
        """The rate may allow another start, or it is time for a look at those who have slots."""
        now = self._services.clock.now()
        if now >= self._next_check and self._members:
            self._next_check = now + round(CHECK_SECONDS * SECOND)
            self._doors.check(self)
        self._wake()

    def untaken(self) -> list[str]:
        return [message.key for message in (*self._batch, *self._mailbox) if message.stored and message.key is not None]

    def close(self) -> None:
        self._closed = True
        for message in (*self._batch, *self._mailbox):
            message.settle()

    def holders(self) -> list[Address]:
        """Who has a slot."""
        return [holder for holder, number in self._numbers.items() if self._has_slot(number)]

    def _has_slot(self, number: int) -> bool:
        wait = self.waits.get(number)
        return wait is not None and wait.state == LOCKED

    # -- a turn ---------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Take a turn soon: not at once, so that what comes together is written together."""
        if not (self._busy or self._woken or self._closed):
            self._woken = True
            asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._woken = False
        if self._busy or self._closed or self._services.commands_only or not self._doors.is_ready(self):
            return
        if not self._knows_starts:
            self._knows_starts = True
            self._limiter.recall(self._doors.starts_of(self.queue))
        self._batch, self._mailbox = self._mailbox, []
        draft = _Draft(max(self._services.clock.now(), self.head.updated))
        for message in self._batch:
            event = message.event
            if isinstance(event, SlotWanted):
                self._welcome(draft, event)
            elif isinstance(event, SlotLeft):
                self._dismiss(draft, event)
                if message.stored and message.key is not None:
                    draft.seen.append(message.key)  # because once more it would free the next slot of the same wait
            else:
                self._services.count("not for a door")
        self._admit(draft)
        self._watch(draft)
        turn = draft.turn(self._services.shard, self.head, self.untaken())
        if turn is None:
            self._batch = []
            return
        self._busy, self._turn = True, turn
        self._services.submit(turn, self._committed)

    def _welcome(self, draft: _Draft, asked: SlotWanted) -> None:
        """Join the line, once."""
        member = Member(asked)
        if member.holder in self._members:
            return
        self._obey(asked)
        number, self._next = self._next, self._next + 1
        self._members[member.holder], self._numbers[member.holder] = member, number
        options = msgspec.json.encode(member)
        draft.write(Wait(number, WaitKind.EVENT, self.queue, asked.since, on=asked.instance, options=options))
        self._limiter.join(_ticket(member))

    def _obey(self, asked: SlotWanted) -> None:
        """Limits in the app's code count before those that came with a call."""
        self._limiter.limits = self._doors.declared.get(self.queue, asked.place.limits)

    def _dismiss(self, draft: _Draft, left: SlotLeft) -> None:
        holder = holder_of(left.instance, left.execution, left.generation, left.number)
        if self._members.pop(holder, None) is not None:
            draft.close(self._numbers.pop(holder))
            self._limiter.leave(holder)

    def _admit(self, draft: _Draft) -> None:
        limits = self._limiter.limits
        while len(draft.mail) < GRANTS_PER_TURN and (ticket := self._limiter.admit(draft.at)) is not None:
            asked, number = self._members[ticket.address].asked, self._numbers[ticket.address]
            wait = draft.opened.get(number) or self.waits[number]
            draft.write(msgspec.structs.replace(wait, state=LOCKED))
            grant = SlotGranted(at=draft.at, number=asked.number, queue=self.queue)
            # with the turn, because numbers come again once those that had them are gone
            key = f"{self.head.execution}.slot.{self.head.sequence}.{number}"
            draft.mail.append(
                Mail(asked.instance, key, encode_event(grant), draft.at, asked.execution, asked.generation)
            )
            if limits.rate is not None:
                draft.permits.append(Permit(self.queue, draft.at, draft.at + limits.per))
                self._doors.starts_of(self.queue).append(draft.at)

    def _watch(self, draft: _Draft) -> None:
        """Have in the store when the door is to wake next, for whoever owns the shard then."""
        known = self.waits.get(WAKE_WAIT)
        if not self._members:
            if known is not None:
                draft.closed.append(WAKE_WAIT)
            return
        if self._next_check <= draft.at:
            self._next_check = draft.at + round(CHECK_SECONDS * SECOND)
        pause, due = self._limiter.pause(draft.at), self._next_check
        if pause is not None:
            due = min(due, draft.at + round(pause * SECOND))
        if known is None or known.due != due:
            wait = Wait(WAKE_WAIT, WaitKind.TIMER, self.queue, draft.at, due)
            (draft.changed if known is not None else draft.opened)[WAKE_WAIT] = wait

    def _committed(self, outcome: Outcome) -> None:
        turn, self._turn = self._turn, None
        assert turn is not None
        if outcome != Outcome.COMMITTED:
            self._services.count(outcome)
            self._services.drop(self)
            self._services.retry(self.id)
            return
        self.head = msgspec.structs.replace(self.head, sequence=self.head.sequence + 1, updated=turn.at)
        for number in turn.closed:
            self.waits.pop(number, None)
        for wait in (*turn.changed, *turn.opened):
            self.waits[wait.number] = wait
            if wait.due is not None:
                self._services.schedule(wait.due, self.id, wait.number)
        self._services.consumed(self.id, list(turn.consumed))
        batch, self._batch = self._batch, []
        for message in batch:
            message.settle()
        self._services.released(turn)
        self._busy = False
        if self._mailbox or len(turn.mail) == GRANTS_PER_TURN:
            self._wake()

    def __repr__(self) -> str:
        return f"<Door of queue {self.queue}: {self._limiter!r}>"


class _Draft:
    """What a turn of a door writes."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.opened: dict[int, Wait] = {}
        self.changed: dict[int, Wait] = {}
        self.closed: list[int] = []
        self.mail: list[Mail] = []
        self.seen: list[str] = []
        self.permits: list[Permit] = []

    def write(self, wait: Wait) -> None:
        """A wait as it is from now on; new if it is HELD."""
        if wait.state == HELD or wait.number in self.opened:
            self.opened[wait.number] = wait
        else:
            self.changed[wait.number] = wait

    def close(self, number: int) -> None:
        if self.opened.pop(number, None) is None:
            self.changed.pop(number, None)
            self.closed.append(number)

    def turn(self, shard: int, head: Head, consumed: list[str]) -> Turn | None:
        """None if there is nothing to write."""
        if not (self.opened or self.changed or self.closed or consumed):
            return None
        return Turn(
            shard=shard,
            id=head.id,
            execution=head.execution,
            generation=head.generation,
            expected=head.sequence,
            at=self.at,
            opened=tuple(self.opened.values()),
            changed=tuple(self.changed.values()),
            closed=tuple(self.closed),
            consumed=consumed,
            seen=self.seen,
            mail=self.mail,
            permits=self.permits,
        )


def _ticket(member: Member) -> Ticket:
    place = member.asked.place
    return Ticket(member.holder, place.key, place.priority, member.asked.since)


def left_by(holder: Address, at: int) -> Any:
    """The message that somebody has left who did not say so."""
    instance, execution, generation, number = holder
    event = SlotLeft(at=at, number=number, instance=instance, execution=execution, generation=generation)
    return Message(event)
