"""The store contract in plain dicts: the executable specification, and the oracle of every other store.

Everything of a call happens at once inside its coroutine. Nothing outlives the object, but the object
outlives the engines that use it: a simulator closes it, calls `expire` and opens it again, as a dead
process's heir.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from perdure.stores.contract import (
    ADMITTED,
    ANSWERS_MAX,
    FINISHED,
    IN_FLIGHT,
    MAILBOX_MESSAGES_MAX,
    QUEUED,
    SEEN_MAX,
    Append,
    Creation,
    Delivery,
    Due,
    Head,
    Holder,
    Item,
    Lease,
    Loaded,
    Mail,
    OpenCall,
    Outcome,
    Page,
    Permit,
    Query,
    Segment,
    Stream,
    Suspect,
    Turn,
    Wait,
    WaitKind,
    is_endless,
    shard_number,
)
from perdure.stores.rules import (
    holds,
    is_appendable,
    is_current,
    is_renewable,
    is_repetition,
    lost,
    read_cursor,
    rolled_back,
    taken,
    write_cursor,
)


@dataclass(slots=True)
class Instance:
    """All rows of one instance."""

    head: Head
    parent_call: str | None = None
    segments: list[Segment] = field(default_factory=list)
    waits: dict[int, Wait] = field(default_factory=dict)
    mail: dict[str, Mail] = field(default_factory=dict)
    seen: dict[str, None] = field(default_factory=dict)
    published: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, bytes] = field(default_factory=dict)
    streams: dict[tuple[int, int], list[Item]] = field(default_factory=dict)
    stream_names: dict[tuple[int, int], str] = field(default_factory=dict)

    def erase(self, generation: int) -> None:
        """Drop what does not go over to the generation after this one."""
        self.segments.clear()
        self.waits.clear()
        for key in [key for key in self.streams if key[0] < generation]:
            del self.streams[key], self.stream_names[key]

    def append(self, append: Append) -> Outcome:
        """Add the items if the condition holds."""
        wait = self.waits.get(append.number)
        key = (append.generation, append.number)
        if wait is None or not is_appendable(self.head, wait, len(self.streams.get(key, ())), append):
            return Outcome.CONFLICT
        self.stream_names[key] = wait.name
        offsets = enumerate(append.values, append.after + 1)
        items = self.streams.setdefault(key, [])
        items += [Item(offset, value, append.attempt, append.at) for offset, value in offsets]
        return Outcome.COMMITTED

    def remember(self, turn: Turn) -> None:
        """Keep what the turn has seen and published, within the bounds."""
        self.seen.update(dict.fromkeys(turn.seen))
        for key in list(self.seen)[:-SEEN_MAX]:
            del self.seen[key]
        for one in turn.published:
            (self.answers if one.answer else self.published)[one.name] = one.value
        for name in list(self.answers)[:-ANSWERS_MAX]:
            del self.answers[name]

    def stream(self, generation: int, number: int) -> Stream:
        name, length = self.stream_names[generation, number], len(self.streams[generation, number])
        is_open = generation == self.head.generation and number in self.waits and not self.finished
        return Stream(generation, number, name, length, is_open)

    @property
    def finished(self) -> bool:
        return self.head.status in FINISHED

    @property
    def open_waits(self) -> list[Wait]:
        return [self.waits[number] for number in sorted(self.waits)]


@dataclass(slots=True)
class Shard:
    """Who may write to the instances of one shard, and the newest commit."""

    app: str
    number: int
    epoch: int = 0
    owner: str | None = None
    token: str | None = None
    life: int | None = None
    deaths: dict[str, int] = field(default_factory=dict)
    accused: dict[str, int] = field(default_factory=dict)
    accused_at_death: dict[str, int] = field(default_factory=dict)
    permits: list[Permit] = field(default_factory=list)
    claims: dict[str, tuple[str, int]] = field(default_factory=dict)

    def forget(self, id: str) -> None:
        """It is no suspect any more."""
        self.deaths.pop(id, None)
        self.accused.pop(id, None)
        self.accused_at_death.pop(id, None)

    def forget_claims(self, id: str) -> None:
        """The rows of the instance go, and what it has claimed with them."""
        if self.claims:
            self.claims = {name: held for name, held in self.claims.items() if held[0] != id}


class MemoryStore:
    """An `EngineStore` that lives as long as the object."""

    def __init__(self, shard_count: int = 1) -> None:
        self._shard_count = shard_count
        self._shards: dict[int, Shard] = {}
        self._instances: dict[int, dict[str, Instance]] = {}
        self._written = asyncio.Event()

    def __repr__(self) -> str:
        return f"<MemoryStore of {sum(map(len, self._instances.values()))} instances>"

    async def open(self) -> None:
        # because an event belongs to the loop that first waits for it, and the next engine may bring another
        self._written = asyncio.Event()

    async def close(self) -> None:
        self._hint()

    async def shards(self, app: str) -> list[int]:
        return self._shards_of(app)

    async def apps(self) -> list[str]:
        return sorted({shard.app for shard in self._shards.values()})

    async def create(self, shard: int, creation: Creation) -> Holder | None:
        claim, claims = creation.claim, self._shards[shard].claims
        if claim is not None and claim.name in claims:
            id, until = claims[claim.name]
            head = self._instances[shard][id].head
            if holds(claim, head.execution, head.status, until, creation):
                return Holder(id, head.execution, head.sequence, head.created)
        if not self._created(shard, creation):
            raise taken(creation.head.id)
        if claim is not None:
            claims = self._shards[shard].claims
            claims[claim.name] = (creation.head.id, claim.until)
        self._hint()
        return None

    async def renew(self, shard: int, holder: Holder, mail: Mail, wait: Wait, at: int) -> bool:
        found = self._instances[shard].get(holder.id)
        if found is None or not is_renewable(found.head, holder):
            return False
        found.head = replace(found.head, sequence=holder.sequence + 1, updated=at)
        if mail.key in found.mail:
            found.mail[mail.key] = mail
        if wait.number in found.waits:
            found.waits[wait.number] = wait
        self._hint()
        return True

    async def queued(self, shard: int, after: str = "", limit: int = 1000) -> list[OpenCall]:
        calls: list[OpenCall] = []
        for id, found in self._unfinished(shard):
            if len(calls) >= limit:
                break
            if id > after:
                head = found.head
                calls += [
                    OpenCall(shard, id, head.execution, head.generation, wait)
                    for wait in found.open_waits
                    if wait.state in (QUEUED, ADMITTED)
                ]
        return calls

    async def permits(self, shard: int, after: int) -> list[Permit]:
        kept = [permit for permit in self._shards[shard].permits if permit.until > after]
        return sorted(kept, key=lambda permit: (permit.queue, permit.at))

    async def load(self, shard: int, ids: Sequence[str]) -> list[Loaded]:
        return [
            Loaded(
                found.head,
                list(found.segments),
                list(found.mail.values()),
                found.open_waits,
                [*reversed(found.seen)],
            )
            for found in self._of(shard, ids)
        ]

    async def head(self, shard: int, id: str) -> Head | None:
        found = self._instances[shard].get(id)
        return found.head if found else None

    async def heads(self, shard: int, ids: Sequence[str]) -> list[Head]:
        return [found.head for found in self._of(shard, ids)]

    async def history(self, shard: int, id: str, after: int = 0, limit: int = 1000) -> list[Segment]:
        segments = [segment for found in self._of(shard, [id]) for segment in found.segments]
        return [segment for segment in segments if segment.sequence > after][:limit]

    async def last_segment(self, shard: int, id: str) -> Segment | None:
        found = self._instances[shard].get(id)
        return found.segments[-1] if found and found.segments else None

    async def waits(self, shard: int, id: str) -> list[Wait]:
        found = self._instances[shard].get(id)
        return found.open_waits if found else []

    async def published(self, shard: int, id: str, names: Sequence[str]) -> dict[str, bytes]:
        found = self._instances[shard].get(id)
        shown = {**found.published, **found.answers} if found else {}
        return {name: shown[name] for name in names if name in shown}

    async def streams(self, shard: int, id: str) -> list[Stream]:
        found = self._instances[shard].get(id)
        return [found.stream(*key) for key in sorted(found.streams)] if found else []

    async def items(
        self, shard: int, id: str, generation: int, number: int, after: int = 0, limit: int = 1000
    ) -> list[Item]:
        found = self._instances[shard].get(id)
        return found.streams.get((generation, number), [])[after : after + limit] if found else []

    async def last_item(self, shard: int, id: str, generation: int, number: int) -> Item | None:
        found = self._instances[shard].get(id)
        items = found.streams.get((generation, number)) if found else None
        return items[-1] if items else None

    async def find(self, query: Query, cursor: str | None = None, limit: int = 100) -> Page:
        found = [
            ((instance.head.created, instance.head.id, shard), instance.head)
            for shard, instances in self._instances.items()
            for instance in instances.values()
            if matches(instance.head, query)
        ]
        found.sort(key=lambda entry: entry[0], reverse=True)
        if cursor is not None:
            position = read_cursor(cursor)
            found = [entry for entry in found if entry[0] < position]
        page = found[:limit]
        return Page([head for _, head in page], write_cursor(*page[-1][0]) if len(found) > limit else None)

    async def commit(
        self, lease: Lease, turns: Sequence[Turn], token: str, appends: Sequence[Append] = ()
    ) -> list[Outcome]:
        shard = self._shards[lease.shard]
        if shard.epoch < lease.epoch:
            raise rolled_back(lease.shard, lease.app, shard.epoch, lease.epoch)
        if shard.epoch > lease.epoch or shard.owner is None:
            return [Outcome.FENCED] * (len(turns) + len(appends))
        shard.token = token
        appended = [self._append(lease.shard, append) for append in appends]
        outcomes = [self._turn(lease.shard, turn) for turn in turns]
        written = zip(turns, outcomes, strict=True)
        committed = [turn for turn, outcome in written if outcome is Outcome.COMMITTED]
        for turn in committed:
            self._create_all(lease, turn)
        for turn in committed:
            for mail in turn.mail:
                self._send(lease, mail)
        return outcomes + appended

    async def settle_unknown(self, lease: Lease, token: str) -> bool:
        return self._held(lease).token == token

    async def deliver(self, shard: int, mail: Sequence[Mail]) -> list[Delivery]:
        deliveries = [self._deliver(shard, message) for message in mail]
        self._hint()
        return deliveries

    async def purge(self, shard: int, ids: Sequence[str]) -> list[str]:
        purged = [found.head.id for found in self._of(shard, ids) if found.finished]
        for id in purged:
            del self._instances[shard][id]
            self._shards[shard].forget(id)
            self._shards[shard].forget_claims(id)
        return purged

    async def acquire(self, app: str, owner: str, at: int | None = None) -> list[Lease]:
        leases = []
        for id in self._shards_of(app):
            shard = self._shards[id]
            if shard.owner is None:
                shard.owner = owner
                shard.epoch += 1
                if at is not None:
                    self._begin_life(id, shard, at)
            if shard.owner == owner:
                leases.append(Lease(id, app, shard.number, owner, shard.epoch))
        return leases

    async def release(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            shard = self._shards[lease.shard]
            if shard.epoch == lease.epoch:
                shard.owner = None
            if shard.life == lease.epoch:
                shard.life = None
                for id in list(shard.deaths):
                    shard.forget(id)

    async def suspects(self, shard: int) -> list[Suspect]:
        found = self._shards[shard]
        places = found.accused_at_death
        return [Suspect(id, deaths, places.get(id, 0)) for id, deaths in sorted(found.deaths.items())]

    async def accuse(self, lease: Lease, instance: str, place: int) -> None:
        shard = self._held(lease)
        if instance in shard.deaths:
            shard.accused[instance] = place

    async def acquit(self, lease: Lease, instances: Sequence[str]) -> None:
        shard = self._held(lease)
        for id in instances:
            shard.forget(id)

    def expire(self, app: str) -> None:
        """Free the app's shards, as the death of their owner would."""
        for shard in self._shards.values():
            if shard.app == app:
                shard.owner = None

    async def holder(self, app: str) -> str | None:
        return next((shard.owner for shard in self._shards.values() if shard.app == app), None)

    async def recover(self, lease: Lease, after: str = "", limit: int = 500) -> list[OpenCall]:
        calls: list[OpenCall] = []
        for id, found in self._unfinished(lease.shard):
            if len(calls) >= limit:
                break
            if id > after and found.head.suspended is None:
                head = found.head
                calls += [
                    OpenCall(lease.shard, id, head.execution, head.generation, wait)
                    for wait in found.open_waits
                    if wait.kind == WaitKind.ACTIVITY
                ]
        return calls

    async def mail(self, lease: Lease, limit: int = 1000, after: str = "") -> list[Mail]:
        present: list[Mail] = []
        for id, found in self._unfinished(lease.shard):
            if len(present) >= limit:
                break
            if id > after:
                present += found.mail.values()
        return present

    async def due(
        self, lease: Lease, until: int, limit: int = 1000, after: tuple[int, str, int] = (-1, "", 0)
    ) -> list[Due]:
        found = [
            Due(lease.shard, id, wait.number, wait.due, wait.kind)
            for id, instance in self._unfinished(lease.shard)
            for wait in instance.waits.values()
            if wait.due is not None and wait.due <= until and (wait.due, id, wait.number) > after
        ]
        return sorted(found, key=lambda due: (due.due, due.instance, due.number))[:limit]

    async def stranded(self, lease: Lease, after: str = "", limit: int = 500) -> list[str]:
        return [
            id
            for id, found in self._unfinished(lease.shard)
            if id > after
            and found.head.suspended is None
            and found.head.stalled is None
            and (
                any(is_endless(wait, bool(found.mail)) for wait in found.waits.values())
                or not (found.waits or found.mail)
            )
        ][:limit]

    async def watch(self) -> AsyncIterator[None]:
        while True:
            await self._written.wait()
            self._written.clear()
            yield

    def _hint(self) -> None:
        self._written.set()

    def _of(self, shard: int, ids: Sequence[str]) -> list[Instance]:
        instances = self._instances[shard]
        return [instances[id] for id in dict.fromkeys(ids) if id in instances]

    def _held(self, lease: Lease) -> Shard:
        shard = self._shards[lease.shard]
        if shard.epoch != lease.epoch or shard.owner is None:
            raise lost(lease)
        return shard

    def _begin_life(self, id: int, shard: Shard, at: int) -> None:
        """Count a death for each that could have been running, if the life before has not ended in good order."""
        if shard.life is not None:
            if shard.accused:
                shard.accused, shard.accused_at_death = {}, shard.accused
            running = {name for name, found in self._unfinished(id) if could_run(found, at)}
            for name in shard.deaths.keys() - running:
                shard.forget(name)
            for name in running:
                shard.deaths[name] = shard.deaths.get(name, 0) + 1
        shard.life = shard.epoch

    def _unfinished(self, shard: int) -> Iterator[tuple[str, Instance]]:
        return ((id, found) for id, found in sorted(self._instances[shard].items()) if not found.finished)

    def _shards_of(self, app: str) -> list[int]:
        found = [id for id, shard in self._shards.items() if shard.app == app]
        if not found:
            first = len(self._shards) + 1
            found = list(range(first, first + self._shard_count))
            for number, id in enumerate(found):
                self._shards[id] = Shard(app, number)
                self._instances[id] = {}
        return found

    def _home(self, app: str, id: str) -> int:
        shards = self._shards_of(app)
        return shards[shard_number(id, len(shards))]

    def _turn(self, shard: int, turn: Turn) -> Outcome:
        """Write the rows of the turn's own instance if its condition holds."""
        instances = self._instances[shard]
        found = instances.get(turn.id)
        if turn.expected is None:
            if found is not None and not found.finished:
                return Outcome.EXISTS
            assert turn.head is not None, "a start brings a head"
            found = instances[turn.id] = Instance(turn.head)
            self._shards[shard].forget(turn.id)
            self._shards[shard].forget_claims(turn.id)
        else:
            if found is None or not is_current(found.head, turn):
                return Outcome.CONFLICT
            if turn.erase:
                found.erase(turn.generation)
            found.head = turn.head or replace(found.head, sequence=turn.expected + 1, updated=turn.at)
        if turn.segment is not None:
            newest = found.segments[-1].sequence if found.segments else 0
            assert found.head.sequence > newest, f"{turn.id!r} has a segment {found.head.sequence} already"
            found.segments.append(Segment(found.head.sequence, turn.segment))
        for number in turn.closed:
            found.waits.pop(number, None)
        for wait in turn.changed:
            if wait.number in found.waits:
                found.waits[wait.number] = wait
        for wait in turn.opened:
            assert wait.number not in found.waits, f"{turn.id!r} has a wait {wait.number} already"
            found.waits[wait.number] = wait
        for key in turn.consumed:
            found.mail.pop(key, None)
        found.remember(turn)
        if turn.permits:
            self._keep_permits(shard, turn)
        return Outcome.COMMITTED

    def _append(self, shard: int, append: Append) -> Outcome:
        found = self._instances[shard].get(append.id)
        return found.append(append) if found is not None else Outcome.CONFLICT

    def _keep_permits(self, shard: int, turn: Turn) -> None:
        kept = self._shards[shard].permits
        queues = {permit.queue for permit in turn.permits}
        kept[:] = [permit for permit in kept if permit.queue not in queues or permit.until > turn.at]
        kept.extend(turn.permits)

    def _create_all(self, lease: Lease, turn: Turn) -> None:
        for creation in turn.created:
            home = self._home(creation.head.app, creation.head.id)
            if not self._created(home, creation) and creation.refusal is not None:
                self._send(lease, creation.refusal)

    def _created(self, shard: int, creation: Creation) -> bool:
        """Insert the instance; False if its id is taken."""
        head = creation.head
        found = self._instances[shard].get(head.id)
        if found is not None:
            if is_repetition(found.head.execution, found.parent_call, creation):
                return True
            if creation.unique or not found.finished:
                return False
        waits = {wait.number: wait for wait in creation.waits}
        mail = {creation.mail.key: replace(creation.mail, app=None)}
        self._instances[shard][head.id] = Instance(head, creation.parent_call, waits=waits, mail=mail)
        self._shards[shard].forget(head.id)
        self._shards[shard].forget_claims(head.id)
        return True

    def _send(self, lease: Lease, mail: Mail) -> Delivery:
        return self._deliver(self._home(mail.app or lease.app, mail.instance), mail)

    def _deliver(self, shard: int, mail: Mail) -> Delivery:
        found = self._instances[shard].get(mail.instance)
        if found is None:
            return Delivery.NO_INSTANCE
        if mail.key in found.mail or mail.key in found.seen:
            return Delivery.DUPLICATE
        if found.finished:
            return Delivery.FINISHED
        if mail.execution is None and len(found.mail) >= MAILBOX_MESSAGES_MAX:
            return Delivery.FULL
        found.mail[mail.key] = replace(mail, app=None)
        return Delivery.DELIVERED


