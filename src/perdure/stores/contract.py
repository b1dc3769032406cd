"""What the engine needs of a database. The docstrings are the specification; `memory` is its executable form.

Every row belongs to an instance and every instance to a *shard* of its app. A node may write to a run only
while it holds the shard's *lease*: `commit` carries the lease's epoch and is refused as a whole (`Fenced`) if
the store knows a higher one. `create`, `renew`, `deliver` and `claim` need no lease. All calls are coroutines that may
be cancelled only before they have started to write. Any error that leaves open whether a write happened is
`StoreUnavailable`.

Times are integers of microseconds since 1970 UTC, always passed in.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

import msgspec

from perdure.codec import Payload

FORMAT = 1
"""Number of the layout that this version writes; a store of a higher one is refused with `StoreVersion`."""

MAILBOX_MESSAGES_MAX = 10_000
"""Bound of unconsumed mail of one instance; `deliver` refuses more with `FULL`. Replies, which name an
execution, are always taken, because the run's open calls bound them and a lost one would never come again."""
SEEN_MAX = 1_024
"""How many message ids of commands and events an instance remembers; the oldest is forgotten first."""


STREAM_ITEMS_MAX = 1_000_000
"""Bound of the items of one stream; an attempt that yields more fails."""
ANSWERS_MAX = 1_024
"""How many answers to updates an instance keeps; the oldest is forgotten first."""


class Status(StrEnum):
    """Where an instance is in its life; the last four are final. Suspended and stalled are fields of their
    own."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    TERMINATED = "terminated"


FINISHED = frozenset((Status.COMPLETED, Status.FAILED, Status.CANCELED, Status.TERMINATED))


class Halt(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Why and since when an instance is suspended or stalled.

    `reason` is a code for stalls ("non-determinism") and free text for suspensions; `fingerprint` names the
    code that stalled, so that other code is worth a retry.
    """

    reason: str
    since: int
    description: str | None = None
    by: str | None = None
    fingerprint: str | None = None
    line: str | None = None


class Head(msgspec.Struct, frozen=True, gc=False):
    """The current run of an instance: bounded, whatever the run does. One row per instance.

    `app`, `name`, `kind`, `created`, `parent` and `tags` stay as they are until a new start replaces the
    instance. `sequence` is the number of turns committed since the instance was created (0: only created); it
    goes on over generations. `more` holds small facts by name that have no field here, among them those of
    newer versions, which survive a read and write.
    """

    id: str
    app: str
    name: str
    status: str
    execution: str
    generation: int
    sequence: int
    created: int
    updated: int
    finished: int | None = None
    parent: str | None = None
    tags: dict[str, str] | None = None
    custom_status: Payload | None = None
    suspended: Halt | None = None
    stalled: Halt | None = None
    version: str | None = None
    kind: str = "workflow"
    more: dict[str, Any] = {}


class Segment(msgspec.Struct, frozen=True, gc=False):
    """The events of one turn as JSON bytes; never changed once written. `sequence` counts from 1."""

    sequence: int
    events: bytes


class WaitKind(StrEnum):
    ACTIVITY = "activity"
    CHILD = "child"
    TIMER = "timer"
    EVENT = "event"
    START = "start"
    TIMEOUT = "timeout"
    ENTITY = "entity"
    QUEUE = "queue"


HELD = "held"
ANSWERED = "answered"
QUEUED = "queued"
ADMITTED = "admitted"
IN_QUEUE = (QUEUED, ADMITTED)
IN_FLIGHT = (HELD, ADMITTED)
"""States of an activity call whose attempts may run."""


