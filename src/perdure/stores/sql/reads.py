"""What is asked of the tables: each function is one read on a connection that has a transaction open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from perdure.stores.contract import Head, Loaded, Page, Query
from perdure.stores.rules import write_cursor
from perdure.stores.sql import rows, statements
from perdure.stores.sql.connection import Connection, Row
from perdure.stores.sql.search import Position, Search

T = TypeVar("T")


def records(connection: Connection, record: Callable[[Row], T], sql: str, values: Sequence[Any]) -> list[T]:
    """The rows of a query, each made a record."""
    return [record(row) for row in connection.rows(sql, values)]


def page(connection: Connection, sql: str, values: Sequence[Any], limit: int) -> list[Row]:
    """At least `limit` rows, if there are as many, that end between two instances (the first column)."""
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
    return [rows.head_of(row) for row in found if row is not None]


def load(connection: Connection, shard: int, ids: Sequence[str]) -> list[Loaded]:
    return [_load(connection, shard, head) for head in heads(connection, shard, ids)]


def _load(connection: Connection, shard: int, head: Head) -> Loaded:
    key = (shard, head.id)
    return Loaded(
        head,
        records(connection, rows.segment_of, statements.SELECT_SEGMENTS, (*key, 0, -1)),
        records(connection, rows.mail_of, statements.SELECT_MAIL, key),
        records(connection, rows.wait_of, statements.SELECT_WAITS, key),
        [seen for (seen,) in connection.rows(statements.SELECT_SEEN, key)],
    )


def find(connection: Connection, query: Query, position: Position | None, limit: int) -> Page:
    found: list[Row] = []
    for search in _searches(connection, query, position, limit + 1):
        found += connection.rows(search.sql, search.values)
    found.sort(key=_position, reverse=True)
    shown = found[:limit]
    cursor = write_cursor(*_position(shown[-1])) if len(found) > limit else None
    return Page([rows.head_of(row) for row in shown], cursor)


def _searches(connection: Connection, query: Query, position: Position | None, limit: int) -> Iterator[Search]:
    """One search for each app and status, because each of them then has an index that gives the order."""
    for app in apps(connection) if query.app is None else [query.app]:
        for status in dict.fromkeys(query.status) or [None]:
            yield Search(query, app, status, position, limit)


def _position(row: Row) -> Position:
    """The place of a head's row in the order of `find`: created, id, shard."""
    return row[10], row[1], row[0]
