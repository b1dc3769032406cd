"""One PostgreSQL database: how it is reached, brought to its format and asked for leases, and what its errors mean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg

from perdure.clock import SECOND
from perdure.errors import (
    InvalidArgument,
    PerdureError,
    StoreCorrupt,
    StoreFull,
    StoreNotUsable,
    StoreUnavailable,
)
from perdure.stores.contract import FORMAT, OLDEST, Beat, Checkup, Lease, Member, OpenCall, Touch
from perdure.stores.layout import Layout, check_alone, recognised
from perdure.stores.sql import moving, reads, rows
from perdure.stores.sql.cluster import OwnedByRows
from perdure.stores.sql.connection import Connection, TransactionConflict
from perdure.stores.sql.postgres import hints, link, words
from perdure.stores.sql.postgres.address import Address
from perdure.stores.sql.postgres.connection import PostgresConnection
from perdure.stores.sql.postgres.schema import MIGRATIONS
from perdure.stores.sql.postgres.trust import IS_STORE, check_server, durability, look_at_server

SHARDS = 64
"""Shards of an app, where the address does not say otherwise when the store is made."""
ROW_BYTES_MAX = 200_000_000
"""Below the gigabyte that a value may have on the server and in its messages, which carry a whole commit."""
MIGRATION_KEY = 7_363_836_574
"""Of the advisory lock under which one node migrates while others wait."""
_NOTICE_DEATH = """
select set_config(name, '1000', true) from pg_settings where name = 'client_connection_check_interval'
"""
"""So that the tables are not locked for long if whoever migrates is killed. Servers before version 14 cannot."""
AGAIN = ("40001", "40P01")
"""SQLSTATEs after which the same work may succeed: a serialization failure, a deadlock."""


class PostgresDatabase(OwnedByRows):
    """A database on a server, as an address names it."""

    read_only = False
    row_bytes_max = ROW_BYTES_MAX

    def __init__(self, address: Address, *, row_bytes_max: int = ROW_BYTES_MAX, read_only: bool = False) -> None:
        self._address = address
        self.shard_count = address.shards or SHARDS
        self.lease_seconds: float | None = address.lease_seconds
        self.row_bytes_max = row_bytes_max
        self.read_only = read_only
        self._is_pooled: bool | None = None

    def __repr__(self) -> str:
        return f"postgresql {self._address}"

    def check(self) -> None:
        """What there is to check, the server knows."""

    def connect(self, *, write: bool) -> Connection:
        try:
            if self._is_pooled is None:
                self._is_pooled = self._asked_whether_pooled()
            return PostgresConnection(
                lambda: link.connect(self._address, is_pooled=self._is_pooled),
                is_pooled=self._is_pooled,
                characters_max=self.row_bytes_max,
            )
        except (OSError, TimeoutError, ValueError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            raise StoreUnavailable(
                f"{self._address} cannot be reached ({error}); start the server there, or put host, port and tls "
                "right: nothing was written"
            ) from error

    def _asked_whether_pooled(self) -> bool:
        """A first connection serves for this one question, because the others are made as it is answered."""

        async def ask() -> bool:
            connection = await link.connect(self._address, is_pooled=None)
            try:
                return await link.is_behind_pooler(connection)
            finally:
                await connection.close(timeout=link.CONNECT_SECONDS_MAX)

        return asyncio.run(ask())

    def recognise(self, connection: Connection) -> None:
        check_server(connection, self._address)
        if not _layout(connection, self._address).is_current:
            raise StoreNotUsable(f"{self._address} is no store of this version yet; open it once with a worker")

    def migrate(self, connection: Connection) -> None:
        assert isinstance(connection, PostgresConnection)
        check_server(connection, self._address)
        if not self._is_ready(connection):
            connection.begin(write=True)
            try:
                connection.script(_NOTICE_DEATH)
                connection.script(f"select pg_advisory_xact_lock({MIGRATION_KEY})")
                self._migrate(connection)
                connection.commit()
            except BaseException:
                connection.rollback()
                raise
        self._count_shards(connection)

    def _is_ready(self, connection: Connection) -> bool:
        return _layout(connection, self._address).is_current and not _missing_functions(connection)

    def _migrate(self, connection: PostgresConnection) -> None:
        # read again, because another node may have been faster
        found = _layout(connection, self._address)
        check_alone(self._address, found, _living(connection) if found.format else [])
        for number, step in MIGRATIONS.items():
            if number > found.format:
                connection.script(step)
        for definition in _missing_functions(connection):
            connection.script(definition)
        if not found.is_current:
            connection.script(f"""
                insert into perdure_meta (key, value)
                values ('format', '{FORMAT}'), ('oldest', '{OLDEST}'), ('shards', '{self.shard_count}')
                on conflict (key) do update set value = excluded.value where perdure_meta.key <> 'shards'
            """)

    def _count_shards(self, connection: Connection) -> None:
        row = connection.row("select value from perdure_meta where key = 'shards'")
        if row is None:
            raise StoreCorrupt(f"{self._address} does not say how many shards it has; restore a backup")
        there = int(row[0])
        if self._address.shards not in (None, there):
            raise StoreNotUsable(
                f"{self._address} was made with {there} shards and cannot have {self._address.shards}; "
                f"write ?shards={there}, or leave the option out"
            )
        self.shard_count = there

    def translated(self, error: Exception) -> tuple[Exception, bool]:
        match error:
            case TransactionConflict():
                return InvalidArgument(f"a record cannot be stored: {error}"), True
            case UnicodeError():
                return InvalidArgument(f"text that is not valid Unicode cannot be stored: {error}"), True
            case asyncpg.DataError() | asyncpg.CharacterNotInRepertoireError():
                return InvalidArgument(f"a value cannot be stored: {error}"), True
            case asyncpg.PostgresError():
                return _meaning(error, self._address), not _ends_connection(error)
            case OSError() | TimeoutError() | asyncpg.InterfaceError() | asyncpg.InternalClientError():
                return _unreachable(error, self._address), False
            case _:
                return error, True

    def is_passing(self, error: Exception) -> bool:
        cause = error.__cause__ if isinstance(error, TransactionConflict) else error
        return isinstance(cause, asyncpg.UniqueViolationError) or getattr(cause, "sqlstate", None) in AGAIN

    # Inspection

    def checkup(self, connection: Connection) -> Checkup:
        format = _layout(connection, self._address).format
        old = f"the layout has format {format} and this version writes {FORMAT}; run `perdure store migrate`"
        product, settings, wrong = look_at_server(connection, self._address)
        return Checkup(product, format, durability(settings), settings, wrong + ([old] if format < FORMAT else []))

    def size(self, connection: Connection) -> int | None:
        row = connection.row(words.SIZE)
        return None if row is None else int(row[0])

    # Hints

    def hint(self, connection: Connection, shards: frozenset[int]) -> None:
        connection.row(hints.NOTIFY, (hints.told(shards),))

    def hints(self) -> AsyncIterator[frozenset[int]]:
        return hints.listen(self._address, is_pooled=bool(self._is_pooled))

    # Leases and claims

    @property
    def _lease(self) -> int:
        assert self.lease_seconds is not None
        return round(self.lease_seconds * SECOND)

    def shut_out(self, connection: Connection, app: str) -> None:
        connection.row(words.SHUT_OUT, (app,))

    def take(
        self, connection: Connection, app: str, owner: str, limit: int | None
    ) -> list[tuple[int, int, int | None]]:
        values = (app, owner, reads.ALL if limit is None else limit, self._lease)
        return [(shard, epoch, life) for shard, epoch, life in connection.rows(words.TAKE, values)]

    def beat(
        self, connection: Connection, app: str, member: Member, leases: Sequence[Lease]
    ) -> tuple[Beat, dict[int, int]]:
        values = (
            *(app, member.owner, member.has_code, member.slots, member.busy, self._lease),
            *([lease.shard for lease in leases], [lease.epoch for lease in leases]),
        )
        known = {lease.shard: lease for lease in leases}
        held: list[Lease] = []
        members: list[Member] = []
        epochs: dict[int, int] = {}
        for shard, epoch, is_held, until, owner, has_code, slots, busy in connection.rows(words.BEAT, values):
            if shard is None:
                members.append(Member(owner, has_code, slots, busy, until))
            else:
                epochs[shard] = epoch
                if is_held:
                    lease = known[shard]
                    held.append(Lease(shard, lease.app, lease.number, lease.owner, epoch, until))
        return Beat(held, members), epochs

    def claim(
        self, connection: Connection, app: str, owner: str, token: str, names: Sequence[str], limit: int, seconds: float
    ) -> list[OpenCall]:
        values = (app, list(names), limit, token, owner, round(seconds * SECOND))
        found = list(connection.rows(words.CLAIM, values))
        if found and found[-1][0] is None:
            moving.check_app_free(connection, app)
        calls = list(reads.readable(lambda row: rows.open_call_of(row[0], row[1:]), found, 1))
        return sorted(calls, key=lambda call: (call.wait.since, call.shard, call.instance, call.wait.number))

    def touch(self, connection: Connection, touches: Sequence[Touch], seconds: float) -> list[bool]:
        each = [
            (t.shard, t.instance, t.number, t.token, rows.payload_text(t.details), t.execution, t.generation)
            for t in touches
        ]
        if not each:
            return []
        columns: list[Any] = [list(column) for column in zip(*each, strict=True)]
        touched = {place for (place,) in connection.rows(words.TOUCH, (*columns, round(seconds * SECOND)))}
        return [place in touched for place in range(1, len(touches) + 1)]


def _layout(connection: Connection, address: Address) -> Layout:
    """That which is there. Raises StoreVersion if it is a later one that this version cannot go on with."""
    if connection.row(IS_STORE) is None:
        return Layout()
    said: dict[str, str] = dict(
        connection.rows("select key, value from perdure_meta where key in ('format', 'oldest')")
    )
    if "format" not in said:
        raise StoreCorrupt(f"{address} does not say which format it has; restore a backup")
    return recognised(address, said["format"], said.get("oldest"))


def _living(connection: Connection) -> list[str]:
    """Who lives as a node of any app."""
    now = "(extract(epoch from clock_timestamp()) * 1000000)::bigint"
    return [owner for (owner,) in connection.rows(f"select owner from perdure_member where until > {now}")]


def _missing_functions(connection: Connection) -> list[str]:
    """Definitions of the functions that are not there yet."""
    functions = [words.function(sql) for sql in words.OF_ROWS]
    sql = "select proname::text from pg_proc where proname like 'perdure_do_%' and pg_function_is_visible(oid)"
    there = {name for (name,) in connection.rows(sql)}
    return [function.definition for function in functions if function.name not in there]


def _meaning(error: Any, address: Address) -> PerdureError:
    """What an error of the server means to the caller."""
    state = str(error.sqlstate)
    match state:
        case "28P01" | "28000":
            return StoreNotUsable(f"{address}: the server refuses this user ({error}); put user and password right")
        case "3D000":
            return StoreNotUsable(f"{address}: there is no such database ({error}); create it, or name another")
        case "42501":
            return StoreNotUsable(
                f"{address}: this user lacks a right ({error}); let it create tables and functions in its schema, "
                "or open the store once as a user that may"
            )
        case "25006":
            return StoreNotUsable(f"{address} takes no writes ({error}); name the primary server, not a replica")
        case "55P03":
            return StoreUnavailable(
                f"{address}: another transaction holds a lock too long ({error}); it was not waited for"
            )
        case "53100" | "53000" | "53200":
            return StoreFull(f"no room is left for {address} ({error}); free some and try again: nothing was written")
        case "XX001" | "XX002":
            return StoreCorrupt(f"{address} is damaged ({error}); restore a backup")
        case "42P01" | "42883" | "42703":
            return StoreNotUsable(
                f"{address}: a table or function of the store is gone ({error}); open the store again, which puts back "
                "functions, or restore a backup"
            )
        case _:
            return StoreUnavailable(f"{address} did not answer ({error}); whether a write happened is not known")


def _ends_connection(error: Any) -> bool:
    return str(error.sqlstate).startswith("08") or error.severity_en in ("FATAL", "PANIC")


def _unreachable(error: Exception, address: Address) -> PerdureError:
    what = str(error) or type(error).__name__
    return StoreUnavailable(f"{address} cannot be reached ({what}); whether a write happened is not known")
