"""One session with MySQL or MariaDB: statements that go out together, and what the server's errors are to the store."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, TypeVar

import asyncmy
from asyncmy import errors
from asyncmy.constants.CLIENT import FOUND_ROWS
from asyncmy.cursors import Cursor

from perdure.stores.sql import moving
from perdure.stores.sql.connection import RecordTooLarge, Row, Step, TransactionConflict
from perdure.stores.sql.mysql.guest import Guest
from perdure.stores.sql.mysql.trust import PACKET_BYTES_MIN
from perdure.stores.sql.mysql.words import CLOCK, GATE, UNRESERVED, literal, phrase, together

T = TypeVar("T")

CONNECT_SECONDS_MAX = 10
"""How long a connection may take to be made."""
ANSWER_SECONDS_MAX = 30.0
"""How long one answer of the server may take; after that it is unknown what it did."""
LOCK_SECONDS_MAX = 10
"""How long a statement waits for a lock that another transaction holds."""
IDLE_SECONDS_MAX = 15.0
"""A connection that was not used for so long is asked first whether it lives, before something that must not be lost in
doubt is sent."""

Answer = tuple[int, Sequence[Row]]
"""How many rows a statement has changed or found, and its rows."""
REPETITIONS_MAX = 20
"""How often a transaction begins that the server undoes."""
REPETITION_PAUSE_SECONDS = 0.005
"""The first pause before it begins anew, at most; each further one may be longer by as much."""
DEADLOCK, LOCK_TIMEOUT = 1213, 1205
_CONFLICTS = frozenset((1048, 1062, 1242, 1264, 1265, 1364, 1366, 1690, 3819, 4025))
"""A null, a key that is there, a check that failed, a value that does not fit."""
_TOO_LARGE = frozenset((1118, 1406))
"""A value that is too long for its column, or a row for its page."""


class TransactionUndone(Exception):
    """The server has undone the whole transaction for the sake of another one; it may begin anew."""


class QuietCursor(Cursor):
    """A cursor that does not ask the server what it has warned of, because that would be a further round trip."""

    async def _show_warnings(self, conn: Any) -> None:
        return


class MysqlConnection:
    """A connection whose driver runs on an event loop of its own, in the thread that uses it.

    What begins a transaction, or a part of it, goes out with the next statement, in the same packet.
    """

    def __init__(self, driver: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._driver = driver
        self._loop = loop
        self.packet_bytes_max = PACKET_BYTES_MIN
        self._pending: list[str] = []
        self._guards: list[str] = []
        self._apps: dict[int, str] = {}
        self._is_open = False
        self._has_begun = False
        self._writes = False
        self._used = time.monotonic()
        self.round_trips = 0

    # Transactions

    def begin(self, *, write: bool) -> None:
        self._check_life()
        # a snapshot, because what is read with several statements has to be of one moment
        self._pending = ["start transaction" if write else "start transaction with consistent snapshot, read only"]
        if write:
            self._pending += self._guards
        self._is_open, self._has_begun, self._writes = True, False, write

    def commit(self) -> None:
        has_begun, self._is_open = self._has_begun, False
        if has_begun:
            self._ask(["commit"])
        self._pending.clear()

    def rollback(self) -> None:
        has_begun, self._is_open = self._is_open and self._has_begun, False
        self._pending.clear()
        if has_begun and self._driver.connected:
            self._ask(["rollback"])

    def savepoint(self) -> None:
        self._pending.append("savepoint turn")

    def rollback_to_savepoint(self) -> None:
        self._pending.append("rollback to savepoint turn")

    def release_savepoint(self) -> None:
        self._pending.append("release savepoint turn")

    def unless_reserved(self, shards: Collection[int], work: Callable[..., T], *args: Any) -> T:
        self._guards = self._guarding(shards)
        try:
            return work(self, *args)
        except TransactionConflict:
            self._guards = []
            for shard in shards:
                moving.check_free(self, shard)
            raise
        finally:
            self._guards = []

    def _guarding(self, shards: Collection[int]) -> list[str]:
        """What passes the gates of the shards' apps, and fails if one of these is kept for a move."""
        ids = ", ".join(str(shard) for shard in sorted(set(shards)))
        if not self._apps.keys() >= set(shards):
            self._apps.update(self.plain(f"select id, app from perdure_shard where id in ({ids})"))
        apps = ", ".join(literal(app) for app in sorted({self._apps[shard] for shard in shards}))
        return [f"{GATE.format(apps)}lock in share mode", UNRESERVED.format(ids)]

    # Statements

    def rows(self, sql: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        return iter(self.rows_of_each(sql, [values])[0])

    def row(self, sql: str, values: Sequence[Any] = ()) -> Row | None:
        return next(self.rows(sql, values), None)

    def rows_of_each(self, sql: str, keys: Collection[Sequence[Any]], limit: int | None = None) -> list[list[Row]]:
        asked = list(keys)
        at_once = together(sql) if asked and not (self._is_open and self._writes) else None
        queries = at_once.texts(asked, limit) if at_once is not None else None
        if at_once is not None and queries is not None:
            return at_once.each(asked, chain.from_iterable(rows for _, rows in self._ask(queries)))
        said = phrase(sql)
        texts: list[str] = []
        places: list[int] = []
        for values in asked:
            locks, text = said.one(values, decides=self._is_open and self._writes)
            texts += locks
            places.append(len(texts))
            texts.append(text if limit is None else f"{text} limit {limit}")
        results = self._ask(texts)
        each = [list(results[place][1]) for place in places]
        return each if limit is None else _bounded(each, limit)

    def row_of_each(self, sql: str, keys: Collection[Sequence[Any]]) -> list[Row | None]:
        return [rows[0] if rows else None for rows in self.rows_of_each(sql, keys)]

    def change(self, sql: str, values: Sequence[Any] = ()) -> int:
        locks, text = phrase(sql).one(values, decides=True)
        return self._ask([*locks, text])[-1][0]

    def change_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> int:
        texts = list(phrase(sql).steps([tuple(row) for row in rows], False))
        return sum(count for count, _ in self._ask(texts)) if texts else 0

    def run(self, steps: Sequence[Step]) -> None:
        texts = [text for step in steps for text in phrase(step.sql).steps(step.rows, step.is_condition)]
        if self._is_open:
            self._ask(texts)
            return
        self.transact(texts)

    def transact(self, texts: Sequence[str]) -> list[Answer]:
        """Run statements that are MySQL's already in a transaction of their own; what the server says to each."""
        self._check_life()
        return repeated(self._alone, texts)

    def _alone(self, texts: Sequence[str]) -> list[Answer]:
        try:
            return self._ask(["start transaction", *self._guards, *texts, "commit"])[1 + len(self._guards) : -1]
        except BaseException:
            if self._driver.connected:
                self._ask(["rollback"])
            raise

    def guest(self) -> Guest:
        return Guest(self, self)

    def fetch(self, sql: str) -> Answer:
        """One statement of a caller's. Raises what the driver raises."""
        before = self._pending
        self._pending, self._has_begun = [], True
        if before:
            self._wait(self._exchange(before))
        answer = self._wait(self._raw(sql))
        self._used = time.monotonic()
        return answer

    @property
    def is_in_transaction(self) -> bool:
        return bool(self._driver.get_transaction_status())

    async def _raw(self, sql: str) -> Answer:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            ((count, rows),) = await self._answers(sql.encode())
        return count, rows

    def apart(self, work: Callable[..., T], *args: Any) -> T:
        self._check_life()
        return work(self, *args)

    def now(self) -> int:
        return int(self.plain(f"select {CLOCK}")[0][0])

    def version(self) -> int:
        return self.newest_mail()

    def newest_mail(self) -> int:
        """The number of the mail that came last, of all that is there."""
        return int(self.plain("select max(id) from perdure_mail")[0][0] or 0)

    def mail_since(self, number: int) -> tuple[int, frozenset[int]]:
        """The number of the mail that came last, and which shards have got some since the one of this number."""
        found = self.plain(f"select shard, max(id) from perdure_mail where id > {number} group by shard")
        return max((last for _, last in found), default=number), frozenset(shard for shard, _ in found)

    def plain(self, sql: str) -> list[Row]:
        """The rows of a statement that is MySQL's already."""
        return list(self._ask([sql])[-1][1])

    def each(self, statements: Sequence[str]) -> None:
        """Run statements that are MySQL's already."""
        self._ask(statements)

    def close(self) -> None:
        self._wait(self._close())
        self._loop.close()

    async def _close(self) -> None:
        if self._driver.connected:
            await self._driver.ensure_closed()

    # Packets

    def _check_life(self) -> None:
        """Find out that the server has gone while nothing is in doubt yet."""
        if time.monotonic() - self._used > IDLE_SECONDS_MAX:
            self._ask(["do 1"])

    def _ask(self, texts: Sequence[str]) -> list[Answer]:
        """Send statements, together as far as a packet holds them; of each the count of rows changed, and its rows."""
        if not texts:
            return []
        before = self._pending
        self._pending, self._has_begun = [], True
        answers = self._wait(self._exchange([*before, *texts]))
        self._used = time.monotonic()
        return answers[len(before) :]

    async def _exchange(self, texts: Sequence[str]) -> list[Answer]:
        answers: list[Answer] = []
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                for packet in self._packets(texts):
                    answers += await self._answers(packet)
        except errors.MySQLError as error:
            raise _meant(error) from error
        except TimeoutError:
            self._driver.close()
            raise errors.OperationalError(2013, f"no answer within {ANSWER_SECONDS_MAX} s") from None
        return answers

    async def _answers(self, packet: bytes) -> list[Answer]:
        self.round_trips += 1
        answers: list[Answer] = []
        async with self._driver.cursor(QuietCursor) as cursor:
            await cursor.execute(packet)
            while True:
                answers.append((cursor.rowcount, await cursor.fetchall() if cursor.description else ()))
                if not await cursor.nextset():
                    return answers

    def _packets(self, texts: Sequence[str]) -> Iterator[bytes]:
        some: list[bytes] = []
        size = 0
        for text in texts:
            data = text.encode()
            if len(data) > self.packet_bytes_max:
                raise RecordTooLarge(f"a statement of {len(data)} bytes is larger than max_allowed_packet")
            if size + len(data) >= self.packet_bytes_max:
                yield b";".join(some)
                some, size = [], 0
            some.append(data)
            size += len(data) + 1
        if some:
            yield b";".join(some)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)


