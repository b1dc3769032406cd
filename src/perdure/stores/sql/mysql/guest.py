"""A caller's own statements in a transaction of the store on MySQL: what they may do, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Protocol

from asyncmy import errors

from perdure.errors import InvalidArgument
from perdure.stores.sql.connection import Connection, Row
from perdure.stores.sql.loan import OWN_PREFIX, Loan
from perdure.stores.sql.mysql.words import literal

_READS = frozenset(("select", "values", "table"))
_ALLOWED = _READS | frozenset(("insert", "update", "delete", "replace", "with"))
"""First words of statements after which the transaction is still open: MySQL commits before it changes a schema."""
_APART = re.compile(
    r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--\s[^\n]*(?:\n|$)|#[^\n]*(?:\n|$)|/\*(?!M?!).*?\*/", re.DOTALL
)
"""Text and remarks, in which no word has a meaning. A remark that begins with /*! is none."""
_OF_THE_STATEMENT = frozenset(
    (1048, 1054, 1062, 1064, 1146, 1149, 1216, 1217, 1242, 1264, 1265, 1292, 1364, 1365, 1366)
)
_OF_THE_STATEMENT |= frozenset((1406, 1451, 1452, 1644, 1690, 3819, 4025))
"""Errors that are the statement's own fault; after others another try may succeed."""


class Session(Protocol):
    """What a guest needs of the connection that it is lent."""

    def fetch(self, sql: str) -> tuple[int, Sequence[Row]]:
        """The rows changed by a statement, and those that it gives. Raises what the driver raises."""

    @property
    def is_in_transaction(self) -> bool: ...


class Guest(Loan):
    """One transaction of the store, for a caller's own statements, whose parameters are %s."""

    def __init__(self, lender: Connection, session: Session) -> None:
        super().__init__(lender)
        self._session = session

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run one statement; the rows that it gives. Raises asyncmy.errors.MySQLError as the driver does."""
        _, rows = self._run(sql, parameters)
        return list(rows)

    def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> int:
        """Run one statement for each row of parameters; how many rows were found and changed in all."""
        return sum(self._run(sql, row)[0] for row in rows)

    def _run(self, sql: str, parameters: Sequence[Any]) -> tuple[int, Sequence[Row]]:
        self._check_lent()
        self._check()
        if isinstance(parameters, Mapping):
            raise InvalidArgument("parameters are %s here, in their order: pass a sequence of values")
        check(sql)
        try:
            found = self._session.fetch(_filled(sql, parameters))
        except errors.MySQLError as error:
            if not error.args or error.args[0] not in _OF_THE_STATEMENT:
                self._obstacle = error
            raise
        if not self._session.is_in_transaction:
            self._obstacle = InvalidArgument(
                f"{sql[:80]!r} has ended the transaction of the step; the engine does that"
            )
            raise self._obstacle
        return found


def check(sql: str) -> None:
    """Raises InvalidArgument for a statement that would end the transaction, change the session, or write to the
    engine's tables. A guard against mistakes; who may write to the database can get around it."""
    rest = _APART.sub(" ", sql).strip().removesuffix(";").lower()
    word = re.match(r"[\s(]*([a-z]*)", rest)
    first = word[1] if word else ""
    writes_own = OWN_PREFIX in rest and first not in _READS
    if first not in _ALLOWED or ";" in rest or "/*" in rest or writes_own:
        raise InvalidArgument(
            f"{sql[:80]!r} is not for a transaction step: it may read and write your own tables, one statement at a "
            "time, and the engine commits it with the workflow"
        )


def _filled(sql: str, parameters: Sequence[Any]) -> str:
    """The statement with its parameters in their places; without any, a percent sign is one."""
    if not parameters:
        return sql
    parts = [part.replace("%%", "%") for part in sql.split("%s")]
    if len(parts) != len(parameters) + 1:
        raise InvalidArgument(f"{sql[:80]!r} has {len(parts) - 1} places %s and {len(parameters)} parameters")
    return parts[0] + "".join(_written(value) + part for value, part in zip(parameters, parts[1:], strict=True))


def _written(value: Any) -> str:
    match value:
        case bytes() | bytearray():
            return f"x'{value.hex()}'"
        case float():
            return repr(value)
        case Decimal():
            return str(value)
        case datetime():
            return literal(value.isoformat(" "))
        case date() | time():
            return literal(value.isoformat())
        case timedelta():
            return literal(str(value))
        case _:
            try:
                return literal(value)
            except TypeError as error:
                raise InvalidArgument(f"{error}; pass text, a number, bytes, a date or a time") from error