class Wait(msgspec.Struct, frozen=True, gc=False):
    """One thing a run waits for: an open call, a timer, an event. Inserted and deleted by the run's turns.

    `on` says on whom (a child's id, an app); `due` is when the store must wake the owner (a timer, the next
    attempt, a deadline), None for never. The fields from `attempt` on are those of an activity call:
    `attempt` counts started attempts, `failure` is the last one's error as JSON. `state` is HELD while the owner
    runs its attempts, ANSWERED while its result lies in the mailbox of a run that stands still. A call in a queue is
    QUEUED while it waits for a slot, or for the time of its next attempt, and ADMITTED while it holds one. A run in a
    queue is not begun while its wait of kind START is QUEUED; from then on it has one of kind QUEUE, ADMITTED.
    """

    number: int
    kind: str
    name: str
    since: int
    due: int | None = None
    on: str | None = None
    line: str | None = None
    attempt: int = 0
    state: str = HELD
    token: str | None = None
    claimed_by: str | None = None
    claimed_until: int | None = None
    details: Payload | None = None
    input: Payload | None = None
    options: bytes | None = None
    failure: bytes | None = None


class Mail(msgspec.Struct, frozen=True, gc=False):
    """A message to an instance, kept until a turn consumes it.

    `key` is the message id, derived from its sender and unique per instance: mail whose key is already there
    or remembered as seen is dropped. `execution` and `generation` name the run a reply is for (None: the
    current one). `event` is the event it brings, as JSON. `at` is when it was sent. `app` is whose instance
    it is for, where a turn sends it (None: the sender's app); it is an address, not kept, so mail that is
    read back has None.
    """

    instance: str
    key: str
    event: bytes
    at: int
    execution: str | None = None
    generation: int | None = None
    app: str | None = None


class Claim(msgspec.Struct, frozen=True, gc=False):
    """A name that an instance takes at its creation, so that no other is created under it meanwhile.

    It holds while the time is before `until`, or with `while_pending` for as long as the instance is PENDING, and ends
    with the instance's rows. Names are of a shard: whoever creates puts instances that share one into one shard.
    """

    name: str
    until: int = 0
    while_pending: bool = False


class Holder(msgspec.Struct, frozen=True, gc=False):
    """Which instance holds a claim, at which of its turns."""

    id: str
    execution: str
    sequence: int
    created: int


class Permit(msgspec.Struct, frozen=True, gc=False):
    """One start that the rate of a queue counts, from `at` to `until`, when it may be forgotten."""

    queue: str
    at: int
    until: int


class Creation(msgspec.Struct, frozen=True, gc=False):
    """A new instance: a PENDING head of sequence 0, the mail that starts it, and waits (delayed start).

    `parent_call` is (parent's execution, generation, number) of a child, kept with the instance. The same
    creation again, by `execution` or by `parent_call`, changes nothing and is no conflict, also when the
    instance is finished. `refusal` is mail that a commit sends instead if the id is taken by an instance that
    is not finished, or by any if `unique`. `claim` is what it takes, in `Store.create` alone.
    """

    head: Head
    mail: Mail
    waits: tuple[Wait, ...] = ()
    parent_call: str | None = None
    refusal: Mail | None = None
    unique: bool = False
    claim: Claim | None = None


class Published(msgspec.Struct, frozen=True, gc=False):
    """What a run shows to those who look: JSON under a name, of which the newest counts.

    `answer` marks the answer to an update: of those an instance keeps ANSWERS_MAX.
    """

    name: str
    value: bytes
    answer: bool = False


