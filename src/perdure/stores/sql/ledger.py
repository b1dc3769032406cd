"""The audit log in an SQL database: entries by number, and how far they go in a table of its own."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.stores.sql import statements
from perdure.stores.sql.connection import Connection, TransactionConflict, in_transaction


def append(connection: Connection, app: str, after: int, entries: Sequence[bytes], digest: str) -> bool:
    """Whether they are written; not so if the log does not end at `after`."""
    try:
        return in_transaction(connection, True, _append, app, after, entries, digest)
    except TransactionConflict:
        return False  # because another process was faster, or an entry stands where none should


def _append(connection: Connection, app: str, after: int, entries: Sequence[bytes], digest: str) -> bool:
    last = after + len(entries)
    if after == 0:
        if connection.row(statements.SELECT_AUDIT_HEAD, (app,)) is not None:
            return False
        connection.change(statements.INSERT_AUDIT_HEAD, (app, last, digest))
    elif not connection.change(statements.MOVE_AUDIT_HEAD, (app, last, digest, after)):
        return False
    for number, entry in enumerate(entries, after + 1):
        connection.change(statements.INSERT_AUDIT, (app, number, entry.decode()))
    return True


def head(connection: Connection, app: str) -> tuple[int, str]:
    row = connection.row(statements.SELECT_AUDIT_HEAD, (app,))
    return (0, "") if row is None else (row[0], row[1])


def page(connection: Connection, app: str, after: int, limit: int) -> list[tuple[int, bytes]]:
    rows = connection.rows(statements.SELECT_AUDIT, (app, after, limit))
    return [(number, str(entry).encode()) for number, entry in rows]
