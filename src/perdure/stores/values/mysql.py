"""Values in a MySQL or MariaDB database: one statement for one operation, a transaction for several."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncmy
from asyncmy import errors

from perdure.errors import PerdureError
from perdure.stores.sql.mysql.address import Address
from perdure.stores.sql.mysql.connection import CONNECT_SECONDS_MAX, DEADLOCK, LOCK_TIMEOUT, QuietCursor
from perdure.stores.values.contract import Item, Operation, check_keys, check_operations, opened
from perdure.stores.values.plan import Step, mismatch, steps_of
from perdure.stores.values.refusals import full, refused, unanswered
from perdure.stores.values.sql import MYSQL, check_format, item_of, values_of
from perdure.stores.values.undone import Undone, until_done

CONNECTIONS_MAX = 8
"""Of one state store; calls beyond wait for one."""
RECYCLE_SECONDS = 60
"""After which an idle connection is made anew, because the server may have ended it."""
SCHEMA_LOCK = "perdure values"
SCHEMA_SECONDS_MAX = 30
ANSWER_SECONDS_MAX = 30.0
_FULL = (1021, 1041, 1114)
_REFUSED = (1044, 1045, 1049, 1142, 1227)


class MysqlValues:
    """One space of a database. Belongs to the event loop that opens it."""

    is_transactional = True

    def __init__(self, address: Address, space: str) -> None:
        self._address = address
        self._space = space
        self._pool: Any = None
        self._pid = 0

    async def open(self) -> None:
        if self._pool is not None:
            return
        self._pid = os.getpid()
        async with self._meant():
            pool = await asyncmy.create_pool(
                minsize=1,
                maxsize=CONNECTIONS_MAX,
                pool_recycle=RECYCLE_SECONDS,
                autocommit=True,
                charset="utf8mb4",
                connect_timeout=CONNECT_SECONDS_MAX,
                cursor_cls=QuietCursor,
                init_command="set session transaction isolation level read committed",
                **self._address.where,
            )
        self._pool = pool
        try:
            async with self._cursor() as cursor:
                await self._make(cursor)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None or os.getpid() != self._pid:
            return
        pool.close()
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                await pool.wait_closed()
        except (TimeoutError, OSError, errors.MySQLError):
            await pool.terminate()

    async def get(self, keys: Sequence[str]) -> list[Item | None]:
        check_keys(keys)
        if not keys:
            return []
        sql = MYSQL.get.format(keys=", ".join(["%s"] * len(keys)))
        async with self._cursor() as cursor:
            await cursor.execute(sql, [self._space, *keys])
            rows = await cursor.fetchall()
        found = {item.key: item for item in map(item_of, rows)}
        return [found.get(key) for key in keys]

    async def apply(self, operations: Sequence[Operation]) -> None:
        check_operations(operations)
        if operations:
            await until_done(partial(self._together, steps_of(operations)))

    async def sweep(self) -> int:
        async with self._cursor() as cursor:
            return int(await cursor.execute(MYSQL.sweep))

    async def _together(self, steps: list[Step]) -> None:
        async with self._cursor() as cursor:
            if len(steps) == 1:
                await self._step(cursor, steps[0])
                return
            await cursor.execute("start transaction")
            try:
                for step in steps:
                    await self._step(cursor, step)
            except PerdureError:
                await cursor.execute("rollback")
                raise
            await cursor.execute("commit")

    async def _step(self, cursor: Any, step: Step) -> None:
        changed = await cursor.execute(MYSQL.steps[step.kind], values_of(MYSQL, step, self._space))
        if step.kind.is_conditional and not changed:
            raise mismatch(step)

    async def _make(self, cursor: Any) -> None:
        await cursor.execute(f"select get_lock('{SCHEMA_LOCK}', {SCHEMA_SECONDS_MAX})")
        try:
            for statement in MYSQL.schema:
                await cursor.execute(statement)
        finally:
            await cursor.execute(f"select release_lock('{SCHEMA_LOCK}')")
        await cursor.execute(MYSQL.format)
        check_format(self._address, (await cursor.fetchone())[0])

    @asynccontextmanager
    async def _cursor(self) -> AsyncIterator[Any]:
        """A cursor on a connection that goes back to the pool only if it is as it was."""
        pool = opened(self._pool, self._pid)
        async with self._meant(), asyncio.timeout(ANSWER_SECONDS_MAX):
            connection = await pool.acquire()
            try:
                async with connection.cursor() as cursor:
                    yield cursor
            except PerdureError:
                raise  # because a refusal has been rolled back
            except BaseException:
                connection.close()  # the answer to a call that was given up may come at any time
                raise
            finally:
                await pool.release(connection)

    @asynccontextmanager
    async def _meant(self) -> AsyncIterator[None]:
        """Within it the driver's errors become those of the tree."""
        try:
            yield
        except PerdureError:
            raise
        except (errors.MySQLError, OSError, TimeoutError, EOFError) as error:
            raise _meaning(error, self._address) from error

    def __repr__(self) -> str:
        return f"<values {self._space!r} in mysql {self._address}>"


def _meaning(error: Exception, address: Address) -> PerdureError:
    code = error.args[0] if error.args else None
    if code in (DEADLOCK, LOCK_TIMEOUT):
        return Undone(address, error)
    if code in _FULL:
        return full(address, error)
    if code in _REFUSED:
        return refused(address, error)
    return unanswered(address, error)