class Turn(msgspec.Struct, gc=False):
    """All that one turn of one instance writes; it happens as a whole or not at all.

    Condition: the stored head has this `execution`, `generation` and `sequence == expected`. `expected` None
    is a start: the id must be free, or its run finished, whose rows are then erased (`exists` otherwise).
    Effects, in this order: `erase` (continue-as-new) drops history and waits of the run that ends, and the streams of
    runs before it; its own streams, mail, seen ids and what is published stay; `head` replaces the stored head (None:
    only `sequence = expected + 1` and `updated = at`); `segment` is appended under the new head's sequence, higher
    than that of any segment there; waits in `closed` go, those in `changed` are replaced if they are there, those in
    `opened` are inserted; mail with keys in `consumed` goes; the keys in `seen` are remembered, each newer than the
    one before; each of `published` takes the place of what has its name, and answers beyond ANSWERS_MAX go, oldest
    first; `permits` are kept, and others of the same queue go whose `until` is not after the turn's `at`.
    Numbers and keys that are not there are ignored. Then `created` are created and `mail` is delivered as
    `create` and `deliver` would, each in its own app's shard, in the same transaction, except that nothing is
    raised: undeliverable mail is dropped, refused creations send their `refusal`.
    """

    shard: int
    id: str
    execution: str
    generation: int
    expected: int | None
    at: int
    head: Head | None = None
    segment: bytes | None = None
    opened: Sequence[Wait] = ()
    changed: Sequence[Wait] = ()
    closed: Sequence[int] = ()
    consumed: Sequence[str] = ()
    seen: Sequence[str] = ()
    mail: Sequence[Mail] = ()
    created: Sequence[Creation] = ()
    published: Sequence[Published] = ()
    permits: Sequence[Permit] = ()
    erase: bool = False


class Append(msgspec.Struct, frozen=True, gc=False):
    """Items that an attempt of an open call adds to the call's stream; it happens as a whole or not at all.

    Condition: the stored head has this `execution` and `generation` and is not finished; its wait `number` is an
    activity and has this `attempt`; the last item of the stream has the offset `after` (0: there is none). So neither
    an attempt that is no longer the call's nor a repetition adds anything. Effect: `values` become the items of the
    offsets after + 1 and on, of `at`. It is no turn: the head stays as it is.
    """

    shard: int
    id: str
    execution: str
    generation: int
    number: int
    attempt: int
    after: int
    at: int
    values: Sequence[Payload]


class Item(msgspec.Struct, frozen=True, gc=False):
    """One thing that an activity has yielded; offsets of a stream count from 1 without gaps."""

    offset: int
    value: Payload
    attempt: int
    at: int


class Stream(msgspec.Struct, frozen=True, gc=False):
    """What one call has yielded: `number` is the call's, `name` its activity, `length` the offset of the last item.

    `is_open`: the call is, so there may be more.
    """

    generation: int
    number: int
    name: str
    length: int
    is_open: bool


class Outcome(StrEnum):
    """What became of one turn or append: `conflict` and `exists` mean its condition did not hold.

    Two are never a store's answer but the committer's: `no-room` for a start that a full store refused, `unwritable`
    for a turn at which the store failed in a way that it should not.
    """

    COMMITTED = "committed"
    FENCED = "fenced"
    CONFLICT = "conflict"
    EXISTS = "exists"
    TOO_LARGE = "too-large"
    NO_ROOM = "no-room"
    UNWRITABLE = "unwritable"


class Delivery(StrEnum):
    """What became of one message."""

    DELIVERED = "delivered"
    DUPLICATE = "duplicate"
    NO_INSTANCE = "no-instance"
    FINISHED = "finished"
    FULL = "full"


class Lease(msgspec.Struct, frozen=True, gc=False):
    """The right to write to the runs of one shard, until somebody holds a higher epoch.

    `until` is by the store's clock, None for a lease that lasts as long as its process.
    """

    shard: int
    app: str
    number: int
    owner: str
    epoch: int
    until: int | None = None


class Suspect(msgspec.Struct, frozen=True, gc=False):
    """An instance that could have been running each time when the owners of its shard died, `deaths` times running.

    `accused` is the place, from 1, in which it was accused by the last owner that died and had accused anybody; 0 if it
    was not. A suspect is forgotten with its instance: when that is purged, or another takes its id.
    """

    instance: str
    deaths: int
    accused: int = 0


class Loaded(msgspec.Struct, frozen=True, gc=False):
    """An instance as of one moment.

    Mail is in order of arrival, segments of the current generation are by sequence, waits by number, seen ids
    newest first.
    """

    head: Head
    segments: list[Segment]
    mail: list[Mail]
    waits: list[Wait]
    seen: list[str]


