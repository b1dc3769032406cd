"""What a turn, mail and a report make of one instance. Pure; for stores that hold an instance as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec.structs import replace

from perdure.stores.contract import (
    ADMITTED,
    ANSWERED,
    ANSWERS_MAX,
    CLAIMED,
    ENTITY,
    FINISHED,
    HELD,
    IN_FLIGHT,
    MAILBOX_MESSAGES_MAX,
    OFFERED,
    OUT,
    QUEUED,
    SEEN_MAX,
    Append,
    Claim,
    Creation,
    Delivery,
    Head,
    Holder,
    Item,
    Letter,
    Mail,
    Outcome,
    Published,
    Report,
    Segment,
    Stream,
    Touch,
    Track,
    Turn,
    Wait,
    WaitKind,
    Whole,
    is_endless,
)
from perdure.stores.rules import (
    is_appendable,
    is_current,
    is_renewable,
    is_repetition,
    is_reportable,
    is_touchable,
)


@dataclass(slots=True)
class Strand:
    """A stream: its newest items, and how many lie before them somewhere else."""

    name: str
    items: list[Item] = field(default_factory=list)
    before: int = 0

    @property
    def length(self) -> int:
        return self.before + len(self.items)


@dataclass(slots=True)
class Instance:
    """All rows of one instance; of segments and items the newest may be all that is at hand."""

    head: Head
    parent_call: str | None = None
    segments: list[Segment] = field(default_factory=list)
    waits: dict[int, Wait] = field(default_factory=dict)
    mail: dict[str, Mail] = field(default_factory=dict)
    seen: dict[str, None] = field(default_factory=dict)
    published: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, bytes] = field(default_factory=dict)
    streams: dict[tuple[int, int], Strand] = field(default_factory=dict)

    # -- what happens to it

    @classmethod
    def created(cls, creation: Creation) -> Instance:
        waits = {wait.number: wait for wait in creation.waits}
        mail = {creation.mail.key: replace(creation.mail, app=None)}
        return cls(creation.head, creation.parent_call, waits=waits, mail=mail)

    @classmethod
    def started(cls, turn: Turn) -> Instance:
        """What its first turn makes of an id that was free, or whose run is finished."""
        assert turn.head is not None, "a start brings a head"
        found = cls(turn.head)
        found._write(turn)
        return found

    def take(self, turn: Turn) -> Outcome:
        """Write the rows of a turn that is no start, if its condition holds."""
        if turn.expected is None or not is_current(self.head, turn):
            return Outcome.CONFLICT
        if turn.erase:
            self._erase(turn.generation)
        self.head = turn.head or replace(self.head, sequence=turn.expected + 1, updated=turn.at)
        self._write(turn)
        return Outcome.COMMITTED

    def _write(self, turn: Turn) -> None:
        if turn.segment is not None:
            newest = self.segments[-1].sequence if self.segments else 0
            assert self.head.sequence > newest, f"{turn.id!r} has a segment {self.head.sequence} already"
            self.segments.append(Segment(self.head.sequence, turn.segment))
        for number in turn.closed:
            self.waits.pop(number, None)
        for wait in turn.changed:
            if wait.number in self.waits:
                self.waits[wait.number] = wait
        for wait in turn.opened:
            assert wait.number not in self.waits, f"{turn.id!r} has a wait {wait.number} already"
            self.waits[wait.number] = wait
        for key in turn.consumed:
            self.mail.pop(key, None)
        self._remember(turn)

    def _erase(self, generation: int) -> None:
        """Drop what does not go over to the generation after this one."""
        self.segments.clear()
        self.waits.clear()
        for key in [key for key in self.streams if key[0] < generation]:
            del self.streams[key]

    def _remember(self, turn: Turn) -> None:
        """Keep what the turn has seen and published, within the bounds."""
        self.seen.update(dict.fromkeys(turn.seen))
        for key in list(self.seen)[:-SEEN_MAX]:
            del self.seen[key]
        for one in turn.published:
            (self.answers if one.answer else self.published)[one.name] = one.value
        for name in list(self.answers)[:-ANSWERS_MAX]:
            del self.answers[name]

    def append(self, append: Append) -> Outcome:
        """Add the items if the condition holds."""
        wait = self.waits.get(append.number)
        key = (append.generation, append.number)
        length = self.streams[key].length if key in self.streams else 0
        if wait is None or not is_appendable(self.head, wait, length, append):
            return Outcome.CONFLICT
        offsets = enumerate(append.values, append.after + 1)
        strand = self.streams.setdefault(key, Strand(wait.name))
        strand.items += [Item(offset, value, append.attempt, append.at) for offset, value in offsets]
        return Outcome.COMMITTED

    def deliver(self, mail: Mail) -> Delivery:
        if mail.key in self.mail or mail.key in self.seen:
            return Delivery.DUPLICATE
        if self.finished:
            return Delivery.FINISHED
        if mail.execution is None and len(self.mail) >= MAILBOX_MESSAGES_MAX:
            return Delivery.FULL
        self.mail[mail.key] = replace(mail, app=None)
        return Delivery.DELIVERED

    def report(self, told: Report) -> Outcome:
        wait = self.waits.get(told.number)
        if wait is None or not is_reportable(self.head, wait, told):
            return Outcome.CONFLICT
        self.waits[told.number] = replace(wait, state=ANSWERED)
        delivery = self.deliver(told.mail)
        assert delivery == Delivery.DELIVERED, f"the report of call {told.number} of {self.head.id!r} is {delivery}"
        return Outcome.COMMITTED

    def renew(self, holder: Holder, mail: Mail, wait: Wait, at: int) -> bool:
        if not is_renewable(self.head, holder):
            return False
        self.head = replace(self.head, sequence=holder.sequence + 1, updated=at)
        if mail.key in self.mail:
            self.mail[mail.key] = mail
        if wait.number in self.waits:
            self.waits[wait.number] = wait
        return True

    def touch(self, touch: Touch, until: int | None, *, is_let_go: bool) -> bool:
        """Whether the call is still the toucher's, who keeps it until then, or lets it go."""
        wait = self.waits.get(touch.number)
        if wait is None or not is_touchable(self.head, wait, touch):
            return False
        details = wait.details if touch.details is None else touch.details
        state = OFFERED if is_let_go else wait.state
        self.waits[touch.number] = replace(wait, state=state, claimed_until=until, details=details)
        return True

    def claim(self, number: int, owner: str, token: str, until: int | None) -> Wait:
        """The call as its claimer has it; whether it is claimable was asked before."""
        wait = self.waits[number]
        lapses = wait.lapses + (wait.state == CLAIMED)
        mine = replace(wait, state=CLAIMED, token=token, claimed_by=owner, claimed_until=until, lapses=lapses)
        self.waits[number] = mine
        return mine

    # -- what can be said of it

    def admits(self, creation: Creation) -> bool:
        """Whether the creation may take its place."""
        return self.finished and not creation.unique

    def makes_room(self, turn: Turn) -> bool:
        """Whether a start may take its place; one that comes once more when its run has ended may not."""
        return self.finished and self.head.execution != turn.execution

    def repeats(self, creation: Creation) -> bool:
        """Whether it is what the creation asks for."""
        return is_repetition(self.head.execution, self.parent_call, creation)

    @property
    def finished(self) -> bool:
        return self.head.status in FINISHED

    @property
    def moves(self) -> bool:
        """Whether an owner may take turns of it."""
        return not self.finished and self.head.suspended is None and self.head.stalled is None

    @property
    def is_unused(self) -> bool:
        """Whether it is an entity with nothing to keep."""
        head = self.head
        return head.kind == ENTITY and head.custom_status is None and not self.waits and not self.mail

    @property
    def is_stranded(self) -> bool:
        """Whether something may have been deleted of it."""
        if self.head.kind == ENTITY or not self.moves:
            return False
        has_mail = bool(self.mail)
        return any(is_endless(wait, has_mail) for wait in self.waits.values()) or not (self.waits or self.mail)

    @property
    def open_waits(self) -> list[Wait]:
        return [self.waits[number] for number in sorted(self.waits)]

    def letters(self, shard: int) -> list[Letter]:
        """Its mail as the owner of the shard finds it; with the first whose it is, if it was created and no more."""
        new = self.head if not self.head.sequence and not self.waits else None
        return [Letter(shard, mail, None if place else new) for place, mail in enumerate(self.mail.values())]

    def could_run(self, at: int) -> bool:
        """Whether an owner that looks at the instance has something to run."""
        waits = self.waits.values()
        return any(wakes(self.head, wait, at) for wait in waits) or (bool(self.mail) and not self._starts_later(at))

    def turn_times(self, until: int) -> list[int]:
        """When each thing came up for which the instance has a turn to take by then."""
        due = [
            wait.due
            for wait in self.waits.values()
            if wait.due is not None and wait.due <= until and wait.kind != WaitKind.ACTIVITY and wait.state not in OUT
            if wait.state != QUEUED
        ]
        return due if self._starts_later(until) else [*due, *(mail.at for mail in self.mail.values())]

    def _starts_later(self, at: int) -> bool:
        return any(wait.kind == WaitKind.START and is_ahead(wait, at) for wait in self.waits.values())

    def stream(self, generation: int, number: int) -> Stream:
        strand = self.streams[generation, number]
        is_open = generation == self.head.generation and number in self.waits and not self.finished
        return Stream(generation, number, strand.name, strand.length, is_open)

    # -- as it moves to another store

    def whole(self, claims: list[Claim]) -> Whole:
        """All of it, if all of it is at hand."""
        return Whole(
            self.head,
            self.parent_call,
            list(self.segments),
            self.open_waits,
            list(self.mail.values()),
            list(self.seen),
            [Published(name, value) for name, value in sorted(self.published.items())]
            + [Published(name, value, answer=True) for name, value in self.answers.items()],
            [Track(*key, strand.name, list(strand.items)) for key, strand in sorted(self.streams.items(), key=_key)],
            claims,
        )

    @classmethod
    def of(cls, whole: Whole) -> Instance:
        return cls(
            whole.head,
            whole.parent_call,
            list(whole.segments),
            {wait.number: wait for wait in whole.waits},
            {mail.key: mail for mail in whole.mail},
            dict.fromkeys(whole.seen),
            {one.name: one.value for one in whole.published if not one.answer},
            {one.name: one.value for one in whole.published if one.answer},
            {(track.generation, track.number): Strand(track.name, list(track.items)) for track in whole.tracks},
        )


