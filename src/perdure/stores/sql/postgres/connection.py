"""One session with a PostgreSQL server, synchronous outside and asyncpg's inside."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import asyncpg

from perdure.stores.sql import moving, statements
from perdure.stores.sql.connection import RecordTooLarge, Row, Step, TransactionConflict
from perdure.stores.sql.postgres import words
from perdure.stores.sql.postgres.guest import Guest
from perdure.stores.sql.postgres.link import BROKEN, prelude

T = TypeVar("T")
READ = "begin isolation level repeatable read, read only"
WRITE = "begin"
SCRIPT_SECONDS_MAX = 3_600.0
"""How long a migration may take, or a caller's own statement."""
GUEST_IDLE_SECONDS_MAX = 60
"""How long a caller's step may compute between two of its statements, before its transaction is ended."""
CLOSE_SECONDS_MAX = 2.0
"""How long a connection that is given up may take to say goodbye."""
TOO_LARGE = ("22001", "54000")
"""SQLSTATEs of a value that is too long for its column, or a key for its index."""
CONFLICTS = ("23", words.CONFLICT)
"""Beginnings of the SQLSTATEs by which a row is there already, or not as it should be."""


class PostgresConnection:
    """A connection on an event loop of its own, which runs only while a call waits for the server."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        *,
        is_pooled: bool = False,
        characters_max: int = 2**28,
    ) -> None:
        self._is_pooled = is_pooled
        self._characters_max = characters_max
        self._is_open = False
        self._guarded: list[Row] = []
        self._loop = asyncio.new_event_loop()
        try:
            self._connection: asyncpg.Connection = self._wait(connect())
        except BaseException:
            self._loop.close()
            raise

    def begin(self, *, write: bool) -> None:
        self._begin(WRITE if write else READ)
        if write and self._guarded:
            try:
                self._run([])
            except BaseException:
                self.rollback()
                raise

    def unless_reserved(self, shards: Collection[int], work: Callable[..., T], *args: Any) -> T:
        self._guarded = [(shard,) for shard in shards]
        try:
            return work(self, *args)
        except asyncpg.PostgresError as error:
            if getattr(error, "sqlstate", None) == words.RESERVED:
                self._guarded = []
                for shard in shards:
                    moving.check_free(self, shard)
            raise
        finally:
            self._guarded = []

    def _begin(self, how: str) -> None:
        self._execute(f"{how}; {prelude()}" if self._is_pooled else how)
        self._is_open = True

    def commit(self) -> None:
        self._is_open = False
        self._execute("commit")

    def rollback(self) -> None:
        if self._is_open:
            self._is_open = False
            try:
                self._execute("rollback")
            except BROKEN:
                # because the server rolls back by itself, and the caller is told of what came before
                self._connection.terminate()

    def savepoint(self) -> None:
        self._execute("savepoint turn")

    def rollback_to_savepoint(self) -> None:
        self._execute("rollback to savepoint turn; release savepoint turn")

    def release_savepoint(self) -> None:
        self._execute("release savepoint turn")

    def rows(self, sql: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        return map(tuple, self._fetch(words.plain(sql), values))

    def row(self, sql: str, values: Sequence[Any] = ()) -> Row | None:
        return next(self.rows(sql, values), None)

    def change(self, sql: str, values: Sequence[Any] = ()) -> int:
        if sql in words.OF_ROWS:
            return self._run([Step(sql, [tuple(values)])])
        (row,) = self._fetch(words.counted(sql), values)
        return int(row[0])

    def change_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> int:
        changes = [tuple(row) for row in rows]
        if not changes:
            return 0
        if sql in words.OF_ROWS:
            return self._run([Step(sql, changes)])
        return sum(self.change(sql, row) for row in changes)

    def run(self, steps: Sequence[Step]) -> None:
        self._run([step for step in steps if step.rows])

    def _run(self, steps: Sequence[Step]) -> int:
        """Every step is a call of its function, and the calls are one query; what the last one changed."""
        values: list[Any] = []
        calls: list[str] = []
        guard = [Step(statements.UNRESERVED, self._guarded)] if self._guarded else []
        for sql, rows, is_condition in (*guard, *steps):
            function = words.function(sql)
            first = len(values)
            columns = list(map(list, zip(*rows, strict=True)))
            self._check_size(columns, function.types)
            values += columns
            arguments = ", ".join(f"${first + place}::{kind}[]" for place, kind in enumerate(function.types, 1))
            calls.append(f"{function.name}({arguments}, {'true' if is_condition else 'false'})")
        if not calls:
            return 0
        (row,) = self._fetch(f"select {', '.join(calls)}", values)
        return int(row[-1])

    def _check_size(self, columns: Sequence[list[Any]], types: Sequence[str]) -> None:
        """Refuse what one message to the server might not hold; smaller steps tell who is too large."""
        texts = (filter(None, column) for column, kind in zip(columns, types, strict=True) if kind == words.TEXT)
        if sum(sum(map(len, text)) for text in texts) > self._characters_max:
            raise RecordTooLarge("a record is too large")

    def rows_of_each(self, sql: str, keys: Collection[Sequence[Any]], limit: int | None = None) -> list[list[Row]]:
        found: list[list[Row]] = [[] for _ in keys]
        if keys:
            query, _ = words.of_each(sql, limited=limit is not None)
            values = [list(column) for column in zip(*keys, strict=True)]
            for place, *row in self._fetch(query, values if limit is None else [*values, limit]):
                found[place - 1].append(tuple(row))
        return found

    def row_of_each(self, sql: str, keys: Collection[Sequence[Any]]) -> list[Row | None]:
        found: list[Row | None] = [None] * len(keys)
        if keys:
            query, _ = words.of_each(sql, limited=False)
            for row in self._fetch(query, [list(column) for column in zip(*keys, strict=True)]):
                found[row[0] - 1] = tuple(row)[1:]
        return found

    def guest(self) -> Guest:
        self._execute(f"set local idle_in_transaction_session_timeout = '{GUEST_IDLE_SECONDS_MAX}s'")
        return Guest(self, self)

    def fetch_status(self, sql: str, values: Sequence[Any]) -> tuple[list[Row], str]:
        """Run a caller's statement; its rows and its command tag. Raises what asyncpg raises."""
        return self._wait(self._fetch_status(sql, values))

    async def _fetch_status(self, sql: str, values: Sequence[Any]) -> tuple[list[Row], str]:
        statement = await self._connection.prepare(sql, timeout=SCRIPT_SECONDS_MAX)
        rows = await statement.fetch(*values, timeout=SCRIPT_SECONDS_MAX)
        return [tuple(row) for row in rows], str(statement.get_statusmsg())

    def apart(self, work: Callable[..., T], *args: Any) -> T:
        return work(self, *args)

    def now(self) -> int:
        (row,) = self._fetch(f"select {words.NOW}", ())
        return int(row[0])

    def version(self) -> int:
        return 0

    def script(self, sql: str) -> None:
        """Run several statements, without values, however long they take."""
        self._wait(self._connection.execute(sql, timeout=SCRIPT_SECONDS_MAX))

    def close(self) -> None:
        try:
            if not self._connection.is_closed():
                self._wait(self._connection.close(timeout=CLOSE_SECONDS_MAX))
        except BROKEN:
            self._connection.terminate()
        finally:
            self._loop.close()

    def _fetch(self, sql: str, values: Sequence[Any]) -> list[Any]:
        """The rows of a query, which is a transaction of its own unless one is open."""
        try:
            if self._is_open or not self._is_pooled:
                found: list[Any] = self._wait(self._connection.fetch(sql, *values))
                return found
            return self._fetch_pooled(sql, values)
        except asyncpg.PostgresError as error:
            raise _meaning(error) from error

    def _fetch_pooled(self, sql: str, values: Sequence[Any]) -> list[Any]:
        # because a pooler may give the parts of a call that stands alone to different processes
        self._begin(WRITE)
        try:
            found: list[Any] = self._wait(self._connection.fetch(sql, *values))
            self.commit()
            return found
        except BaseException:
            self.rollback()
            raise

    def _execute(self, sql: str) -> None:
        self._wait(self._connection.execute(sql))

    def _wait(self, answer: Awaitable[T]) -> T:
        return self._loop.run_until_complete(answer)


def _meaning(error: Exception) -> Exception:
    """A condition that does not hold, or the error itself."""
    state = str(getattr(error, "sqlstate", None))
    if state in TOO_LARGE:
        return RecordTooLarge(str(error))
    if state.startswith(CONFLICTS):
        return TransactionConflict(str(error))
    return error
