"""One MySQL database: how it is reached, brought to its format and asked for leases, and what its errors mean."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

from asyncmy import errors

from perdure.errors import (
    InvalidArgument,
    PerdureError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreNotUsable,
    StoreUnavailable,
)
from perdure.stores.contract import FORMAT, OLDEST, Beat, Checkup, Lease, Member, OpenCall, Touch
from perdure.stores.layout import Layout, check_alone, recognised
from perdure.stores.sql import moving
from perdure.stores.sql.cluster import OwnedByRows
from perdure.stores.sql.connection import Connection, TransactionConflict
from perdure.stores.sql.mysql import nodes
from perdure.stores.sql.mysql.address import Address
from perdure.stores.sql.mysql.connection import (
    LOCK_SECONDS_MAX,
    MysqlConnection,
    TransactionUndone,
    connected,
    number,
)
from perdure.stores.sql.mysql.hints import look
from perdure.stores.sql.mysql.schema import MIGRATIONS
from perdure.stores.sql.mysql.trust import PACKET_BYTES_MIN, SETTINGS, check_server, durability, is_mariadb
from perdure.stores.sql.mysql.words import CLOCK, GATE, literal
from perdure.stores.sql.reads import ALL

SHARDS = 64
"""Shards of an app, where the address does not say otherwise when the store is made."""
MIGRATION_SECONDS_MAX = 60
"""How long a node waits for another one that brings the schema up to date."""
SLACK_BYTES = 64 * 1024
"""What a statement takes beside the values of a row."""
IDLE_TRANSACTION_SECONDS_MAX = 20
"""After which MariaDB ends a transaction whose node says nothing, so that a frozen node holds up nobody."""
_MIGRATION_LOCK = "concat('perdure ', left(sha2(database(), 256), 40))"


class MysqlDatabase(OwnedByRows):
    """A database on a server, as an address names it."""

    def __init__(self, address: Address, *, row_bytes_max: int | None = None, read_only: bool = False) -> None:
        self._address = address
        self._row_bytes_max = row_bytes_max
        self.shard_count = address.shards or SHARDS
        self.lease_seconds: float | None = address.lease_seconds
        self.row_bytes_max = PACKET_BYTES_MIN // 2
        self.read_only = read_only
        self._collation = ""

    def __repr__(self) -> str:
        return f"mysql {self._address}"

    def check(self) -> None:
        """What there is to check, the server knows."""

    def connect(self, *, write: bool) -> Connection:
        loop = asyncio.new_event_loop()
        try:
            driver = connected(loop, **self._address.where)
        except BaseException:
            loop.close()
            raise
        connection = MysqlConnection(driver, loop)
        try:
            self._prepare(connection, write)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: MysqlConnection, write: bool) -> None:
        settings = _settings(connection)
        check_server(settings, self._address, self._address.unsafe, writes=write and not self.read_only)
        self._bound(connection, int(settings["max_allowed_packet"]))
        self._collation = "utf8mb4_nopad_bin" if is_mariadb(settings) else "utf8mb4_0900_bin"
        session = [
            f"set names utf8mb4 collate {self._collation}",
            "set session sql_mode = 'NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
            f"set session transaction isolation level {'read committed' if write else 'repeatable read'}",
            "set session time_zone = '+00:00'",
            f"set session innodb_lock_wait_timeout = {LOCK_SECONDS_MAX}",
        ]
        if is_mariadb(settings):
            session.append(f"set session idle_transaction_timeout = {IDLE_TRANSACTION_SECONDS_MAX}")
        connection.each(session)

    def _bound(self, connection: MysqlConnection, packet_bytes_max: int) -> None:
        """What a packet may hold, and a row in it, whose text grows by a third at most."""
        fitting = (packet_bytes_max - 2 * SLACK_BYTES) // 4 * 3
        self.row_bytes_max = fitting if self._row_bytes_max is None else min(fitting, self._row_bytes_max)
        connection.packet_bytes_max = self.row_bytes_max // 3 * 4 + SLACK_BYTES

    # Schema

    def recognise(self, connection: Connection) -> None:
        if not self._layout(connection).is_current:
            raise StoreNotUsable(f"{self._address} is no store of this version yet; open it once with a worker")

    def migrate(self, connection: Connection) -> None:
        assert isinstance(connection, MysqlConnection)
        if not self._layout(connection).is_current:
            self._migrate(connection)
        self._count_shards(connection)
        self._check_privileges(connection)

    def _migrate(self, connection: MysqlConnection) -> None:
        """Bring the schema up to date, while other nodes wait; the lock goes with the connection."""
        ends = time.monotonic() + MIGRATION_SECONDS_MAX
        while not connection.plain(f"select get_lock({_MIGRATION_LOCK}, 1)")[0][0]:
            if time.monotonic() > ends:
                raise StoreUnavailable(
                    f"another node has been migrating {self._address} for too long; look what it does"
                )
        try:
            # read again, because another node may have been faster
            here = self._layout(connection)
            check_alone(self._address, here, _living(connection) if here.format else [])
            for reached, step in MIGRATIONS:
                if reached > here.format:
                    for statement in step:
                        _do(connection, statement.format(collation=self._collation))
                    connection.plain(
                        "insert into perdure_meta (`key`, value) "
                        f"values ('format', '{reached}'), ('oldest', '{OLDEST}') "
                        "on duplicate key update value = values(value)"
                    )
            connection.plain(
                f"insert into perdure_meta (`key`, value) values ('shards', '{self.shard_count}') "
                "on duplicate key update value = value"
            )
        finally:
            connection.plain(f"select release_lock({_MIGRATION_LOCK})")

    def _count_shards(self, connection: MysqlConnection) -> None:
        found = connection.plain("select value from perdure_meta where `key` = 'shards'")
        if not found:
            raise StoreCorrupt(f"{self._address} does not say how many shards it has; restore a backup")
        there = int(found[0][0])
        if self._address.shards not in (None, there):
            raise StoreNotUsable(
                f"{self._address} was made with {there} shards and cannot have {self._address.shards}; "
                f"write ?shards={there}, or leave the option out"
            )
        self.shard_count = there

    def _layout(self, connection: Connection) -> Layout:
        """That which is there. Raises StoreVersion if it is a later one that this version cannot go on with."""
        assert isinstance(connection, MysqlConnection)
        there = "select count(*) from information_schema.tables where table_schema = database() and table_name = "
        if not connection.plain(f"{there}'perdure_meta'")[0][0]:
            return Layout()
        said: dict[str, str] = dict(
            connection.plain("select `key`, value from perdure_meta where `key` in ('format', 'oldest')")
        )
        return recognised(self._address, said.get("format", 0), said.get("oldest"))

    def _check_privileges(self, connection: MysqlConnection) -> None:
        """Ask for plans of each kind of statement, which needs the rights to run them."""
        for statement in (
            "select value from perdure_meta",
            "insert into perdure_meta (`key`, value) values ('', '')",
            "update perdure_meta set value = value",
            "delete from perdure_meta",
        ):
            connection.plain(f"explain {statement}")

    # What people ask

    def checkup(self, connection: Connection) -> Checkup:
        assert isinstance(connection, MysqlConnection)
        settings = _settings(connection)
        found = self._layout(connection).format
        old = f"the layout has format {found} and this version writes {FORMAT}; run `perdure store migrate`"
        return Checkup(
            f"{'MariaDB' if is_mariadb(settings) else 'MySQL'} {settings['version']}",
            found,
            durability(settings),
            {name: value for name, value in settings.items() if not name.startswith("version")},
            [*self._wrong(settings), *([old] if found < FORMAT else ())],
        )

    def _wrong(self, settings: dict[str, str]) -> list[str]:
        try:
            check_server(settings, self._address, self._address.unsafe, writes=True)
        except StoreError as error:
            return [str(error)]
        return []

    def size(self, connection: Connection) -> int | None:
        assert isinstance(connection, MysqlConnection)
        ((size,),) = connection.plain(
            "select sum(data_length + index_length) from information_schema.tables "
            "where table_schema = database() and left(table_name, 8) = 'perdure_'"
        )
        return None if size is None else int(size)

    # Errors

    def translated(self, error: Exception) -> tuple[Exception, bool]:
        if isinstance(error, errors.MySQLError):
            return self._meaning(error)
        if isinstance(error, TransactionUndone):
            return StoreUnavailable(
                f"{self._address} undoes the transaction again and again ({error}); try later"
            ), True
        if isinstance(error, TransactionConflict):
            return InvalidArgument(f"a record cannot be stored: {error}"), True
        if isinstance(error, UnicodeError):
            return InvalidArgument(f"text that is not valid Unicode cannot be stored: {error}"), True
        if isinstance(error, OSError):
            return StoreUnavailable(f"{self._address} cannot be reached ({error})"), False
        return error, not isinstance(error, StoreError)

    def _meaning(self, error: errors.MySQLError) -> tuple[PerdureError, bool]:
        """What an error of the server or the driver means to the caller, and whether the connection is as it was."""
        said = error.args[-1] if error.args else error
        match number(error):
            case 1044 | 1045 | 1698:
                return StoreNotUsable(
                    f"{self._address} refuses the user or the password ({said}); look at the address"
                ), False
            case 1049:
                return StoreNotUsable(f"{self._address} does not exist; create the database"), False
            case 1142 | 1143 | 1227 | 1370:
                return (
                    StoreNotUsable(
                        f"the user has too few rights in {self._address} ({said}); grant select, insert, update, "
                        "delete, create, alter, index, create view and show view"
                    ),
                    True,
                )
            case 1290 | 1792 | 1836:
                return StoreNotUsable(
                    f"{self._address} is read-only ({said}), as a replica is; name the primary"
                ), False
            case 1021 | 1114 | 1041:
                return StoreFull(f"no room is left in {self._address} ({said}); free some and try again"), False
            case 1030 if "28" in str(said):
                return StoreFull(f"no room is left in {self._address} ({said}); free some and try again"), False
            case 1034 | 1194 | 1712:
                return StoreCorrupt(f"{self._address} is damaged ({said}); restore a backup"), False
            case 2003 | 2002:
                return StoreUnavailable(f"{self._address} cannot be reached ({said})"), False
            case _:
                return StoreUnavailable(
                    f"{self._address} did not answer ({said}); whether a write happened is not known"
                ), False

    def is_passing(self, error: Exception) -> bool:
        cause = error.__cause__ if isinstance(error, TransactionConflict) else None
        # a key that was free when it was looked for, and is taken now
        return isinstance(error, TransactionUndone) or (isinstance(cause, errors.MySQLError) and number(cause) == 1062)

    # Hints

    def hint(self, connection: Connection, shards: frozenset[int]) -> None:
        """Who waits for mail looks for it."""

    def hints(self) -> AsyncIterator[frozenset[int]]:
        return look(self)

    # Moves

    def shut_out(self, connection: Connection, app: str) -> None:
        assert isinstance(connection, MysqlConnection)
        connection.plain(f"{GATE.format(literal(app))}for update")

    # Ownership

    def take(
        self, connection: Connection, app: str, owner: str, limit: int | None
    ) -> list[tuple[int, int, int | None]]:
        assert isinstance(connection, MysqlConnection)
        return nodes.take(connection, app, owner, ALL if limit is None else limit, self._address.lease_seconds)

    def beat(
        self, connection: Connection, app: str, member: Member, leases: Sequence[Lease]
    ) -> tuple[Beat, dict[int, int]]:
        assert isinstance(connection, MysqlConnection)
        return nodes.beat(connection, app, member, leases, self._address.lease_seconds)

    def claim(
        self, connection: Connection, app: str, owner: str, token: str, names: Sequence[str], limit: int, seconds: float
    ) -> list[OpenCall]:
        assert isinstance(connection, MysqlConnection)
        calls = nodes.claim(connection, app, owner, token, names, limit, seconds)
        if not calls:
            moving.check_app_free(connection, app)
        return calls

    def touch(self, connection: Connection, touches: Sequence[Touch], seconds: float) -> list[bool]:
        assert isinstance(connection, MysqlConnection)
        return nodes.touch(connection, touches, seconds)


def _settings(connection: MysqlConnection) -> dict[str, str]:
    names = ", ".join(f"'{name}'" for name in SETTINGS)
    found = connection.plain(f"show global variables where variable_name in ({names})")
    return {name.lower(): value for name, value in found}


def _living(connection: MysqlConnection) -> list[str]:
    """Who lives as a node of any app."""
    return [owner for (owner,) in connection.plain(f"select owner from perdure_member where until > {CLOCK}")]


def _do(connection: MysqlConnection, statement: str) -> None:
    """One step of a migration; it may have happened before somebody was killed."""
    try:
        connection.plain(statement)
    except errors.MySQLError as error:
        if number(error) not in (1050, 1060, 1061, 1091):  # a table, column or index that is there, or is gone already
            raise
