"""The store contract over a database of MongoDB, experimental and tested over the wire only."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterable, Sequence

from perdure.errors import ForkedEngine, NotOpen, StoreUnavailable
from perdure.gathering import Gathering
from perdure.stores.apps import Apps
from perdure.stores.contract import (
    Awaited,
    Backlog,
    Batch,
    Beat,
    Census,
    Checkup,
    Creation,
    Delivery,
    Due,
    End,
    Head,
    Heart,
    Holder,
    Item,
    Lease,
    Letter,
    Loaded,
    Mail,
    Member,
    Notice,
    OpenCall,
    Outcome,
    Page,
    Permit,
    Place,
    Posted,
    Query,
    Report,
    Reservation,
    Segment,
    ShardState,
    Stream,
    Suspect,
    Touch,
    Wait,
    Whole,
)
from perdure.stores.mongo import census, ledger, moving, notices, ownership, search, wake
from perdure.stores.mongo.address import Address, read_address
from perdure.stores.mongo.commits import Commit
from perdure.stores.mongo.database import Database
from perdure.stores.mongo.documents import ROW_BYTES_MAX, Document, head_of, item_of, key_of, track_of
from perdure.stores.mongo.heads import HEADS, Heads
from perdure.stores.mongo.hints import Hints
from perdure.stores.mongo.inspection import check_layout, checkup, inspect, size
from perdure.stores.mongo.outbox import PERMITS, Outbox
from perdure.stores.mongo.ownership import MongoHeart
from perdure.stores.mongo.visits import Visits
from perdure.stores.reach import apps_of
from perdure.stores.rules import taken

log = logging.getLogger("perdure")
WRITES_MAX = 60
"""How often a turn is written that others come before; then the store is busy."""
WHOLE_TRIES_MAX = 20
"""How often an instance is read that changes between its document and its log."""


def open_store(url: str, *, read_only: bool = False) -> MongoStore:
    """The store at the address, not yet opened. Raises InvalidArgument or UnknownConfiguration if it is none."""
    return MongoStore(read_address(url), read_only=read_only)


class MongoStore:
    """An `EngineStore` on a replica set, or on one server. Experimental, and tested over the wire only.

    What commits send to other instances, they write into the sender's document, from which this object carries it: at
    once within a shard, in the background to others, also for shards that it takes over.
    """

    spans_shards = False

    def __init__(self, address: Address, *, read_only: bool = False, row_bytes_max: int = ROW_BYTES_MAX) -> None:
        self.address = address
        self.lease_seconds = address.lease_seconds
        self._read_only = read_only
        self._row_bytes_max = row_bytes_max
        self._parts: _Parts | None = None
        self._apps = Apps(address, address.shards, self._look_up, self._listen)
        self._leases: dict[int, Lease] = {}
        self._epochs: dict[int, int] = {}
        self._commits: dict[int, int] = {}
        self._committing = asyncio.Lock()
        self._process = os.getpid()
        self._creations: Gathering[tuple[int, Creation], bool | Exception] = Gathering(self._create)

    def __repr__(self) -> str:
        state = "closed" if self._parts is None else f"holds {len(self._leases)} shards"
        return f"<MongoStore {self.address}, {state}, experimental>"

    # Store

    async def open(self) -> None:
        if self._parts is not None:
            return
        self._process = os.getpid()
        database = Database(self.address, self._read_only)
        try:
            await inspect(database)
            await check_layout(database)
        except BaseException:
            await database.close()
            raise
        log.info("%s opened: experimental, tested over the wire only", self.address)
        self._committing = asyncio.Lock()
        self._parts = _Parts(self._apps, database, self._row_bytes_max)

    async def close(self) -> None:
        if os.getpid() != self._process:
            # because what a forked child inherited is its parent's to close
            return
        parts, self._parts = self._parts, None
        if parts is not None:
            await parts.close()
        self._leases.clear()

    async def emptied(self) -> None:
        """Return when all that this process has sent to other shards has arrived."""
        await self._opened().outbox.emptied()

    async def shards(self, app: str) -> list[int]:
        return await self._apps.shards(app)

    async def _shards_there(self, app: str) -> list[int]:
        """Those of an app, none if it has none yet."""
        return await self._apps.shards(app, make=False)

    async def _look_up(self, app: str, shards: int, make: bool) -> tuple[int, int]:
        return await ownership.look_up(self._opened().database, app, shards, make=make and not self._read_only)

    async def apps(self) -> list[str]:
        return sorted(doc["_id"] for doc in await self._opened().database.find(ownership.APPS, {}))

    async def create(self, shard: int, creation: Creation) -> Holder | None:
        if creation.claim is not None:
            made = await self._opened().visits.claim_and_create(shard, creation)
            if isinstance(made, Holder):
                return made
        else:
            done = await self._creations.add((shard, creation))
            if isinstance(done, Exception):
                raise done
            made = done
        if not made:
            raise taken(creation.head.id)
        await self._tell([shard])
        return None

    async def _create(self, asked: Sequence[tuple[int, Creation]]) -> Sequence[bool | Exception]:
        """Each shard's for itself, because one may be of an app that is kept for a move."""
        by_shard: dict[int, list[int]] = {}
        for place, (shard, _) in enumerate(asked):
            by_shard.setdefault(shard, []).append(place)
        visits = self._opened().visits
        ends = await asyncio.gather(
            *(visits.create(shard, [asked[place][1] for place in places]) for shard, places in by_shard.items()),
            return_exceptions=True,
        )
        made: list[bool | Exception] = [False] * len(asked)
        for places, end in zip(by_shard.values(), ends, strict=True):
            if isinstance(end, BaseException) and not isinstance(end, Exception):
                raise end
            for number, place in enumerate(places):
                made[place] = end if isinstance(end, Exception) else end[number]
        return made

    async def renew(self, shard: int, holder: Holder, mail: Mail, wait: Wait, at: int) -> bool:
        renewed = await self._opened().visits.renew(shard, holder, mail, wait, at)
        await self._tell([shard])
        return renewed

    async def load(self, shard: int, ids: Sequence[str]) -> list[Loaded]:
        wanted = list(dict.fromkeys(ids))
        loaded: dict[str, Loaded] = {}
        left = wanted
        for _ in range(WHOLE_TRIES_MAX):
            documents = await self._opened().heads.some(shard, left)
            found = await self._opened().database.all(map(self._loaded, documents.values()))
            loaded |= {one.head.id: one for one in found if one is not None}
            left = [id for id in documents if id not in loaded]
            if not left:
                break
        return [loaded[id] for id in wanted if id in loaded]

    async def _loaded(self, document: Document) -> Loaded | None:
        """None if it has changed since it was read."""
        instance = document.instance
        has_log = document.count > len(instance.segments)
        rows = await self._opened().heads.segments(document) if has_log else []
        segments = [Segment(row["n"], row["d"].encode()) for row in rows] + instance.segments
        if len(segments) != document.count:
            return None
        return Loaded(
            instance.head, segments, list(instance.mail.values()), instance.open_waits, [*reversed(instance.seen)]
        )

    async def head(self, shard: int, id: str) -> Head | None:
        return next(iter(await self.heads([(shard, id)])), None)

    async def heads(self, places: Sequence[tuple[int, str]]) -> list[Head]:
        keys = [key_of(shard, id) for shard, id in dict.fromkeys(places)]
        found = await self._opened().database.of_keys(HEADS, keys, search.FIELDS)
        docs = {doc["_id"]: doc for doc in await search.heads_of(self._opened().heads, list(found.values()))}
        return [head_of(docs[key]) for key in keys if key in docs]

    async def ends(self, awaited: Sequence[Awaited]) -> list[End | None]:
        parts = self._opened()
        found = await parts.database.of_keys(HEADS, [key_of(run.shard, run.id) for run in awaited], search.END_FIELDS)
        docs = {doc["_id"]: doc for doc in await search.heads_of(parts.heads, list(found.values()))}
        keys = list(dict.fromkeys(docs))
        ends = dict(
            zip(keys, await parts.database.all(search.end(parts.heads, docs[key]) for key in keys), strict=True)
        )
        return [search.of_run(ends.get(key_of(run.shard, run.id)), run.execution) for run in awaited]

    async def history(self, shard: int, id: str, after: int = 0, limit: int = 1000) -> list[Segment]:
        document = await self._opened().heads.one(shard, id)
        if document is None:
            return []
        rows = await self._opened().heads.segments(document, after, limit)
        newest = [segment for segment in document.instance.segments if segment.sequence > after]
        return ([Segment(row["n"], row["d"].encode()) for row in rows] + newest)[:limit]

    async def last_segment(self, shard: int, id: str) -> Segment | None:
        document = await self._opened().heads.one(shard, id)
        return document.instance.segments[-1] if document is not None and document.instance.segments else None

    async def waits(self, shard: int, id: str) -> list[Wait]:
        document = await self._opened().heads.one(shard, id)
        return document.instance.open_waits if document is not None else []

    async def published(self, shard: int, id: str, names: Sequence[str]) -> dict[str, bytes]:
        document = await self._opened().heads.one(shard, id)
        shown = {**document.instance.published, **document.instance.answers} if document is not None else {}
        return {name: shown[name] for name in names if name in shown}

    async def streams(self, shard: int, id: str) -> list[Stream]:
        document = await self._opened().heads.one(shard, id)
        if document is None:
            return []
        return [document.instance.stream(*key) for key in sorted(document.instance.streams)]

    async def items(
        self, shard: int, id: str, generation: int, number: int, after: int = 0, limit: int = 1000
    ) -> list[Item]:
        document = await self._opened().heads.one(shard, id)
        strand = document.instance.streams.get((generation, number)) if document is not None else None
        if document is None or strand is None:
            return []
        found: list[Item] = []
        if after < strand.before:
            rows = await self._opened().heads.log(document, track_of(generation, number), after, limit)
            found = [item for item in (item_of(row["d"]) for row in rows) if item.offset <= strand.before]
        return (found + [item for item in strand.items if item.offset > after])[:limit]

    async def last_item(self, shard: int, id: str, generation: int, number: int) -> Item | None:
        document = await self._opened().heads.one(shard, id)
        strand = document.instance.streams.get((generation, number)) if document is not None else None
        return strand.items[-1] if strand is not None else None

    async def queued(self, shard: int, after: str = "", limit: int = 1000) -> list[OpenCall]:
        return await wake.queued(self._opened().heads, shard, after, limit)

    async def permits(self, shard: int, after: int) -> list[Permit]:
        while await self._opened().outbox.carry_from({"shard": shard}):
            pass  # because those that were given are counted when they have arrived
        found = await self._opened().database.find(PERMITS, {"shard": shard, "until": {"$gt": after}})
        permits = [Permit(doc["queue"], doc["at"], doc["until"]) for doc in found]
        return sorted(permits, key=lambda permit: (permit.queue, permit.at))

    async def find(self, query: Query, cursor: str | None = None, limit: int = 100) -> Page:
        return await search.find(self._opened().database, self._opened().heads, query, cursor, limit)

    async def commit(self, batches: Sequence[Batch], token: str) -> list[Outcome]:
        await self._apps.learn(apps_of(batches))
        async with self._committing:
            database = self._opened().database
            commits = await database.all(self._announced(batch, token) for batch in batches)
            written = await database.all(self._written(commit) for commit in commits if commit is not None)
            told = iter(written)
            outcomes: list[Outcome] = []
            for batch, commit in zip(batches, commits, strict=True):
                count = len(batch.turns) + len(batch.appends)
                outcomes += [Outcome.FENCED] * count if commit is None else next(told)
            return outcomes

    async def _announced(self, batch: Batch, token: str) -> Commit | None:
        """The batch under its number; None if its lease is lost."""
        commit = Commit(batch, token, self._row_bytes_max)
        number = await self._announce(commit, commit.ids)
        if number is None:
            return None
        commit.address(number)
        return commit

    async def _announce(self, commit: Commit, ids: Sequence[str]) -> int | None:
        lease = commit.batch.lease
        keys, number = [key_of(lease.shard, id) for id in ids], self._commits.get(lease.shard, 0)
        found = await ownership.announce(self._opened().database, lease, commit.token, keys, number)
        if found is not None:
            self._commits[lease.shard] = found
        return found

    async def _written(self, commit: Commit) -> list[Outcome]:
        parts, shard = self._opened(), commit.batch.lease.shard
        try:
            is_held = await self._write(commit)
        except BaseException:
            parts.outbox.read([shard])  # because some may have been written
            raise
        if not is_held:
            return [Outcome.FENCED] * len(commit.outcomes)
        await parts.outbox.send(shard, commit.letters())
        if commit.offers:
            await self._tell(await self._shards_there(commit.batch.lease.app))
        return commit.told()

    async def _write(self, commit: Commit) -> bool:
        """False if the lease is lost. Who comes too late to an instance may have been barred from it by the next owner,
        so it is announced anew before it is tried again."""
        left = commit.ids
        for number in range(WRITES_MAX):
            if number and await self._announce(commit, left) is None:
                return False
            said = await self._opened().heads.change(commit.batch.lease.shard, left, commit.decide, once=True)
            commit.settle(said)
            left = [id for id in left if id not in said]
            if not left:
                return True
        raise StoreUnavailable(f"{self.address}: others write to {left[0]!r} all the time; it will be tried again")

    async def settle_unknown(self, lease: Lease, token: str) -> bool:
        parts = self._opened()
        happened, self._commits[lease.shard] = await ownership.settle(parts.database, parts.heads, lease, token)
        return happened

    async def deliver(self, shard: int, mail: Sequence[Mail]) -> list[Delivery]:
        deliveries = await self._opened().visits.deliver(shard, mail)
        await self._tell([shard])
        return deliveries

    async def report(self, shard: int, reports: Sequence[Report]) -> list[Outcome]:
        outcomes = await self._opened().visits.report(shard, reports)
        await self._tell([shard])
        return outcomes

    async def purge(self, shard: int, ids: Sequence[str]) -> list[str]:
        parts = self._opened()
        await ownership.check_free(parts.database, [shard])
        while await parts.outbox.carry_from({"_id": {"$in": [key_of(shard, id) for id in ids]}, "open": False}):
            pass  # because what an instance has sent outlives it
        return await parts.visits.purge(shard, ids)

    # Notices

    async def notices(self, shard: int, after: int, limit: int, *, pending: bool = False) -> list[Posted]:
        return await notices.page(self._opened().database, shard, after, limit, pending=pending)

    async def newest_notice(self, shard: int) -> int:
        return await notices.newest(self._opened().database, shard)

    async def purge_told(self, shard: int, gone: Sequence[Notice]) -> list[str]:
        await ownership.check_free(self._opened().database, [shard])
        documents = await self._opened().heads.some(shard, [notice.instance for notice in gone])
        return await notices.purge_told(
            self._opened().database, shard, gone, documents, lambda ids: self.purge(shard, ids)
        )

    async def told(self, shard: int, numbers: Sequence[int]) -> None:
        await notices.told(self._opened().database, shard, numbers)

    async def give_up(self, shard: int, number: int, failure: str) -> None:
        await notices.give_up(self._opened().database, shard, number, failure)

    async def given_up(self, shard: int, limit: int) -> list[Posted]:
        return await notices.given_up(self._opened().database, shard, limit)

    async def tell_again(self, shard: int) -> int:
        return await notices.tell_again(self._opened().database, shard)

    async def trim(self, shard: int, keep: int) -> None:
        await notices.trim(self._opened().database, shard, keep)

    # Ledger

    async def audit(self, app: str, after: int, entries: Sequence[bytes], digest: str) -> bool:
        return await ledger.append(self._opened().database, app, after, entries, digest)

    async def audit_head(self, app: str) -> tuple[int, str]:
        return await ledger.head(self._opened().database, app)

    async def audited(self, app: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        return await ledger.page(self._opened().database, app, after, limit)

    # Leases

    async def acquire(self, app: str, owner: str, at: int | None = None, limit: int | None = None) -> list[Lease]:
        await self._apps.learn([app])
        parts = self._opened()
        found = await ownership.acquire(parts.database, parts.heads, app, owner, at, limit, self._epochs)
        held = {lease.shard: lease for lease, _ in found}
        self._commits |= {lease.shard: number for lease, number in found}
        self._epochs |= {shard: lease.epoch for shard, lease in held.items()}
        new = [shard for shard in held if shard not in self._leases]
        self._leases = {shard: lease for shard, lease in self._leases.items() if lease.app != app} | held
        parts.outbox.read(new)
        self._listen()
        return list(held.values())

    async def release(self, leases: Sequence[Lease]) -> None:
        self._let_go(leases)
        await ownership.release(self._opened().database, leases)

    async def beat(self, app: str, member: Member, leases: Sequence[Lease]) -> Beat:
        beat = await ownership.beat(self._opened().database, app, member, leases)
        held = {lease.shard for lease in beat.held}
        self._let_go([lease for lease in leases if lease.shard not in held])
        return beat

    def _let_go(self, leases: Iterable[Lease]) -> None:
        for lease in leases:
            self._leases.pop(lease.shard, None)
        self._listen()

    def heart(self) -> Heart:
        return MongoHeart(self.address)

    async def tell(self, app: str, owner: str, about: bytes) -> None:
        await ownership.tell(self._opened().database, app, owner, about)

    async def leave(self, app: str, owner: str) -> None:
        await ownership.leave(self._opened().database, app, owner)

    async def members(self, app: str) -> list[Member]:
        return await ownership.members(self._opened().database, app)

    async def suspects(self, shard: int) -> list[Suspect]:
        return await ownership.suspects(self._opened().database, shard)

    async def accuse(self, lease: Lease, instance: str, place: int) -> None:
        await ownership.accuse(self._opened().database, lease, instance, place)

    async def acquit(self, lease: Lease, instances: Sequence[str]) -> None:
        await ownership.acquit(self._opened().database, lease, instances)

    async def holder(self, app: str) -> str | None:
        states = await self.shard_states(app)
        return states[0].owner if states else None

    # Wake

    async def recover(self, lease: Lease, after: str = "", limit: int = 500) -> list[OpenCall]:
        return await wake.open_calls(self._opened().heads, lease.shard, after, limit)

    async def mail(self, leases: Sequence[Lease], limit: int = 1000, after: tuple[int, str] = (0, "")) -> list[Letter]:
        return await wake.mail(self._opened().heads, leases, limit, after)

    async def due(
        self, leases: Sequence[Lease], until: int, limit: int = 1000, after: tuple[int, int, str, int] = (-1, 0, "", 0)
    ) -> list[Due]:
        return await wake.due(self._opened().heads, leases, until, limit, after)

    async def stranded(self, lease: Lease, after: str = "", limit: int = 500) -> list[str]:
        return await wake.stranded(self._opened().heads, lease.shard, after, limit)

    async def claim(
        self, app: str, owner: str, token: str, names: Sequence[str], limit: int, seconds: float
    ) -> list[OpenCall]:
        return await self._opened().visits.claim(await self.shards(app), owner, token, names, limit, seconds)

    async def touch(self, touches: Sequence[Touch], seconds: float) -> list[bool]:
        return await self._opened().visits.touch(touches, seconds)

    async def backlog(self, app: str, until: int = 0) -> Backlog:
        parts = self._opened()
        return await wake.backlog(parts.database, parts.heads, await self.shards(app), until)

    # Movable

    async def reserve(self, app: str, reservation: Reservation) -> None:
        await self._apps.learn([app])
        await moving.reserve(self._opened().database, app, reservation)

    async def reserved(self, app: str) -> Reservation | None:
        return await moving.reserved(self._opened().database, app)

    async def free(self, app: str, by: str) -> None:
        await moving.free(self._opened().database, app, by)

    async def roll(self, app: str, after: tuple[int, str] = (0, ""), limit: int = 1000) -> list[tuple[int, Place]]:
        parts, kept = self._opened(), await self.reserved(app)
        by = None if kept is None else kept.by
        return await moving.roll(parts.database, parts.heads, await self._shards_there(app), by, after, limit)

    async def export(self, shard: int, ids: Sequence[str]) -> list[Whole]:
        return await moving.export(self._opened().heads, shard, ids)

    async def take_in(self, app: str, by: str, wholes: Sequence[Whole]) -> list[str]:
        await self._apps.learn([app])
        placed = [(self._apps.home(app, whole.head.id), whole) for whole in wholes]
        return await moving.take_in(self._opened().database, self._opened().heads, app, by, placed)

    async def recount(self, app: str, by: str, shard: int, permits: Sequence[Permit]) -> None:
        await moving.recount(self._opened().database, app, by, shard, permits)

    async def discard(self, app: str, by: str, places: Sequence[Place]) -> None:
        await self._apps.learn([app])
        placed = [(self._apps.home(app, place.id), place) for place in places]
        await moving.discard(self._opened().database, self._opened().heads, app, by, placed)

    # Inspected

    async def check(self) -> Checkup:
        database = Database(self.address, read_only=True)
        try:
            return await checkup(database)
        finally:
            await database.close()

    async def census(self, app: str) -> Census:
        return await census.census(self._opened().database, app, await self._shards_there(app))

    async def counts(self, app: str) -> dict[str, int]:
        return await census.counts(self._opened().database, app)

    async def shard_states(self, app: str) -> list[ShardState]:
        return await ownership.shard_states(self._opened().database, app)

    async def size(self) -> int | None:
        return await size(self._opened().database)

    async def watch(self) -> AsyncIterator[None]:
        async for _ in self._opened().hints.watch():
            yield

    # -- what the above is made of ----------------------------------------------------------------------------------

    def _opened(self) -> _Parts:
        if os.getpid() != self._process:
            raise ForkedEngine("the store was opened before fork(); open one in the child")
        if self._parts is None:
            raise NotOpen(f"{self.address} is closed; open the store first")
        return self._parts

    async def _tell(self, shards: Iterable[int]) -> None:
        await self._opened().hints.publish(shards)

    def _listen(self) -> None:
        if self._parts is not None:
            self._parts.hints.want(self._leases)


class _Parts:
    """What an open store has."""

    def __init__(self, apps: Apps, database: Database, row_bytes_max: int) -> None:
        self.database = database
        self.heads = Heads(database, row_bytes_max)
        self.visits = Visits(database, self.heads)
        self.hints = Hints(database)
        self.outbox = Outbox(database, self.heads, self.visits, apps, self.hints.publish)

    async def close(self) -> None:
        await self.outbox.close()
        await self.hints.close()
        await self.database.close()
