"""apsw in the clothes of the standard library's sqlite3, as far as the SQLite store wears them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from perdure.stores.sql.sqlite import Driver


def through(vfs: str) -> Driver:
    """A driver whose connections see files through the VFS of that name."""

    def connect(path: Path, *, timeout: float, isolation_level: None, check_same_thread: bool) -> Connection:
        # apsw begins no transactions of its own and works on any thread: what the last two arguments ask for
        with errors_of_sqlite3():
            connection = apsw.Connection(str(path), vfs=vfs)
        connection.set_busy_timeout(round(timeout * 1000))
        return Connection(connection)

    return connect  # type: ignore[return-value]


class Connection:
    """The like of sqlite3.Connection."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Cursor:
        with errors_of_sqlite3():
            cursor = self._connection.execute(sql, values)
        return Cursor(cursor, self._connection.changes())

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> Cursor:
        changed = 0
        cursor = self._connection.cursor()
        for row in rows:
            with errors_of_sqlite3():
                cursor.execute(sql, row)
            changed += self._connection.changes()
        return Cursor(cursor, changed)

    def setlimit(self, category: int, limit: int) -> int:
        return self._connection.limit(category, limit)

    def create_function(self, name: str, narg: int, function: Callable[..., Any], *, deterministic: bool) -> None:
        self._connection.create_scalar_function(name, function, narg, deterministic=deterministic)

    def close(self) -> None:
        with errors_of_sqlite3():
            self._connection.close()


class Cursor:
    """The like of sqlite3.Cursor, once a statement was executed."""

    def __init__(self, cursor: apsw.Cursor, changed: int) -> None:
        self._cursor = cursor
        self.rowcount = changed

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        with errors_of_sqlite3():
            yield from self._cursor

    def fetchone(self) -> Any:
        with errors_of_sqlite3():
            return self._cursor.fetchone()

    def fetchall(self) -> list[Any]:
        with errors_of_sqlite3():
            return list(self._cursor)


@contextmanager
def errors_of_sqlite3() -> Iterator[None]:
    """Raise what the sqlite3 module would raise."""
    try:
        yield
    except apsw.Error as error:
        kind = sqlite3.IntegrityError if isinstance(error, apsw.ConstraintError) else sqlite3.OperationalError
        raised = kind(str(error))
        raised.sqlite_errorcode = getattr(error, "extendedresult", 0)
        raise raised from error