def repeated(transaction: Callable[..., T], *args: Any) -> T:
    """Run a whole transaction, again as long as the server undoes it."""
    for tried in range(1, REPETITIONS_MAX):
        try:
            return transaction(*args)
        except TransactionUndone:
            time.sleep(random.random() * REPETITION_PAUSE_SECONDS * tried)
    return transaction(*args)


def connected(loop: asyncio.AbstractEventLoop, **where: Any) -> Any:
    """A connection of the driver, on a loop that does not run. Raises what the driver raises."""
    return loop.run_until_complete(_connected(where))


async def _connected(where: dict[str, Any]) -> Any:
    return await asyncmy.connect(
        charset="utf8mb4",
        autocommit=True,
        client_flag=FOUND_ROWS,  # because a condition holds for a row that is there, changed or not
        connect_timeout=CONNECT_SECONDS_MAX,
        program_name="perdure",
        **where,
    )


def _bounded(each: list[list[Row]], limit: int) -> list[list[Row]]:
    """The first rows up to the limit in all."""
    left = limit
    for place, rows in enumerate(each):
        each[place] = rows[:left]
        left -= len(each[place])
    return each


def _meant(error: errors.MySQLError) -> Exception:
    code = number(error)
    if code in (DEADLOCK, LOCK_TIMEOUT):
        return TransactionUndone(str(error))
    if code in _TOO_LARGE:
        return RecordTooLarge(str(error))
    if code in _CONFLICTS:
        return TransactionConflict(str(error))
    return error


def number(error: errors.MySQLError) -> int:
    """The server's number of an error, or the driver's."""
    code = error.args[0] if error.args else 0
    return code if isinstance(code, int) else 0
