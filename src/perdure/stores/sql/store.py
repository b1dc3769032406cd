"""The store contract over one SQL database: which step runs on which connection, in which transaction."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from perdure.errors import ForkedEngine, InvalidArgument, NotOpen, StoreFull, StoreUnavailable
from perdure.gathering import Gathering
from perdure.stores.contract import (
    Append,
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
    Turn,
    Wait,
    Whole,
    shard_number,
)
from perdure.stores.reach import apps_of
from perdure.stores.rules import check_reservable, lost, owned, read_cursor, rolled_back
from perdure.stores.sql import (
    census,
    claims,
    instances,
    ledger,
    lives,
    moving,
    notices,
    offers,
    reads,
    rows,
    statements,
)
from perdure.stores.sql.connection import Connection, Database, InspectedDatabase, TransactionConflict, in_transaction
from perdure.stores.sql.ownership import Mark
from perdure.stores.sql.runner import Runner, ThreadRunner
from perdure.stores.sql.turns import steps_together, write_singly

T = TypeVar("T")
R = TypeVar("R")

ATTEMPTS_MAX = 5
"""How often work is begun that other nodes' work gets in the way of."""
WATCH_SECONDS_MIN = 0.02
WATCH_SECONDS_MAX = 0.1


class SqlStore:
    """An `EngineStore` in an SQL database.

    One connection writes and another reads, each on a runner of its own, so that no read waits for an fsync.
    """

    spans_shards = True

    def __init__(self, database: Database, runner: Callable[[str], Runner] = ThreadRunner) -> None:
        self.lease_seconds = database.lease_seconds
        self._database = database
        self._runner = runner
        self._writer: Session | None = None
        self._reader: Session | None = None
        self._shards: dict[str, list[int]] = {}
        self._leases: dict[int, Lease] = {}
        self._epochs: dict[int, int] = {}
        self._process = os.getpid()
        self._creations: Gathering[tuple[int, Creation], Holder | Exception | None] = Gathering(self._create)

    def __repr__(self) -> str:
        state = "closed" if self._reader is None else f"holds {len(self._leases)} shards"
        return f"<{type(self).__name__} {self._database!r}, {state}>"

    # Store

    async def open(self) -> None:
        if self._writer is not None or self._reader is not None:
            return
        self._process = os.getpid()
        if self._database.read_only:
            self._reader = await self._opened_to_read()
            return
        writer = Session(self._database, self._runner("perdure-store-writer"), write=True)
        try:
            await writer.run(self._database.migrate)
        except BaseException:
            await writer.close()
            raise
        self._writer = writer
        self._reader = Session(self._database, self._runner("perdure-store-reader"), write=False)

    async def _opened_to_read(self) -> Session:
        reader = Session(self._database, self._runner("perdure-store-reader"), write=False)
        try:
            await reader.run(self._database.recognise)
        except BaseException:
            await reader.close()
            raise
        return reader

    async def close(self) -> None:
        if os.getpid() != self._process:
            # because what a forked child inherited is its parent's to close
            return
        sessions = self._writer, self._reader
        self._writer = self._reader = None
        for session in sessions:
            if session is not None:
                await session.close()
        self._leases.clear()
        self._database.disown()

    async def shards(self, app: str) -> list[int]:
        if app not in self._shards:
            self._shards[app] = await self._ask(reads.shards, app) or await self._write(self._make_shards, app)
        return list(self._shards[app])

    async def apps(self) -> list[str]:
        return await self._ask(reads.apps)

    async def create(self, shard: int, creation: Creation) -> Holder | None:
        self._session(self._writer)
        return told(await self._creations.add((shard, creation)))

    async def _create(self, asked: Sequence[tuple[int, Creation]]) -> Sequence[Holder | Exception | None]:
        return await self._together(self._create_all, asked)

    async def _together(
        self, work: Callable[[Connection, Sequence[T]], Sequence[R]], asked: Sequence[T]
    ) -> Sequence[R | Exception]:
        """Write what callers ask for in one transaction, or each in its own if one of them cannot be written."""
        try:
            return await self._session(self._writer).run(work, asked)
        except (StoreUnavailable, StoreFull):
            raise
        except Exception as error:  # noqa: BLE001 because who asked for it is told, whatever it was
            return [error] if len(asked) == 1 else [made for one in asked for made in await self._together(work, [one])]

    async def renew(self, shard: int, holder: Holder, mail: Mail, wait: Wait, at: int) -> bool:
        return await self._guarded(shard, claims.renew, holder, mail, wait, at)

    async def queued(self, shard: int, after: str = "", limit: int = 1000) -> list[OpenCall]:
        call = partial(rows.open_call_of, shard)
        return await self._ask(reads.page, call, statements.SELECT_QUEUED, shard, after, limit)

    async def permits(self, shard: int, after: int) -> list[Permit]:
        return await self._ask(reads.permits, shard, after)

    async def load(self, shard: int, ids: Sequence[str]) -> list[Loaded]:
        return list((await self._read(reads.load, [(shard, id) for id in ids])).values())

    async def head(self, shard: int, id: str) -> Head | None:
        return await self._ask(reads.head, shard, id)

    async def heads(self, places: Sequence[tuple[int, str]]) -> list[Head]:
        return await self._ask(reads.heads, places)

    async def ends(self, awaited: Sequence[Awaited]) -> list[End | None]:
        return await self._ask(reads.ends, awaited)

    async def history(self, shard: int, id: str, after: int = 0, limit: int = 1000) -> list[Segment]:
        return await self._ask(reads.records, rows.segment_of, statements.SELECT_SEGMENTS, (shard, id, after, limit))

    async def last_segment(self, shard: int, id: str) -> Segment | None:
        found = await self._ask(reads.records, rows.segment_of, statements.SELECT_LAST_SEGMENT, (shard, id))
        return found[0] if found else None

    async def waits(self, shard: int, id: str) -> list[Wait]:
        return await self._ask(reads.records, rows.wait_of, statements.SELECT_WAITS, (shard, id))

    async def published(self, shard: int, id: str, names: Sequence[str]) -> dict[str, bytes]:
        return await self._ask(reads.published, shard, id, names)

    async def streams(self, shard: int, id: str) -> list[Stream]:
        return await self._ask(reads.records, rows.stream_of, statements.SELECT_STREAMS, (shard, id))

    async def items(
        self, shard: int, id: str, generation: int, number: int, after: int = 0, limit: int = 1000
    ) -> list[Item]:
        values = (shard, id, generation, number, after, limit)
        return await self._ask(reads.records, rows.item_of, statements.SELECT_ITEMS, values)

    async def last_item(self, shard: int, id: str, generation: int, number: int) -> Item | None:
        values = (shard, id, generation, number)
        found = await self._ask(reads.records, rows.item_of, statements.SELECT_LAST_ITEM, values)
        return found[0] if found else None

    async def find(self, query: Query, cursor: str | None = None, limit: int = 100) -> Page:
        position = None if cursor is None else read_cursor(cursor)
        return await self._ask(reads.find, query, position, limit)

    async def commit(self, batches: Sequence[Batch], token: str) -> list[Outcome]:
        for app in apps_of(batches) - self._shards.keys():
            await self.shards(app)
        return await self._session(self._writer).run(self._commit, batches, token)

    async def settle_unknown(self, lease: Lease, token: str) -> bool:
        epoch, owned, newest = await self._write(reads.lease, lease.shard)
        if epoch != lease.epoch or not owned:
            raise lost(lease)
        return bool(newest == token)

    async def deliver(self, shard: int, mail: Sequence[Mail]) -> list[Delivery]:
        letters = [(shard, one) for one in mail]
        return await self._session(self._writer).run(self._deliver_all, letters) if letters else []

    async def report(self, shard: int, reports: Sequence[Report]) -> list[Outcome]:
        asked = [(shard, one) for one in reports]
        return await self._session(self._writer).run(self._report_all, asked) if asked else []

    async def purge(self, shard: int, ids: Sequence[str]) -> list[str]:
        return await self._guarded(shard, instances.purge, ids)

    # Transactions

    async def transact(self, lease: Lease, id: str, number: int, attempt: int, work: Callable[[Any], Mail]) -> Outcome:
        writer = self._session(self._writer)
        return await writer.run_once(in_transaction, True, self._transact, lease, id, number, attempt, work)

    def _transact(
        self, connection: Connection, lease: Lease, id: str, number: int, attempt: int, work: Callable[[Any], Mail]
    ) -> Outcome:
        epoch, owned, _ = reads.lease(connection, lease.shard, statements.LOOK_AT_LEASE)
        if epoch != lease.epoch or not owned:
            return Outcome.FENCED
        if not connection.change(statements.ANSWER_CALL, (lease.shard, id, number, attempt)):
            return Outcome.CONFLICT
        mail = connection.guest().lend(work)
        (delivery,) = instances.deliver_each(connection, [(lease.shard, mail)])
        assert delivery == Delivery.DELIVERED, f"the result of call {number} of {id!r} is {delivery}"
        return Outcome.COMMITTED

    # Leases

    async def acquire(self, app: str, owner: str, at: int | None = None, limit: int | None = None) -> list[Lease]:
        await self.shards(app)
        return await self._session(self._writer).run(self._acquire_unless_reserved, app, owner, at, limit)

    async def beat(self, app: str, member: Member, leases: Sequence[Lease]) -> Beat:
        held = [lease for lease in leases if self._leases.get(lease.shard) == lease]
        return Beat(held, [member])

    def heart(self) -> Heart:
        return self

    async def tell(self, app: str, owner: str, about: bytes) -> None:
        await self._write(_tell, app, owner, about)

    async def leave(self, app: str, owner: str) -> None:
        """The lock says who lives."""

    async def members(self, app: str) -> list[Member]:
        owner = await self.holder(app)
        return [] if owner is None else [Member(owner, about=await self._ask(_about, app, owner))]

    async def release(self, leases: Sequence[Lease]) -> None:
        await self._write(self._release, leases)

    async def holder(self, app: str) -> str | None:
        held = [lease.owner for lease in self._leases.values() if lease.app == app]
        if held:
            return held[0]
        return await self._session(self._writer or self._reader).run(lambda _: self._database.owner())

    async def suspects(self, shard: int) -> list[Suspect]:
        return await self._ask(lives.suspects, shard)

    async def accuse(self, lease: Lease, instance: str, place: int) -> None:
        if not await self._write(lives.accuse, lease, instance, place):
            raise lost(lease)

    async def acquit(self, lease: Lease, instances: Sequence[str]) -> None:
        if not await self._write(lives.acquit, lease, instances):
            raise lost(lease)

    # Wake

    async def recover(self, lease: Lease, after: str = "", limit: int = 500) -> list[OpenCall]:
        call = partial(rows.open_call_of, lease.shard)
        return await self._ask(reads.page, call, statements.SELECT_OPEN_CALLS, lease.shard, after, limit)

    async def mail(self, leases: Sequence[Lease], limit: int = 1000, after: tuple[int, str] = (0, "")) -> list[Letter]:
        return await self._ask(reads.mail, [lease.shard for lease in leases], limit, after)

    async def due(
        self, leases: Sequence[Lease], until: int, limit: int = 1000, after: tuple[int, int, str, int] = (-1, 0, "", 0)
    ) -> list[Due]:
        return await self._ask(reads.due, [lease.shard for lease in leases], until, limit, after)

    async def claim(
        self, app: str, owner: str, token: str, names: Sequence[str], limit: int, seconds: float
    ) -> list[OpenCall]:
        return await self._write(_claim_unless_reserved, app, owner, token, names, limit, seconds)

    async def touch(self, touches: Sequence[Touch], seconds: float) -> list[bool]:
        return await self._write(offers.touch, touches, seconds)

    async def backlog(self, app: str, until: int = 0) -> Backlog:
        return await self._ask(reads.backlog, app, until)

    async def stranded(self, lease: Lease, after: str = "", limit: int = 500) -> list[str]:
        return await self._ask(reads.stranded, lease, after, limit)

    # Notices

    async def notices(self, shard: int, after: int, limit: int, *, pending: bool = False) -> list[Posted]:
        return await self._ask(notices.page, shard, after, limit, pending)

    async def newest_notice(self, shard: int) -> int:
        return await self._ask(notices.newest, shard)

    async def purge_told(self, shard: int, gone: Sequence[Notice]) -> list[str]:
        return await self._guarded(shard, notices.purge, gone)

    async def told(self, shard: int, numbers: Sequence[int]) -> None:
        await self._write(notices.told, shard, numbers)

    async def give_up(self, shard: int, number: int, failure: str) -> None:
        await self._write(notices.give_up, shard, number, failure)

    async def given_up(self, shard: int, limit: int) -> list[Posted]:
        return await self._ask(notices.given_up, shard, limit)

    async def tell_again(self, shard: int) -> int:
        return await self._write(notices.tell_again, shard)

    async def trim(self, shard: int, keep: int) -> None:
        await self._write(notices.trim, shard, keep)

    # Ledger

    async def audit(self, app: str, after: int, entries: Sequence[bytes], digest: str) -> bool:
        return await self._session(self._writer).run(ledger.append, app, after, entries, digest)

    async def audit_head(self, app: str) -> tuple[int, str]:
        return await self._ask(ledger.head, app)

    async def audited(self, app: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        return await self._ask(ledger.page, app, after, limit)

    # Movable

    async def reserve(self, app: str, reservation: Reservation) -> None:
        await self.shards(app)
        await self._session(self._writer).run(self._reserve, app, reservation)

    async def reserved(self, app: str) -> Reservation | None:
        return await self._read(moving.reserved, app)

    async def free(self, app: str, by: str) -> None:
        await self._write(moving.free, app, by)

    async def roll(self, app: str, after: tuple[int, str] = (0, ""), limit: int = 1000) -> list[tuple[int, Place]]:
        return await self._read(moving.roll, app, after, limit)

    async def export(self, shard: int, ids: Sequence[str]) -> list[Whole]:
        return await self._read(moving.export, shard, ids)

    async def take_in(self, app: str, by: str, wholes: Sequence[Whole]) -> list[str]:
        await self.shards(app)
        return await self._write(moving.take_in, app, by, wholes, self._home)

    async def recount(self, app: str, by: str, shard: int, permits: Sequence[Permit]) -> None:
        await self._write(moving.recount, app, by, shard, permits)

    async def discard(self, app: str, by: str, places: Sequence[Place]) -> None:
        await self.shards(app)
        await self._write(moving.discard, app, by, places, self._home)

    # Inspected

    async def check(self) -> Checkup:
        database = self._database
        if not isinstance(database, InspectedDatabase):
            raise InvalidArgument(f"{database!r} does not say how it is; open it with `perdure store migrate`")
        session = Session(database, self._runner("perdure-store-check"), write=False)
        try:
            return await session.run(database.checkup)
        finally:
            await session.close()

    async def census(self, app: str) -> Census:
        return await self._read(census.census, app)

    async def counts(self, app: str) -> dict[str, int]:
        return await self._read(census.counts, app)

    async def shard_states(self, app: str) -> list[ShardState]:
        return await self._read(census.shard_states, app)

    async def size(self) -> int | None:
        database = self._database
        return await self._read(database.size) if isinstance(database, InspectedDatabase) else None

    async def watch(self) -> AsyncIterator[None]:
        # Asked of the connection that writes, because its own writes are no news to it.
        pause = WATCH_SECONDS_MIN
        version = await self._version(0)
        while True:
            await asyncio.sleep(pause)
            before, version = version, await self._version(version)
            if version == before:
                pause = min(pause * 1.05, WATCH_SECONDS_MAX)
            else:
                pause = WATCH_SECONDS_MIN
                yield

    async def _version(self, known: int) -> int:
        try:
            return await self._session(self._writer).run(lambda connection: connection.version())
        except StoreUnavailable:
            # because a hint is never needed, and who needs an answer will see the error
            return known

    # On the runner of the connection

    async def _read(self, work: Callable[..., T], *args: Any) -> T:
        return await self._session(self._reader).run(in_transaction, False, work, *args)

    async def _guarded(self, shard: int, work: Callable[..., T], *args: Any) -> T:
        """Likewise, on a shard whose app is not kept for a move."""
        writer = self._session(self._writer)
        return await writer.run(_unless_reserved, shard, _in_transaction_of, work, *args)

    async def _ask(self, work: Callable[..., T], *args: Any) -> T:
        return await self._session(self._reader).run(_apart, work, *args)

    async def _write(self, work: Callable[..., T], *args: Any) -> T:
        return await self._session(self._writer).run(in_transaction, True, work, *args)

    def _session(self, session: Session | None) -> Session:
        if os.getpid() != self._process:
            raise ForkedEngine(f"{self!r} was opened before fork(); open a store of its own in each process")
        if session is None:
            raise NotOpen(f"{self!r} is closed; open it first")
        return session

    def _home(self, app: str, id: str) -> int:
        shards = self._shards[app]
        return shards[shard_number(id, len(shards))]

    def _make_shards(self, connection: Connection, app: str) -> list[int]:
        shards = reads.shards(connection, app)
        if not shards:
            numbers = range(self._database.shard_count)
            connection.change_many(statements.INSERT_SHARD, [(app, number) for number in numbers])
            shards = reads.shards(connection, app)
        return shards

    def _commit(self, connection: Connection, batches: Sequence[Batch], token: str) -> list[Outcome]:
        try:
            connection.run(steps_together(batches, token, batches[0].lease.app, self._home))
        except TransactionConflict:
            return in_transaction(connection, True, self._commit_singly, batches, token)
        for batch in batches:
            for turn in batch.turns:
                if turn.created:
                    turn.is_all_new = True  # because an id that is taken is a conflict
        return [Outcome.COMMITTED for batch in batches for _ in _parts(batch)]

    def _commit_singly(self, connection: Connection, batches: Sequence[Batch], token: str) -> list[Outcome]:
        held = self._held(connection, batches, token)
        row_bytes_max = self._database.row_bytes_max
        written = write_singly(connection, held, held[0].lease.app, self._home, row_bytes_max) if held else []
        return _outcomes(batches, held, written)

    def _held(self, connection: Connection, batches: Sequence[Batch], token: str) -> list[Batch]:
        """Those whose lease holds, in the order of their shards, in which every node locks them."""
        by_shard = sorted(batches, key=lambda batch: batch.lease.shard)
        held = {batch.lease.shard for batch in by_shard if self._is_held(connection, batch.lease, token)}
        return [batch for batch in batches if batch.lease.shard in held]

    def _is_held(self, connection: Connection, lease: Lease, token: str) -> bool:
        """Stamp the token on the shard under the lease's epoch, which fences the whole transaction."""
        if connection.change(statements.FENCE, (lease.shard, lease.epoch, token)):
            return True
        epoch, _, _ = reads.lease(connection, lease.shard)
        if epoch < lease.epoch:
            raise rolled_back(lease.shard, lease.app, epoch, lease.epoch)
        return False

    def _reserve(self, connection: Connection, app: str, reservation: Reservation) -> None:
        check_reservable(app, moving.reserved(connection, app), reservation)
        if any(lease.app == app for lease in self._leases.values()) or not self._database.own("perdure move"):
            raise owned(app, self._database.owner() or "this process")
        try:
            in_transaction(connection, True, self._reserve_unowned, app, reservation)
            if reservation.is_sealed:
                found = connection.rows(statements.SELECT_EPOCHS, (app,))
                self._database.mark({shard: Mark(epoch) for shard, _, epoch, _ in list(found)})
        finally:
            self._disown_unless_leased()

    def _reserve_unowned(self, connection: Connection, app: str, reservation: Reservation) -> None:
        """Write the reservation. A dialect whose leases run out looks first whether one holds, or a member lives."""
        moving.reserve(connection, app, reservation)

    def _create_all(
        self, connection: Connection, asked: Sequence[tuple[int, Creation]]
    ) -> Sequence[Holder | Exception | None]:
        return in_transaction(connection, True, _all_unless_reserved, claims.create_each, asked)

    def _deliver_all(self, connection: Connection, letters: Sequence[tuple[int, Mail]]) -> list[Delivery]:
        return in_transaction(connection, True, _all_unless_reserved, instances.deliver_each, letters)

    def _report_all(self, connection: Connection, reports: Sequence[tuple[int, Report]]) -> list[Outcome]:
        return in_transaction(connection, True, _all_unless_reserved, instances.report_each, reports)

    def _acquire_unless_reserved(
        self, connection: Connection, app: str, owner: str, at: int | None, limit: int | None
    ) -> list[Lease]:
        moving.check_app_free(connection, app)
        return self._acquire(connection, app, owner, at, limit)

    def _acquire(self, connection: Connection, app: str, owner: str, at: int | None, limit: int | None) -> list[Lease]:
        if not self._database.own(owner):
            return []
        try:
            taken = in_transaction(connection, True, self._take, app, owner, at, limit)
        except BaseException:
            self._disown_unless_leased()
            raise
        self._leases.update({lease.shard: lease for lease in taken})
        self._epochs.update({lease.shard: lease.epoch for lease in taken})
        if taken:
            self._database.mark({lease.shard: Mark(lease.epoch) for lease in taken})
        return [lease for lease in self._leases.values() if lease.app == app and lease.owner == owner]

    def _take(self, connection: Connection, app: str, owner: str, at: int | None, limit: int | None) -> list[Lease]:
        moving.check_app_free(connection, app)  # again, because a move may have come between
        marks = self._database.marks()
        leases: list[Lease] = []
        for shard, number, epoch, token in list(connection.rows(statements.SELECT_EPOCHS, (app,))):
            if epoch < self._epochs.get(shard, 0):
                raise rolled_back(shard, app, epoch, self._epochs[shard])
            held = self._leases.get(shard)
            if (held is None or held.epoch != epoch) and (limit is None or len(leases) < limit):
                mark = marks.get(shard)
                if mark is not None and mark.is_ahead_of(epoch, token):
                    raise rolled_back(shard, app, epoch, mark.epoch)
                connection.change(statements.TAKE_SHARD, (shard, epoch + 1, owner))
                if at is not None:
                    lives.begin(connection, shard, epoch + 1, at)
                leases.append(Lease(shard, app, number, owner, epoch + 1))
        return leases

    def _release(self, connection: Connection, leases: Sequence[Lease]) -> None:
        for lease in leases:
            was_held = connection.change(statements.FREE_SHARD, (lease.shard, lease.epoch))
            lives.end(connection, lease)
            if self._leases.get(lease.shard) == lease:
                del self._leases[lease.shard]
                if was_held:
                    _, _, token = reads.lease(connection, lease.shard)
                    self._database.mark({lease.shard: Mark(lease.epoch, token)})
        self._disown_unless_leased()

    def _disown_unless_leased(self) -> None:
        if not self._leases:
            self._database.disown()


class Session:
    """A connection on its runner: made when it is first needed, given up once it cannot be trusted."""

    spans_shards = True

    def __init__(self, database: Database, runner: Runner, *, write: bool) -> None:
        self._database = database
        self._runner = runner
        self._write = write
        self._connection: Connection | None = None

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """Do the work; again, up to a bound, if it could not be done beside that of another node."""
        return await self._runner.run(self._run, ATTEMPTS_MAX, work, *args)

    async def run_once(self, work: Callable[..., T], *args: Any) -> T:
        return await self._runner.run(self._run, 1, work, *args)

    async def close(self) -> None:
        await self._runner.run(self._disconnect)
        self.stop()

    def stop(self) -> None:
        self._runner.stop()

    def _run(self, attempts: int, work: Callable[..., T], *args: Any) -> T:
        try:
            if self._connection is None:
                self._connection = self._database.connect(write=self._write)
            return work(self._connection, *args)
        except Exception as error:
            if attempts > 1 and self._database.is_passing(error):
                return self._run(attempts - 1, work, *args)
            meant, trusted = self._database.translated(error)
            if not trusted:
                self._disconnect()
            if meant is error:
                raise
            raise meant from error

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _apart(connection: Connection, work: Callable[..., T], *args: Any) -> T:
    return connection.apart(work, *args)


def _unless_reserved(connection: Connection, shard: int, work: Callable[..., T], *args: Any) -> T:
    """Do work on a shard whose app is not kept for a move."""
    return moving.unless_reserved(connection, [shard], work, shard, *args)


def _in_transaction_of(connection: Connection, shard: int, work: Callable[..., T], *args: Any) -> T:
    return in_transaction(connection, True, work, shard, *args)


def _all_unless_reserved(
    connection: Connection, work: Callable[[Connection, Sequence[tuple[int, T]]], R], asked: Sequence[tuple[int, T]]
) -> R:
    """Do work on shards whose apps are not kept for a move."""
    return moving.unless_reserved(connection, shards_of(asked), work, asked)


def shards_of(asked: Sequence[tuple[int, Any]]) -> set[int]:
    return {shard for shard, _ in asked}


def told(answer: T | Exception) -> T:
    """What a store has answered to one of many. Raises what stands in its place."""
    if isinstance(answer, Exception):
        raise answer
    return answer


def _claim_unless_reserved(connection: Connection, app: str, *args: Any) -> list[OpenCall]:
    moving.check_app_free(connection, app)
    return offers.claim(connection, app, *args)


def _parts(batch: Batch) -> Sequence[Turn | Append]:
    """What has an outcome, in order."""
    return [*batch.turns, *batch.appends] if batch.appends else batch.turns


def _outcomes(batches: Sequence[Batch], held: Sequence[Batch], written: list[Outcome]) -> list[Outcome]:
    """The outcomes of all batches, from those of the batches whose lease holds."""
    if len(held) == len(batches):
        return written
    known = iter(written)
    shards = {batch.lease.shard for batch in held}
    return [next(known) if batch.lease.shard in shards else Outcome.FENCED for batch in batches for _ in _parts(batch)]


def _tell(connection: Connection, app: str, owner: str, about: bytes) -> None:
    connection.change(statements.FORGET_ALL_ABOUTS, (app,))
    connection.change(statements.INSERT_ABOUT, (app, owner, about.decode()))


def _about(connection: Connection, app: str, holder: str) -> bytes | None:
    """What the holder has told, whose name may go on with its process; none of what one before has."""
    row = connection.row(statements.SELECT_ABOUT, (app,))
    if row is None or not (holder == row[0] or holder.startswith(f"{row[0]} (")):
        return None
    return str(row[1]).encode()
