"""Instances and mail written through a connection of the caller's, in the caller's transaction."""

from __future__ import annotations

import sqlite3
from typing import Any

from perdure.errors import InvalidArgument, StoreNotUsable
from perdure.stores.contract import Creation, Mail, Segment, shard_number
from perdure.stores.sql import instances, reads, rows, statements
from perdure.stores.sql.connection import Connection
from perdure.stores.sql.moving import check_free
from perdure.stores.sql.sqlite import SqliteConnection


def lent(connection: Any) -> Connection:
    """A connection that a caller lends, with the caller's transaction. Raises InvalidArgument."""
    lender: Connection | None = getattr(connection, "lender", None)  # the transaction of a step, of any dialect
    if lender is not None:
        return lender
    if isinstance(connection, sqlite3.Connection):
        return SqliteConnection(connection, None)
    raise InvalidArgument(
        f"an outbox needs a sqlite3.Connection, or the transaction of a step, not {type(connection).__name__}"
    )


class SqlCarrier:
    """Writes what other processes find when the caller commits. The store must have been opened once by an app."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, creation: Creation) -> bool:
        return instances.create(self._connection, self._home(creation.head.app, creation.head.id), creation)

    def deliver(self, app: str, mail: Mail) -> None:
        instances.deliver_each(self._connection, [(self._home(app, mail.instance), mail)])

    def beginning(self, app: str, id: str) -> tuple[list[Segment], list[Mail]]:
        key = (self._home(app, id), id)
        segments = reads.records(self._connection, rows.segment_of, statements.SELECT_SEGMENTS, (*key, 0, 1))
        if segments:
            return segments, []
        return [], reads.records(self._connection, rows.mail_of, statements.SELECT_MAIL, key)

    def _home(self, app: str, id: str) -> int:
        shards = reads.shards(self._connection, app)
        if not shards:
            raise StoreNotUsable(f"the store knows no app {app!r} yet; open it once: `async with app:`")
        shard = shards[shard_number(id, len(shards))]
        check_free(self._connection, shard)
        return shard
