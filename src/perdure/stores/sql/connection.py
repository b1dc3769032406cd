"""What the SQL store asks of a database: connections, and what sets its dialect apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from perdure.stores.sql.ownership import Mark

Row = tuple[Any, ...]


class TransactionConflict(Exception):
    """A row is there already, too large, or not as it should be; only smaller steps can find out which."""


class Connection(Protocol):
    """One session with the database, for one thread at a time. SQL has numbered parameters (?1, ?2, ...)."""

    def begin(self, *, write: bool) -> None:
        """Begin a transaction; one that writes waits here for others that do."""

    def commit(self) -> None: ...

    def rollback(self) -> None:
        """Undo the transaction, if one is open."""

    def savepoint(self) -> None: ...

    def rollback_to_savepoint(self) -> None: ...

    def release_savepoint(self) -> None: ...

    def rows(self, sql: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        """The rows of a query, fetched as they are asked for."""

    def row(self, sql: str, values: Sequence[Any] = ()) -> Row | None:
        """The first row of a query."""

    def change(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Run a statement; the number of rows it changed. Raises TransactionConflict."""

    def change_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> int:
        """Run a statement for each row; the rows changed in all. Raises TransactionConflict."""

    def guest(self) -> Any:
        """What a caller's own statements run through: `execute(sql, parameters)`, rows as tuples.

        It neither ends the transaction nor writes to the store's own tables.
        """

    def version(self) -> int:
        """A number that changes when another connection has written."""

    def close(self) -> None: ...


class Database(Protocol):
    """One database of some dialect: how to reach it, who owns it, and what its errors mean."""

    shard_count: int
    row_bytes_max: int
    read_only: bool
    """Whether nothing is ever written to it: neither rows nor schema, and nobody becomes its owner."""

    def check(self) -> None:
        """Raises StoreNotUsable, with what to do, if the place cannot hold a store."""

    def connect(self, *, write: bool) -> Connection: ...

    def recognise(self, connection: Connection) -> None:
        """Raises StoreNotUsable or StoreVersion if the schema there is not that of FORMAT."""

    def migrate(self, connection: Connection) -> None:
        """Bring the schema to FORMAT. Raises StoreVersion if it is higher already."""

    def translated(self, error: Exception) -> tuple[Exception, bool]:
        """The error as one of the tree, and whether the connection it came from can still be trusted."""

    def own(self, owner: str) -> bool:
        """Become the process that owns the database, until `disown`. False if another does."""

    def disown(self) -> None: ...

    def owner(self) -> str | None:
        """Who owns the database, for people to read."""

    def marks(self) -> dict[int, Mark]:
        """How far the owners have brought each shard, as far as something beside the database knows."""

    def mark(self, marks: dict[int, Mark]) -> None:
        """Write down how far shards are, for owners to come; the caller owns the database."""