class Due(msgspec.Struct, frozen=True, gc=False):
    """A wait of some instance that has a due time."""

    shard: int
    instance: str
    number: int
    due: int
    kind: str


class OpenCall(msgspec.Struct, frozen=True, gc=False):
    """An activity call that its run still waits for, found again after its node died."""

    shard: int
    instance: str
    execution: str
    generation: int
    wait: Wait


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which instances; all conditions must hold, and None and empty ones always do.

    `text` is looked for in id and name, case-insensitively. A time t fits if after <= t < before; an instance
    that is not finished fits no bound on `finished`. `parent` is the parent's instance id. `kind` None is any.
    """

    app: str | None = None
    name: str | None = None
    status: tuple[str, ...] = ()
    created_after: int | None = None
    created_before: int | None = None
    finished_after: int | None = None
    finished_before: int | None = None
    tags: dict[str, str] | None = None
    parent: str | None = None
    text: str | None = None
    suspended: bool | None = None
    stalled: bool | None = None
    kind: str | None = "workflow"


class Page(msgspec.Struct, frozen=True):
    """Instances, newest first; `cursor` continues, None when there are no more."""

    heads: list[Head]
    cursor: str | None


class Store(Protocol):
    """Instances and what belongs to them."""

    async def open(self) -> None:
        """Connect; create or migrate the schema. A store that was closed may be opened again.

        Raises StoreNotUsable, StoreVersion, StoreCorrupt, StoreFull or StoreUnavailable.
        """

    async def close(self) -> None:
        """Finish writes under way and let go of the database. May be called twice."""

    async def shards(self, app: str) -> list[int]:
        """The shard ids of an app, in order of their number; made on first use, the same for ever after.

        An id belongs to one app. Every other call names shards that were made; the rest is the caller's bug.
        """

    async def apps(self) -> list[str]:
        """The apps that have shards, by name."""

    async def create(self, shard: int, creation: Creation) -> Holder | None:
        """Insert a PENDING instance and its start mail if the id is free or its run is finished (whose rows
        go then).

        One atomic step, no lease. Raises InstanceExists (also for a finished one if `unique`). A repetition
        with the same `execution` is a success. If another instance holds the `claim` at the time of the creation's
        mail, nothing is written and its holder is returned; else the claim is taken in the same step. None: created.
        """

    async def renew(self, shard: int, holder: Holder, mail: Mail, wait: Wait, at: int) -> bool:
        """Let an instance that no code has begun begin with other mail at another time; no lease.

        Condition: the head has the holder's execution and sequence and is PENDING. Effects: the sequence goes up by
        one, which refuses a turn under way; `updated` is `at`; the mail of the same key is replaced by `mail`, and the
        wait of the same number by `wait`. False, and nothing written, if the condition does not hold.
        """

    async def load(self, shard: int, ids: Sequence[str]) -> list[Loaded]:
        """Head, segments, mail, waits and seen ids of each instance that exists, each consistent in itself.

        In the order of `ids`; a repeated id counts once.
        """

    async def head(self, shard: int, id: str) -> Head | None:
        """The head alone."""

    async def heads(self, shard: int, ids: Sequence[str]) -> list[Head]:
        """The heads of those that exist, in the order of `ids`; a repeated id counts once."""

    async def history(self, shard: int, id: str, after: int = 0, limit: int = 1000) -> list[Segment]:
        """Segments of the current generation with sequence > after, oldest first."""

    async def last_segment(self, shard: int, id: str) -> Segment | None:
        """The newest segment: where a finished run keeps its output."""

    async def waits(self, shard: int, id: str) -> list[Wait]:
        """What the instance waits for, by number."""

    async def published(self, shard: int, id: str, names: Sequence[str]) -> dict[str, bytes]:
        """What the instance has published under those of the names that there are."""

    async def streams(self, shard: int, id: str) -> list[Stream]:
        """The instance's streams that have an item, by (generation, number)."""

    async def items(
        self, shard: int, id: str, generation: int, number: int, after: int = 0, limit: int = 1000
    ) -> list[Item]:
        """Items of one stream with offset > after, in order."""

    async def last_item(self, shard: int, id: str, generation: int, number: int) -> Item | None:
        """The newest item of one stream: where the next attempt goes on."""

    async def queued(self, shard: int, after: str = "", limit: int = 1000) -> list[OpenCall]:
        """Waits that are QUEUED or ADMITTED, of runs that are not finished, by (instance, number), after the
        instance `after`; pages as those of `Wake`."""

    async def permits(self, shard: int, after: int) -> list[Permit]:
        """Those whose `until` is later than `after`, by (queue, at)."""

    async def find(self, query: Query, cursor: str | None = None, limit: int = 100) -> Page:
        """Instances, newest first by (created, id). Answers from indexed rows and never reads a history.

        A cursor names a place in that order: instances that come or go between two pages make it neither skip
        nor repeat another. Raises InvalidArgument for a cursor that no page gave.
        """

    async def commit(
        self, lease: Lease, turns: Sequence[Turn], token: str, appends: Sequence[Append] = ()
    ) -> list[Outcome]:
        """Write turns and appends of the lease's shard in one transaction, and `token` with them.

        Turns are of different instances, appends of different calls; the outcomes are those of the turns, then those
        of the appends. If the store knows a higher epoch for the shard, or the lease was released, every one is
        FENCED and nothing is written. One whose condition does not hold answers CONFLICT (EXISTS for a start) and
        writes nothing; the others commit. TOO_LARGE likewise, for one that the database cannot take. Appends are
        written first, so that an item may come with the turn that closes its call. Then the turns' own rows are
        written, then what they create in order
        of the turns, then their mail likewise: a turn may send to what another one of the commit creates.
        When the call returns, what it committed is durable to the store's class. Raises StoreRolledBack if
        the store's epoch is lower than the lease's.
        """

    async def settle_unknown(self, lease: Lease, token: str) -> bool:
        """Whether the commit with this token happened, asked after `commit` raised StoreUnavailable.

        Answers for the newest commit of the shard. Raises Fenced if the lease was lost meanwhile.
        """

    async def deliver(self, shard: int, mail: Sequence[Mail]) -> list[Delivery]:
        """Append mail, no lease. Atomic per message; order of arrival is the order given; durable when it
        returns.

        The first that fits: NO_INSTANCE; DUPLICATE if the key is present or seen; FINISHED if the instance's
        run is final; FULL if MAILBOX_MESSAGES_MAX are there and the mail is no reply.
        """

    async def purge(self, shard: int, ids: Sequence[str]) -> list[str]:
        """Delete all rows of those of the instances that are finished, in one transaction.

        Returns their ids, in the order given. Needs no lease because a finished run has no writer.
        """


