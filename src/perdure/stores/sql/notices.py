"""Notices in an SQL database: rows by number, with 0 for those that are pending, 1 for told, 2 for given up."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.stores.contract import Notice, Posted
from perdure.stores.rules import GIVEN_UP, TOLD
from perdure.stores.sql import instances, statements
from perdure.stores.sql.connection import Connection, Step


def page(connection: Connection, shard: int, after: int, limit: int, pending: bool) -> list[Posted]:
    sql = statements.SELECT_PENDING_NOTICES if pending else statements.SELECT_NOTICES
    return [_posted(*row) for row in connection.rows(sql, (shard, after, limit))]


def newest(connection: Connection, shard: int) -> int:
    row = connection.row(statements.SELECT_NEWEST_NOTICE, (shard,))
    return 0 if row is None or row[0] is None else int(row[0])


def purge(connection: Connection, shard: int, notices: Sequence[Notice]) -> list[str]:
    purged = instances.purge(connection, shard, [notice.instance for notice in notices])
    rows = [(shard, one.instance, one.event.decode()) for one in notices if one.instance in purged]
    if rows:
        connection.run([Step(statements.INSERT_NOTICE, rows)])
    return purged


def told(connection: Connection, shard: int, numbers: Sequence[int]) -> None:
    for number in numbers:
        connection.change(statements.TELL_NOTICE, (shard, number))


def give_up(connection: Connection, shard: int, number: int, failure: str) -> None:
    connection.change(statements.GIVE_UP_NOTICE, (shard, number, failure))


def given_up(connection: Connection, shard: int, limit: int) -> list[Posted]:
    return [_posted(*row) for row in connection.rows(statements.SELECT_GIVEN_UP_NOTICES, (shard, limit))]


def tell_again(connection: Connection, shard: int) -> int:
    return connection.change(statements.TELL_NOTICES_AGAIN, (shard,))


def trim(connection: Connection, shard: int, keep: int) -> None:
    for state in (TOLD, GIVEN_UP):
        row = connection.row(statements.SELECT_NOTICE_BOUND, (shard, state, keep))
        if row is not None:
            connection.change(statements.FORGET_NOTICES, (shard, state, row[0]))


def _posted(number: int, instance: str, event: str, failure: str | None) -> Posted:
    return Posted(number, instance, event.encode(), failure)
