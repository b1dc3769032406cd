"""The protocol of reading and writing instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from perdure.stores.contract.creations import Creation, Holder, Permit
from perdure.stores.contract.instances import Head, Item, Segment, Stream
from perdure.stores.contract.mail import Delivery, Mail
from perdure.stores.contract.nodes import Lease
from perdure.stores.contract.turns import Batch, Outcome, Report
from perdure.stores.contract.waits import OpenCall, Wait


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


class Awaited(NamedTuple):
    """A run that somebody waits for; `execution` None: the one that the instance has."""

    shard: int
    id: str
    execution: str | None = None


class End(msgspec.Struct, frozen=True, gc=False):
    """What has become of a run that is waited for: it is finished, or another has its place, or there is no instance.

    `head` is the one that is there now (None: there is none); `first` and `last` are the events of its first and its
    newest segment if it is finished, where its input and its output are. Nobody knows if it `is_unreadable`; who reads
    that instance alone is told why.
    """

    head: Head | None = None
    first: bytes | None = None
    last: bytes | None = None
    is_unreadable: bool = False


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which instances; all conditions must hold, and None and empty ones always do.

    `text` is looked for in id and name, case-insensitively. A time t fits if after <= t < before; an instance
    that is not finished fits no bound on `finished`. `parent` is the parent's instance id. `kind` None is any.
    `by_end` selects finished instances alone, and in the order in which they ended. `shard` selects those of one shard.
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
    by_end: bool = False
    shard: int | None = None


class Page(NamedTuple):
    """Instances, in the order of the query; `cursor` continues, None when there are no more."""

    heads: list[Head]
    cursor: str | None


class Store(Protocol):
    """Instances and what belongs to them."""

    @property
    def spans_shards(self) -> bool:
        """Whether one transaction may write to several shards."""

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

    async def heads(self, places: Sequence[tuple[int, str]]) -> list[Head]:
        """The heads of those that exist, by shard and id, in the order of `places`; a repeated one counts once."""

    async def ends(self, awaited: Sequence[Awaited]) -> list[End | None]:
        """What has become of each of these runs, in their order; None for one that goes on."""

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
        """Instances, newest first by (created, id), or `by_end` the one first that ended first, by (finished, id).

        Answers from rows of heads and never reads a history.

        A cursor names a place in that order: instances that come or go between two pages make it neither skip
        nor repeat another. Raises InvalidArgument for a cursor that no page gave.
        """

    async def commit(self, batches: Sequence[Batch], token: str) -> list[Outcome]:
        """Write the turns and appends of some leases of one app, each of another shard, and `token` with each.

        The outcomes are those of the first batch's turns, then of its appends, then those of the next. A batch happens
        as a whole or not at all; a store that `spans_shards` writes all of them in one transaction. If the store knows
        a higher epoch for a batch's shard, or the lease was released, every one of it is FENCED and nothing of it is
        written; the other batches commit. One turn whose condition does not hold answers CONFLICT (EXISTS for a start)
        and writes nothing; the others commit. TOO_LARGE likewise, for one that the database cannot take. Appends are
        written first, so that an item may come with the turn that closes its call. Then the turns' own rows are
        written, then what they create in order of the turns, then their mail likewise: a turn may send to what another
        one of the commit creates.
        When the call returns, what it committed is durable to the store's class. Raises StoreRolledBack, and nothing is
        written, if the store's epoch is lower than a lease's.
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

    async def report(self, shard: int, reports: Sequence[Report]) -> list[Outcome]:
        """Take reports of attempts, no lease. Atomic per report; durable when it returns.

        COMMITTED, or CONFLICT if the condition does not hold: the report is late, or told before.
        """

    async def purge(self, shard: int, ids: Sequence[str]) -> list[str]:
        """Delete all rows of those of the instances that are finished, in one transaction; likewise of entities that
        have neither custom status, wait nor mail.

        Returns their ids, in the order given. Needs no lease because a finished run has no writer, and what an owner
        may be writing to an entity consumes mail.
        """
