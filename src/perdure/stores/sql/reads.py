"""What is asked of the tables: each function is one read on a connection that has a transaction open."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from perdure.errors import StoreCorrupt
from perdure.stores.contract import Awaited, Backlog, Due, End, Head, Lease, Letter, Loaded, Page, Permit, Query
from perdure.stores.rules import write_cursor
from perdure.stores.sql import rows, statements
from perdure.stores.sql.connection import Connection, Row
from perdure.stores.sql.search import Position, Search

T = TypeVar("T")


log = logging.getLogger("perdure")
UNREADABLE = (ValueError, TypeError, AttributeError)
REPORTED_MAX = 10_000
ALL = 2**62
"""A limit for a query of which every row is wanted."""
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
    """The records of the next rows of one shard, as `pages` reads them."""
    return [found for _, found in pages(connection, lambda _, row: record(row), sql, [shard], limit, (shard, after))]


def pages(
    connection: Connection,
    record: Callable[[int, Row], T],
    sql: str,
    shards: Sequence[int],
    limit: int,
    after: tuple[int, str],
) -> list[tuple[int, T]]:
    """The readable ones of the next rows of some shards that end between two instances, with their shard; empty only
    if no row is left.

    As many rows as `limit` are read, or more to the end of an instance; the first column names it.
    """
    ordered = sorted(shards)
    while found := _rows_by_instance(connection, sql, [shard for shard in ordered if shard >= after[0]], limit, after):
        records = [(shard, one) for shard, row in found for one in readable(partial(record, shard), [row], 0)]
        if records:
            return records
        after = found[-1][0], found[-1][1][0]
    return []


def _rows_by_instance(
    connection: Connection, sql: str, shards: Sequence[int], limit: int, after: tuple[int, str]
) -> list[tuple[int, Row]]:
    keys = [(shard, after[1] if shard == after[0] else "") for shard in shards]
    asked = limit + 1
    while True:
        each = connection.rows_of_each(sql, keys, asked)
        found = [(shard, row) for shard, rows in zip(shards, each, strict=True) for row in rows]
        for place in range(max(limit, 1), len(found)):
            if _instance(found[place]) != _instance(found[place - 1]):
                return found[:place]
        if len(found) < asked:
            return found
        asked *= 2


def _instance(found: tuple[int, Row]) -> tuple[int, str]:
    return found[0], found[1][0]


def shards(connection: Connection, app: str) -> list[int]:
    return [id for (id,) in connection.rows(statements.SELECT_SHARDS, (app,))]


def apps(connection: Connection) -> list[str]:
    return [app for (app,) in connection.rows(statements.SELECT_APPS)]


def lease(connection: Connection, shard: int, sql: str = statements.SELECT_LEASE) -> tuple[int, bool, str | None]:
    """The shard's epoch, whether somebody owns it, and the token of its newest commit."""
    row = connection.row(sql, (shard,))
    assert row is not None, f"shard {shard} was never made"
    epoch, owned, token = row
    return epoch, bool(owned), token


def heads(connection: Connection, places: Iterable[tuple[int, str]]) -> list[Head]:
    found = connection.rows_of_each(statements.SELECT_HEAD, dict.fromkeys(places))
    return list(readable(rows.head_of, chain.from_iterable(found), id_column=1))


def head(connection: Connection, shard: int, id: str) -> Head | None:
    return next(iter(records(connection, rows.head_of, statements.SELECT_HEAD, (shard, id))), None)


def ends(connection: Connection, awaited: Sequence[Awaited]) -> list[End | None]:
    found = connection.row_of_each(statements.SELECT_END, awaited)
    return [None if row is None else _become(run.id, row) for run, row in zip(awaited, found, strict=True)]


def _become(id: str, row: Row) -> End:
    try:
        return rows.end_of(row)
    except UNREADABLE as error:
        _report(id, error)
        return End(is_unreadable=True)