def _key(entry: tuple[tuple[int, int], Strand]) -> tuple[int, int]:
    return entry[0]


def has_offers(turn: Turn) -> bool:
    """Whether other nodes have something to claim."""
    return any(wait.state == OFFERED for wait in (*turn.opened, *turn.changed))


def is_claimable(wait: Wait, now: int) -> bool:
    """Whether a call may be claimed by any node."""
    if wait.state == CLAIMED:
        return wait.claimed_until is not None and wait.claimed_until <= now
    return wait.state == OFFERED and (wait.due is None or wait.due <= now)


def is_owners(wait: Wait, until: int) -> bool:
    """Whether it is for the owner to run the call, or to find it a slot, by then."""
    is_call = wait.kind == WaitKind.ACTIVITY and wait.state in (HELD, ADMITTED)
    return (is_call or wait.state == QUEUED) and (wait.due is None or wait.due <= until)


def is_ahead(wait: Wait, at: int) -> bool:
    """Whether the start has to wait for its time, or for a slot."""
    return wait.state == QUEUED or (wait.due is not None and wait.due > at)


def wakes(head: Head, wait: Wait, at: int) -> bool:
    """Whether the wait alone gives an owner something to run."""
    if wait.kind == WaitKind.ACTIVITY:
        return wait.state in IN_FLIGHT and head.suspended is None and (wait.due is None or wait.due <= at)
    return wait.state != QUEUED and wait.due is not None and wait.due <= at
