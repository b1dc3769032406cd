"""What the SQL store asks of a database: connections, and what sets its dialect apart."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from perdure.stores.contract import Checkup
from perdure.stores.sql.ownership import Mark

T = TypeVar("T")
Row = tuple[Any, ...]


class TransactionConflict(Exception):
    """A row is there already, too large, or not as it should be; only smaller steps can find out which."""


class RecordTooLarge(TransactionConflict):
    """One of the rows, or a key of it, is larger than its place."""


class Step(NamedTuple):
    """A statement for each of some rows. With `is_condition` each of them must change a row."""

    sql: str
    rows: Collection[Row]
    is_condition: bool = False


class Connection(Protocol):
    """One session with the database, for one thread at a time.

    SQL comes in the words of `statements`, with numbered parameters (?1, ?2, ...); the connection knows how its
    dialect says the same.
    """

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

    def run(self, steps: Sequence[Step]) -> None:
        """Run steps in the transaction that is open, or else in one of their own; on a server in one call.

        Raises TransactionConflict, which ends the transaction, if a condition does not hold.
        """

    def rows_of_each(self, sql: str, keys: Collection[Sequence[Any]], limit: int | None = None) -> list[list[Row]]:
        """The rows of a query for each of some values, in their order, up to `limit` in all; on a server in one
        call."""

    def row_of_each(self, sql: str, keys: Collection[Sequence[Any]]) -> list[Row | None]:
        """The only row of a query for each of some values, in their order; on a server in one call."""

    def guest(self) -> Any:
        """What a caller's own statements run through: `execute(sql, parameters)`, rows as tuples.

        It neither ends the transaction nor writes to the store's own tables.
        """

    def apart(self, work: Callable[..., T], *args: Any) -> T:
        """Run `work`, which only reads, and whose queries need not be of one moment."""

    def now(self) -> int:
        """The time by the database's clock, in microseconds since 1970 UTC."""

    def version(self) -> int:
        """A number that changes when another connection has written."""

    def close(self) -> None: ...


@runtime_checkable
class GuardingConnection(Protocol):
    """A connection that can refuse writes to apps that are kept for a move, in the calls that write."""

    def unless_reserved(self, shards: Collection[int], work: Callable[..., T], *args: Any) -> T:
        """Do work that writes to instances of these shards. Raises AppReserved, and nothing is written."""


class Database(Protocol):
    """One database of some dialect: how to reach it, who owns it, and what its errors mean."""

    shard_count: int
    lease_seconds: float | None
    """How long a lease lasts; None where a lock holds it for as long as its process lives."""
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

    def is_passing(self, error: Exception) -> bool:
        """Whether the same work may succeed if it is done again; nothing of it was written."""

    def own(self, owner: str) -> bool:
        """Become the process that owns the database, until `disown`. False if another does."""

    def disown(self) -> None: ...

    def owner(self) -> str | None:
        """Who owns the database, for people to read."""

    def marks(self) -> dict[int, Mark]:
        """How far the owners have brought each shard, as far as something beside the database knows."""

    def mark(self, marks: dict[int, Mark]) -> None:
        """Write down how far shards are, for owners to come; the caller owns the database."""


def by_length(statements: Mapping[int, str], rows: Sequence[Row], *, is_condition: bool = False) -> list[Step]:
    """For the rows of each length the statement of that length."""
    fitting = ((sql, [row for row in rows if len(row) == length]) for length, sql in statements.items())
    return [Step(sql, some, is_condition) for sql, some in fitting if some]


def in_transaction(connection: Connection, write: bool, work: Callable[..., T], *args: Any) -> T:
    """Run work in a transaction of its own: all of it or, if it raises, nothing."""
    connection.begin(write=write)
    try:
        result = work(connection, *args)
        connection.commit()
        return result
    except BaseException:
        connection.rollback()
        raise


@runtime_checkable
class InspectedDatabase(Protocol):
    """What a database offers that can say how it is."""

    def checkup(self, connection: Connection) -> Checkup:
        """As `Inspected.check`."""

    def size(self, connection: Connection) -> int | None:
        """As `Inspected.size`."""
