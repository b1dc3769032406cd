"""A caller's own statements on the store's connection: what they may do, and what is refused."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from perdure.errors import InvalidArgument
from perdure.stores.sql.connection import Connection
from perdure.stores.sql.loan import OWN_PREFIX, Loan

_WRITES = frozenset((sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE))
_SHAPES = frozenset((sqlite3.SQLITE_DROP_TABLE, sqlite3.SQLITE_DROP_VIEW, sqlite3.SQLITE_CREATE_TRIGGER))
_REFUSED = frozenset(
    (
        sqlite3.SQLITE_TRANSACTION,
        sqlite3.SQLITE_SAVEPOINT,
        sqlite3.SQLITE_ATTACH,
        sqlite3.SQLITE_DETACH,
        sqlite3.SQLITE_PRAGMA,
    )
)
"""Statements that would end the transaction or change the connection."""
_OF_THE_DATABASE = frozenset(
    (
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_READONLY,
    )
)
"""Errors that are not the statement's; after some SQLite has rolled back, and the next statement would stand alone."""
_MARK = "\n-- guest"
"""Ends each statement, because the connection keeps compiled ones by their text, and the store's own were allowed."""

Parameters = Sequence[Any] | Mapping[str, Any]


class Permission:
    """Asked by SQLite for each statement that it compiles."""

    def __init__(self) -> None:
        self._is_guest = False

    @contextmanager
    def of_guests(self) -> Iterator[None]:
        self._is_guest = True
        try:
            yield
        finally:
            self._is_guest = False

    def __call__(self, action: int, first: str | None, second: str | None, *_: str | None) -> int:
        if not self._is_guest:
            return sqlite3.SQLITE_OK
        if action in _REFUSED or (action in _WRITES and _is_own(first)):
            return sqlite3.SQLITE_DENY
        # a trigger is named before its table, and it could write where its author may not
        if action in _SHAPES and (_is_own(first) or _is_own(second)):
            return sqlite3.SQLITE_DENY
        if action == sqlite3.SQLITE_ALTER_TABLE and _is_own(second):
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK


class Guest(Loan):
    """One transaction of the store, for a caller's own statements."""

    def __init__(self, connection: sqlite3.Connection, permission: Permission, lender: Connection) -> None:
        super().__init__(lender)
        self._connection = connection
        self._permission = permission

    def execute(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """Run one statement; the rows that it gives. Raises sqlite3.Error as SQLite does."""
        return list(self._run(lambda: self._connection.execute(sql + _MARK, parameters).fetchall(), sql))

    def execute_many(self, sql: str, rows: Iterable[Parameters]) -> int:
        """Run one statement for each row of parameters; how many rows were changed in all."""
        return int(self._run(lambda: self._connection.executemany(sql + _MARK, rows).rowcount, sql))

    def _check(self) -> None:
        super()._check()
        if not self._connection.in_transaction:
            raise InvalidArgument(
                "a statement of a transaction step rolled the transaction back, as `or rollback`, "
                "`on conflict rollback` and `raise(rollback)` do; let it abort, and raise"
            )

    def _run(self, work: Any, sql: str) -> Any:
        self._check_lent()
        self._check()
        try:
            with self._permission.of_guests():
                return work()
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _OF_THE_DATABASE:
                self._obstacle = error
            if "not authorized" in str(error) or "prohibited" in str(error):
                raise InvalidArgument(
                    f"{sql[:80]!r} is not for a transaction step: it may read and write your own tables, and the "
                    "engine commits it with the workflow"
                ) from error
            raise


def _is_own(name: str | None) -> bool:
    return name is not None and name.startswith(OWN_PREFIX)
