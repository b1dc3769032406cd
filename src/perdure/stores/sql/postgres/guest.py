"""A caller's own statements in a transaction of the store on PostgreSQL: what they may do, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from perdure.errors import InvalidArgument
from perdure.stores.sql.connection import Connection
from perdure.stores.sql.loan import OWN_PREFIX, Loan
from perdure.stores.sql.postgres.link import BROKEN

_READS = frozenset(("select", "values", "table"))
_ALLOWED = _READS | frozenset(
    (
        *(
            "insert",
            "update",
            "delete",
            "merge",
            "with",
            "truncate",
            "copy",
            "call",
            "do",
            "explain",
            "lock",
            "refresh",
        ),
        *("create", "alter", "drop", "comment", "grant", "revoke"),
    )
)
"""First words of statements that leave transaction and session as they are."""
_BEFORE = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/|\()*", re.DOTALL)
"""What may stand before the first word of a statement."""
_OF_THE_DATABASE = ("08", "25P03", "40", "53", "55P03", "57", "58", "XX")
"""Beginnings of the SQLSTATEs that are not the statement's fault, and that another try may not meet."""


class Session(Protocol):
    """What a guest needs of the connection that it is lent."""

    def fetch_status(self, sql: str, values: Sequence[Any]) -> tuple[list[tuple[Any, ...]], str]:
        """The rows of a statement, and its command tag. Raises what the driver raises."""


class Guest(Loan):
    """One transaction of the store, for a caller's own statements, whose parameters are $1, $2, ..."""

    def __init__(self, lender: Connection, session: Session) -> None:
        super().__init__(lender)
        self._session = session
        self._has_failed = False

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; the rows that it gives. Raises asyncpg.PostgresError as the driver does."""
        rows, _ = self._run(sql, parameters)
        return rows

    def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> int:
        """Run one statement for each row of parameters; how many rows were changed in all."""
        tags = [self._run(sql, row)[1] for row in rows]
        return sum(int(tag.rpartition(" ")[2]) for tag in tags if tag[-1:].isdigit())

    def _check(self) -> None:
        super()._check()
        if self._has_failed:
            raise InvalidArgument(
                "a statement of a transaction step failed, and PostgreSQL takes nothing more in its transaction; "
                "let the step raise, or write `on conflict` into the statement"
            )

    def _run(self, sql: str, parameters: Sequence[Any]) -> tuple[list[tuple[Any, ...]], str]:
        self._check_lent()
        if isinstance(parameters, Mapping):
            raise InvalidArgument("PostgreSQL numbers parameters: write $1, $2, ... and pass a sequence of values")
        check(sql)
        try:
            return self._session.fetch_status(sql, parameters)
        except BROKEN as error:
            self._has_failed = True
            state = getattr(error, "sqlstate", None)
            if state is None or state.startswith(_OF_THE_DATABASE):
                self._obstacle = self._obstacle or error
            raise


def check(sql: str) -> None:
    """Raises InvalidArgument for a statement that would end the transaction, change the session, or write to the
    engine's tables. A guard against mistakes; who may write to the database can get around it."""
    start = _BEFORE.match(sql)
    rest = sql[start.end() if start else 0 :].lower()
    word = re.match(r"[a-z]*", rest)
    first = word[0] if word else ""
    writes_own = OWN_PREFIX in rest and (first not in _READS or f"{OWN_PREFIX}do_" in rest)
    if first not in _ALLOWED or writes_own:
        raise InvalidArgument(
            f"{sql[:80]!r} is not for a transaction step: it may read and write your own tables, and the "
            "engine commits it with the workflow"
        )