def load(connection: Connection, places: Sequence[tuple[int, str]]) -> dict[tuple[int, str], Loaded]:
    """Those of the instances that exist and can be read, by shard and id."""
    asked = dict.fromkeys(places)
    found = [rows[0] for rows in connection.rows_of_each(statements.SELECT_HEAD, asked) if rows]
    keys = [(shard, id) for shard, id, *_ in found]
    parts = zip(
        found,
        connection.rows_of_each(statements.SELECT_SEGMENTS, [(*key, 0, ALL) for key in keys]),
        connection.rows_of_each(statements.SELECT_MAIL, keys),
        connection.rows_of_each(statements.SELECT_WAITS, keys),
        connection.rows_of_each(statements.SELECT_SEEN, keys),
        strict=True,
    )
    return dict(readable(_loaded, ((id, (shard, id), *rest) for (shard, id), rest in zip(keys, parts, strict=True))))


def _loaded(parts: Row) -> tuple[tuple[int, str], Loaded]:
    _, place, head, segments, mail, waits, seen = parts
    return place, Loaded(
        rows.head_of(head),
        [rows.segment_of(row) for row in segments],
        [rows.mail_of(row) for row in mail],
        [rows.wait_of(row) for row in waits],
        [key for (key,) in seen],
    )


def published(connection: Connection, shard: int, id: str, names: Sequence[str]) -> dict[str, bytes]:
    found = connection.rows_of_each(statements.SELECT_PUBLISHED, [(shard, id, name) for name in names])
    return {name: str(value).encode() for name, rows in zip(names, found, strict=True) for (value,) in rows}


def permits(connection: Connection, shard: int, after: int) -> list[Permit]:
    return [Permit(*row) for row in connection.rows(statements.SELECT_PERMITS, (shard, after))]


def mail(connection: Connection, shards: Sequence[int], limit: int, after: tuple[int, str]) -> list[Letter]:
    """Present mail of the shards from the one of `after` on, as `pages` reads it."""
    found = pages(connection, rows.letter_of, statements.SELECT_PRESENT_MAIL, shards, limit, after)
    return [letter for _, letter in found]


def due(
    connection: Connection, shards: Sequence[int], until: int, limit: int, after: tuple[int, int, str, int]
) -> list[Due]:
    """The first due waits of all shards together, after a place in the order of due times."""
    at, last, instance, number = after
    keys: list[Row] = []
    for shard in shards:
        # behind all instances of a shard that comes earlier in the order, before all of one that comes later
        place = (instance, number) if shard == last else ("", -1)
        begin = (at, *place) if shard >= last else (at + 1, "", -1)
        keys.append((shard, until, *begin, limit))
    each = connection.rows_of_each(statements.SELECT_DUE, keys)
    found = [Due(shard, *row) for shard, rows in zip(shards, each, strict=True) for row in rows]
    found.sort(key=lambda due: (due.due, due.shard, due.instance, due.number))
    return found[:limit]


def backlog(connection: Connection, app: str, until: int) -> Backlog:
    ((unfinished,),) = connection.rows(statements.COUNT_UNFINISHED, (app,))
    ((offered, oldest, claimed),) = connection.rows(statements.COUNT_OUT, (app,))
    ((ready, since),) = connection.rows(statements.COUNT_READY, (app, until))
    ((calls,),) = connection.rows(statements.COUNT_CALLS, (app, until))
    return Backlog(unfinished, int(offered), oldest, int(claimed), ready, since, calls)


def stranded(connection: Connection, lease: Lease, after: str, limit: int) -> list[str]:
    return [id for (id,) in connection.rows(statements.SELECT_STRANDED, (lease.shard, lease.app, after, limit))]


def find(connection: Connection, query: Query, position: Position | None, limit: int) -> Page:
    found: list[Row] = []
    for search in _searches(connection, query, position, limit + 1):
        found += connection.rows(search.sql, search.values)
    place = _end if query.by_end else _position
    found.sort(key=place, reverse=not query.by_end)
    shown = found[:limit]
    cursor = write_cursor(*place(shown[-1])) if len(found) > limit else None
    return Page(list(readable(rows.head_of, shown, id_column=1)), cursor)


def _searches(connection: Connection, query: Query, position: Position | None, limit: int) -> Iterator[Search]:
    """One search for each app and status, because each of them then has an index that gives the order."""
    for app in apps(connection) if query.app is None else [query.app]:
        for status in dict.fromkeys(query.status) or [None]:
            yield Search(query, app, status, position, limit)


def _position(row: Row) -> Position:
    """The place of a head's row in the order of `find`: created, id, shard."""
    return row[10], row[1], row[0]


def _end(row: Row) -> Position:
    """Its place in the order of ends: finished, id, shard."""
    return row[11], row[1], row[0]