class Leases(Protocol):
    """Who owns which shard."""

    async def acquire(self, app: str, owner: str, at: int | None = None) -> list[Lease]:
        """Take the app's shards that are free or whose lease ran out, each with an epoch higher than any
        before.

        Returns what `owner` now holds; what it held before keeps its epoch. Empty: somebody else owns them;
        ask again later. Raises StoreRolledBack if the store's epoch is lower than one that this object has
        seen.

        With `at` (now) the owner *lives* on the shards that it takes, until they are released. If the life
        before on a shard was not, its owner has died: in the same transaction each run of the shard that is
        not finished and could have been running becomes a suspect or, if it is one, has one death more: a run
        with an activity call that is IN_FLIGHT and not due later than `at` (unless it is suspended), with another wait
        that is due by `at`, or with mail (unless a wait of kind START is due later or QUEUED). Other suspects are
        forgotten. Without `at` the owner runs no code: lives, deaths and suspects stay as they are.
        """

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give shards back at once. From now on a commit under them is FENCED; lost ones are ignored.

        A life on them ends in good order, and nobody is a suspect any more.
        """

    async def suspects(self, shard: int) -> list[Suspect]:
        """Who could have been running when the last owners died, by instance id. No lease is needed to look."""

    async def accuse(self, lease: Lease, instance: str, place: int) -> None:
        """Note that this suspect may run from now on, beside those accused before it; durable when it returns.

        One that is no suspect is ignored. Raises Fenced.
        """

    async def acquit(self, lease: Lease, instances: Sequence[str]) -> None:
        """Forget these suspects, their deaths and accusations. Those that are none are ignored. Raises Fenced."""

    async def holder(self, app: str) -> str | None:
        """Who owns the app's first shard, for people to read. None: nobody."""


