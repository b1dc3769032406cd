"""What is asked of the tables: each function is one read on a connection that has a transaction open."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from perdure.errors import StoreCorrupt
from perdure.stores.contract import Head, Lease, Loaded, Page, Permit, Query
from perdure.stores.rules import write_cursor
from perdure.stores.sql import rows, statements
from perdure.stores.sql.connection import Connection, Row
from perdure.stores.sql.search import Position, Search

T = TypeVar("T")


log = logging.getLogger("perdure")
UNREADABLE = (ValueError, TypeError, AttributeError)
REPORTED_MAX = 10_000
_reported: set[str] = set()


def readable(record: Callable[[Row], T], found: Iterable[Row], id_column: int = 0) -> Iterator[T]:
    """The records of rows of many instances; a row that cannot be read is left out, because it must harm only its own.

    It is reported once per instance; reading that instance alone raises StoreCorrupt.
    """
    for row in found:
        try:
            yield record(row)
        except UNREADABLE as error:
            _report(str(row[id_column]), error)


def _report(id: str, error: Exception) -> None:
    if id not in _reported and len(_reported) < REPORTED_MAX:
        _reported.add(id)
        log.error("a row of instance %r cannot be read and is left out: %s", id, error)


def unreadable(id: str, error: Exception) -> StoreCorrupt:
    return StoreCorrupt(f"a row of instance {id!r} cannot be read: {error}; put the row right, or restore a backup")


def records(connection: Connection, record: Callable[[Row], T], sql: str, values: Sequence[Any]) -> list[T]:
    """The rows of a query about one instance, the second of its values, each made a record."""
    try:
        return [record(row) for row in connection.rows(sql, values)]
    except UNREADABLE as error:
        raise unreadable(str(values[1]), error) from error


def page(connection: Connection, record: Callable[[Row], T], sql: str, shard: int, after: str, limit: int) -> list[T]:
    """The readable ones of the next rows that end between two instances; empty only if no row is left.

    As many rows as `limit` are read, or more to the end of an instance; the first column names it.
    """
    while found := _rows_by_instance(connection, sql, (shard, after), limit):
        records = list(readable(record, found))
        if records:
            return records
        after = found[-1][0]
    return []


def _rows_by_instance(connection: Connection, sql: str, values: Sequence[Any], limit: int) -> list[Row]:
    found: list[Row] = []
    for row in connection.rows(sql, values):
        if len(found) >= limit and row[0] != found[-1][0]:
            break
        found.append(row)
    return found


def shards(connection: Connection, app: str) -> list[int]:
    return [id for (id,) in connection.rows(statements.SELECT_SHARDS, (app,))]


def apps(connection: Connection) -> list[str]:
    return [app for (app,) in connection.rows(statements.SELECT_APPS)]


def lease(connection: Connection, shard: int) -> tuple[int, bool, str | None]:
    """The shard's epoch, whether somebody owns it, and the token of its newest commit."""
    row = connection.row(statements.SELECT_LEASE, (shard,))
    assert row is not None, f"shard {shard} was never made"
    epoch, owned, token = row
    return epoch, bool(owned), token


def heads(connection: Connection, shard: int, ids: Sequence[str]) -> list[Head]:
    found = [connection.row(statements.SELECT_HEAD, (shard, id)) for id in dict.fromkeys(ids)]
    return list(readable(rows.head_of, (row for row in found if row is not None), id_column=1))


def head(connection: Connection, shard: int, id: str) -> Head | None:
    return next(iter(records(connection, rows.head_of, statements.SELECT_HEAD, (shard, id))), None)


def load(connection: Connection, shard: int, ids: Sequence[str]) -> list[Loaded]:
    found: list[Loaded] = []
    for head in heads(connection, shard, ids):
        try:
            found.append(_load(connection, shard, head))
        except StoreCorrupt as error:
            _report(head.id, error)
    return found


def _load(connection: Connection, shard: int, head: Head) -> Loaded:
    key = (shard, head.id)
    return Loaded(
        head,
        records(connection, rows.segment_of, statements.SELECT_SEGMENTS, (*key, 0, -1)),
        records(connection, rows.mail_of, statements.SELECT_MAIL, key),
        records(connection, rows.wait_of, statements.SELECT_WAITS, key),
        [seen for (seen,) in connection.rows(statements.SELECT_SEEN, key)],
    )


def published(connection: Connection, shard: int, id: str, names: Sequence[str]) -> dict[str, bytes]:
    found = {name: connection.row(statements.SELECT_PUBLISHED, (shard, id, name)) for name in names}
    return {name: str(row[0]).encode() for name, row in found.items() if row is not None}


def permits(connection: Connection, shard: int, after: int) -> list[Permit]:
    return [Permit(*row) for row in connection.rows(statements.SELECT_PERMITS, (shard, after))]


def stranded(connection: Connection, lease: Lease, after: str, limit: int) -> list[str]:
    return [id for (id,) in connection.rows(statements.SELECT_STRANDED, (lease.shard, lease.app, after, limit))]


def find(connection: Connection, query: Query, position: Position | None, limit: int) -> Page:
    found: list[Row] = []
    for search in _searches(connection, query, position, limit + 1):
        found += connection.rows(search.sql, search.values)
    found.sort(key=_position, reverse=True)
    shown = found[:limit]
    cursor = write_cursor(*_position(shown[-1])) if len(found) > limit else None
    return Page(list(readable(rows.head_of, shown, id_column=1)), cursor)


def _searches(connection: Connection, query: Query, position: Position | None, limit: int) -> Iterator[Search]:
    """One search for each app and status, because each of them then has an index that gives the order."""
    for app in apps(connection) if query.app is None else [query.app]:
        for status in dict.fromkeys(query.status) or [None]:
            yield Search(query, app, status, position, limit)


def _position(row: Row) -> Position:
    """The place of a head's row in the order of `find`: created, id, shard."""
    return row[10], row[1], row[0]
