"""The store contract over one SQL database: which step runs on which connection, in which transaction."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from perdure.errors import ForkedEngine, NotOpen, StoreUnavailable
from perdure.stores.contract import (
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
    shard_number,
)
from perdure.stores.rules import lost, read_cursor, rolled_back
from perdure.stores.sql import claims, instances, lives, reads, rows, statements
from perdure.stores.sql.connection import Connection, Database, TransactionConflict
from perdure.stores.sql.ownership import Mark
from perdure.stores.sql.runner import Runner, ThreadRunner
from perdure.stores.sql.turns import write_append, write_appends, write_singly, write_together

T = TypeVar("T")

WATCH_SECONDS_MIN = 0.02
WATCH_SECONDS_MAX = 0.1


class SqlStore:
    """An `EngineStore` in an SQL database.

    One connection writes and another reads, each on a runner of its own, so that no read waits for an fsync.
    """

    def __init__(self, database: Database, runner: Callable[[str], Runner] = ThreadRunner) -> None:
        self._database = database
        self._runner = runner
        self._writer: Session | None = None
        self._reader: Session | None = None
        self._shards: dict[str, list[int]] = {}
        self._leases: dict[int, Lease] = {}
        self._epochs: dict[int, int] = {}
        self._process = os.getpid()

    def __repr__(self) -> str:
        state = "closed" if self._reader is None else f"holds {len(self._leases)} shards"
        return f"<SqlStore {self._database!r}, {state}>"

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
            writer.stop()
            raise
        self._writer = writer
        self._reader = Session(self._database, self._runner("perdure-store-reader"), write=False)

    async def _opened_to_read(self) -> Session:
        reader = Session(self._database, self._runner("perdure-store-reader"), write=False)
        try:
            await reader.run(self._database.recognise)
        except BaseException:
            reader.stop()
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
            self._shards[app] = await self._read(reads.shards, app) or await self._write(self._make_shards, app)
        return list(self._shards[app])

    async def apps(self) -> list[str]:
        return await self._read(reads.apps)

    async def create(self, shard: int, creation: Creation) -> Holder | None:
        return await self._write(claims.create_claiming, shard, creation)

    async def renew(self, shard: int, holder: Holder, mail: Mail, wait: Wait, at: int) -> bool:
        return await self._write(claims.renew, shard, holder, mail, wait, at)

    async def queued(self, shard: int, after: str = "", limit: int = 1000) -> list[OpenCall]:
        call = partial(rows.open_call_of, shard)
        return await self._read(reads.page, call, statements.SELECT_QUEUED, shard, after, limit)

    async def permits(self, shard: int, after: int) -> list[Permit]:
        return await self._read(reads.permits, shard, after)

    async def load(self, shard: int, ids: Sequence[str]) -> list[Loaded]:
        return await self._read(reads.load, shard, ids)

    async def head(self, shard: int, id: str) -> Head | None:
        return await self._read(reads.head, shard, id)

    async def heads(self, shard: int, ids: Sequence[str]) -> list[Head]:
        return await self._read(reads.heads, shard, ids)

    async def history(self, shard: int, id: str, after: int = 0, limit: int = 1000) -> list[Segment]:
        return await self._read(reads.records, rows.segment_of, statements.SELECT_SEGMENTS, (shard, id, after, limit))

    async def last_segment(self, shard: int, id: str) -> Segment | None:
        found = await self._read(reads.records, rows.segment_of, statements.SELECT_LAST_SEGMENT, (shard, id))
        return found[0] if found else None

    async def waits(self, shard: int, id: str) -> list[Wait]:
        return await self._read(reads.records, rows.wait_of, statements.SELECT_WAITS, (shard, id))

    async def published(self, shard: int, id: str, names: Sequence[str]) -> dict[str, bytes]:
        return await self._read(reads.published, shard, id, names)

    async def streams(self, shard: int, id: str) -> list[Stream]:
        return await self._read(reads.records, rows.stream_of, statements.SELECT_STREAMS, (shard, id))

    async def items(
        self, shard: int, id: str, generation: int, number: int, after: int = 0, limit: int = 1000
    ) -> list[Item]:
        values = (shard, id, generation, number, after, limit)
        return await self._read(reads.records, rows.item_of, statements.SELECT_ITEMS, values)

    async def last_item(self, shard: int, id: str, generation: int, number: int) -> Item | None:
        values = (shard, id, generation, number)
        found = await self._read(reads.records, rows.item_of, statements.SELECT_LAST_ITEM, values)
        return found[0] if found else None

    async def find(self, query: Query, cursor: str | None = None, limit: int = 100) -> Page:
        position = None if cursor is None else read_cursor(cursor)
        return await self._read(reads.find, query, position, limit)

    async def commit(
        self, lease: Lease, turns: Sequence[Turn], token: str, appends: Sequence[Append] = ()
    ) -> list[Outcome]:
        for app in _apps(lease, turns) - self._shards.keys():
            await self.shards(app)
        return await self._session(self._writer).run(self._commit, lease, turns, token, appends)

    async def settle_unknown(self, lease: Lease, token: str) -> bool:
        epoch, owned, newest = await self._write(reads.lease, lease.shard)
        if epoch != lease.epoch or not owned:
            raise lost(lease)
        return bool(newest == token)

    async def deliver(self, shard: int, mail: Sequence[Mail]) -> list[Delivery]:
        return await self._write(instances.deliver, shard, mail) if mail else []

    async def purge(self, shard: int, ids: Sequence[str]) -> list[str]:
        return await self._write(instances.purge, shard, ids)

    # Transactions

    async def transact(self, lease: Lease, id: str, number: int, attempt: int, work: Callable[[Any], Mail]) -> Outcome:
        return await self._write(self._transact, lease, id, number, attempt, work)

    def _transact(
        self, connection: Connection, lease: Lease, id: str, number: int, attempt: int, work: Callable[[Any], Mail]
    ) -> Outcome:
        epoch, owned, _ = reads.lease(connection, lease.shard)
        if epoch != lease.epoch or not owned:
            return Outcome.FENCED
        if not connection.change(statements.ANSWER_CALL, (lease.shard, id, number, attempt)):
            return Outcome.CONFLICT
        mail = work(connection.guest())
        (delivery,) = instances.deliver(connection, lease.shard, [mail])
        assert delivery == Delivery.DELIVERED, f"the result of call {number} of {id!r} is {delivery}"
        return Outcome.COMMITTED

    # Leases

    async def acquire(self, app: str, owner: str, at: int | None = None) -> list[Lease]:
        await self.shards(app)
        return await self._session(self._writer).run(self._acquire, app, owner, at)

    async def release(self, leases: Sequence[Lease]) -> None:
        await self._write(self._release, leases)

    async def holder(self, app: str) -> str | None:
        held = [lease.owner for lease in self._leases.values() if lease.app == app]
        return held[0] if held else await self._session(self._writer).run(lambda _: self._database.owner())

    async def suspects(self, shard: int) -> list[Suspect]:
        return await self._read(lives.suspects, shard)

    async def accuse(self, lease: Lease, instance: str, place: int) -> None:
        if not await self._write(lives.accuse, lease, instance, place):
            raise lost(lease)

    async def acquit(self, lease: Lease, instances: Sequence[str]) -> None:
        if not await self._write(lives.acquit, lease, instances):
            raise lost(lease)

    # Wake

    async def recover(self, lease: Lease, after: str = "", limit: int = 500) -> list[OpenCall]:
        call = partial(rows.open_call_of, lease.shard)
        return await self._read(reads.page, call, statements.SELECT_OPEN_CALLS, lease.shard, after, limit)

    async def mail(self, lease: Lease, limit: int = 1000, after: str = "") -> list[Mail]:
        return await self._read(reads.page, rows.mail_of, statements.SELECT_PRESENT_MAIL, lease.shard, after, limit)

    async def due(
        self, lease: Lease, until: int, limit: int = 1000, after: tuple[int, str, int] = (-1, "", 0)
    ) -> list[Due]:
        values = (lease.shard, until, *after, limit)
        return await self._read(reads.records, lambda row: Due(lease.shard, *row), statements.SELECT_DUE, values)

    async def stranded(self, lease: Lease, after: str = "", limit: int = 500) -> list[str]:
        return await self._read(reads.stranded, lease, after, limit)

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
        return await self._session(self._reader).run(_transact, False, work, *args)

    async def _write(self, work: Callable[..., T], *args: Any) -> T:
        return await self._session(self._writer).run(_transact, True, work, *args)

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

    def _commit(
        self,
        connection: Connection,
        lease: Lease,
        batch: Sequence[Turn],
        token: str,
        appends: Sequence[Append],
    ) -> list[Outcome]:
        try:
            return _transact(connection, True, self._commit_together, lease, batch, token, appends)
        except TransactionConflict:
            return _transact(connection, True, self._commit_singly, lease, batch, token, appends)

    def _commit_together(
        self, connection: Connection, lease: Lease, batch: Sequence[Turn], token: str, appends: Sequence[Append]
    ) -> list[Outcome]:
        count = len(batch) + len(appends)
        if not self._is_held(connection, lease, token):
            return [Outcome.FENCED] * count
        if appends:
            write_appends(connection, appends)
        write_together(connection, batch, lease.app, self._home)
        return [Outcome.COMMITTED] * count

    def _commit_singly(
        self, connection: Connection, lease: Lease, batch: Sequence[Turn], token: str, appends: Sequence[Append]
    ) -> list[Outcome]:
        if not self._is_held(connection, lease, token):
            return [Outcome.FENCED] * (len(batch) + len(appends))
        row_bytes_max = self._database.row_bytes_max
        appended = [write_append(connection, append, row_bytes_max) for append in appends]
        return write_singly(connection, batch, lease.app, self._home, row_bytes_max) + appended

    def _is_held(self, connection: Connection, lease: Lease, token: str) -> bool:
        """Stamp the token on the shard under the lease's epoch, which fences the whole transaction."""
        if connection.change(statements.FENCE, (lease.shard, lease.epoch, token)):
            return True
        epoch, _, _ = reads.lease(connection, lease.shard)
        if epoch < lease.epoch:
            raise rolled_back(lease.shard, lease.app, epoch, lease.epoch)
        return False

    def _acquire(self, connection: Connection, app: str, owner: str, at: int | None) -> list[Lease]:
        if not self._database.own(owner):
            return []
        try:
            taken = _transact(connection, True, self._take, app, owner, at)
        except BaseException:
            self._disown_unless_leased()
            raise
        self._leases.update({lease.shard: lease for lease in taken})
        self._epochs.update({lease.shard: lease.epoch for lease in taken})
        if taken:
            self._database.mark({lease.shard: Mark(lease.epoch) for lease in taken})
        return [lease for lease in self._leases.values() if lease.app == app and lease.owner == owner]

    def _take(self, connection: Connection, app: str, owner: str, at: int | None) -> list[Lease]:
        marks = self._database.marks()
        leases = []
        for shard, number, epoch, token in list(connection.rows(statements.SELECT_EPOCHS, (app,))):
            if epoch < self._epochs.get(shard, 0):
                raise rolled_back(shard, app, epoch, self._epochs[shard])
            held = self._leases.get(shard)
            if held is None or held.epoch != epoch:
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

    def __init__(self, database: Database, runner: Runner, *, write: bool) -> None:
        self._database = database
        self._runner = runner
        self._write = write
        self._connection: Connection | None = None

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        return await self._runner.run(self._run, work, *args)

    async def close(self) -> None:
        await self._runner.run(self._disconnect)
        self.stop()

    def stop(self) -> None:
        self._runner.stop()

    def _run(self, work: Callable[..., T], *args: Any) -> T:
        try:
            if self._connection is None:
                self._connection = self._database.connect(write=self._write)
            return work(self._connection, *args)
        except Exception as error:
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


def _transact(connection: Connection, write: bool, work: Callable[..., T], *args: Any) -> T:
    """Run work in a transaction of its own: all of it or, if it raises, nothing."""
    connection.begin(write=write)
    try:
        result = work(connection, *args)
        connection.commit()
        return result
    except BaseException:
        connection.rollback()
        raise


def _apps(lease: Lease, batch: Sequence[Turn]) -> set[str]:
    """The apps to whose instances the turns write."""
    created = {creation.head.app for turn in batch for creation in turn.created}
    return created.union((mail.app for turn in batch for mail in turn.mail if mail.app), (lease.app,))