def could_run(found: Instance, at: int) -> bool:
    """Whether an owner that looks at the instance has something to run."""
    waits = found.waits.values()
    starts_later = any(wait.kind == WaitKind.START and is_ahead(wait, at) for wait in waits)
    return any(wakes(found.head, wait, at) for wait in waits) or (bool(found.mail) and not starts_later)


def is_ahead(wait: Wait, at: int) -> bool:
    """Whether the start has to wait for its time, or for a slot."""
    return wait.state == QUEUED or (wait.due is not None and wait.due > at)


def wakes(head: Head, wait: Wait, at: int) -> bool:
    """Whether the wait alone gives an owner something to run."""
    if wait.kind == WaitKind.ACTIVITY:
        return wait.state in IN_FLIGHT and head.suspended is None and (wait.due is None or wait.due <= at)
    return wait.state != QUEUED and wait.due is not None and wait.due <= at


def matches(head: Head, query: Query) -> bool:
    """Whether all conditions of the query hold."""
    return (
        (query.kind is None or head.kind == query.kind)
        and (query.app is None or head.app == query.app)
        and (query.name is None or head.name == query.name)
        and (not query.status or head.status in query.status)
        and is_between(head.created, query.created_after, query.created_before)
        and is_between(head.finished, query.finished_after, query.finished_before)
        and (not query.tags or query.tags.items() <= (head.tags or {}).items())
        and (query.parent is None or head.parent == query.parent)
        and (query.text is None or is_within(query.text.casefold(), head))
        and (query.suspended is None or (head.suspended is not None) == query.suspended)
        and (query.stalled is None or (head.stalled is not None) == query.stalled)
    )


def is_within(text: str, head: Head) -> bool:
    return text in head.id.casefold() or text in head.name.casefold()


def is_between(at: int | None, after: int | None, before: int | None) -> bool:
    """Whether after <= at < before; a bound of None always holds, a time of None only without bounds."""
    if at is None:
        return after is None and before is None
    return (after is None or after <= at) and (before is None or at < before)