class Wake(Protocol):
    """What the owner of a shard must look at.

    Pages go on until one is empty: a shorter one is not the last, because rows that cannot be read are left out.
    """

    async def recover(self, lease: Lease, after: str = "", limit: int = 500) -> list[OpenCall]:
        """Open activity calls of runs that are neither finished nor suspended, by (instance, number), after the
        instance `after`.

        A page ends between two instances, so it may exceed `limit`.
        """

    async def mail(self, lease: Lease, limit: int = 1000, after: str = "") -> list[Mail]:
        """Mail to runs that are not finished, by instance and in order of arrival, after the instance id
        `after`.

        What is present and not consumed is returned each time, never by a high-water mark; `after` only
        pages, so that the mail of an instance that consumes none (suspended, stalled) hides nobody else's. A
        page ends between two instances, so it may exceed `limit`.
        """

    async def due(
        self, lease: Lease, until: int, limit: int = 1000, after: tuple[int, str, int] = (-1, "", 0)
    ) -> list[Due]:
        """Waits with due <= until of unfinished runs, by (due, instance, number), after that key."""

    async def stranded(self, lease: Lease, after: str = "", limit: int = 500) -> list[str]:
        """Ids, in order and after `after`, of instances that something may have been deleted of.

        They are neither finished, suspended nor stalled, and have a wait that is endless (see `is_endless`), or
        neither wait nor mail. Asked once when a shard is taken up.
        """

    def watch(self) -> AsyncIterator[None]:
        """Hints that another process may have written. Losing all of them harms nothing: polling finds the
        same."""


@runtime_checkable
class Transactions(Protocol):
    """What a store offers whose transactions can carry a caller's own statements."""

    async def transact(self, lease: Lease, id: str, number: int, attempt: int, work: Callable[[Any], Mail]) -> Outcome:
        """Run `work` in one transaction with the delivery of the mail that it returns, which holds its result.

        `work` is called once, in a thread of the store, with the dialect's guest connection: what it changes happens
        with the mail or not at all. Condition: wait `number` of the instance is IN_FLIGHT at this attempt; it becomes
        ANSWERED. CONFLICT if it is not, FENCED as for `commit`; `work` is not called then. What `work` raises is
        raised, and nothing is written.
        """


class EngineStore(Store, Leases, Wake, Protocol):
    """What an engine is given: the three protocols of one database."""


def is_endless(wait: Wait, has_mail: bool) -> bool:
    """Whether nothing can end the wait, which no turn leaves behind; `has_mail` tells of its instance."""
    match wait.kind:
        case WaitKind.ACTIVITY | WaitKind.CHILD | WaitKind.TIMER if wait.state == ANSWERED:
            return not has_mail
        case WaitKind.ACTIVITY:
            return wait.state not in (HELD, QUEUED, ADMITTED)
        case WaitKind.CHILD:
            return wait.on is None
        case WaitKind.TIMER | WaitKind.START | WaitKind.TIMEOUT:
            return wait.due is None and wait.state != QUEUED
        case WaitKind.EVENT | WaitKind.ENTITY | WaitKind.QUEUE:
            return False
        case _:
            return True


def shard_number(id: str, count: int) -> int:
    """Which of an app's `count` shards holds the instance `id`: CRC-32 of its UTF-8 bytes, modulo."""
    return zlib.crc32(id.encode()) % count if count > 1 else 0
