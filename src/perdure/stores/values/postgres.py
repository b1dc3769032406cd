"""Values in a PostgreSQL database: one statement for one operation, a transaction for several."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg

from perdure.errors import PerdureError
from perdure.stores.sql.postgres import link
from perdure.stores.sql.postgres.address import Address
from perdure.stores.values.contract import Item, Operation, check_keys, check_operations, opened
from perdure.stores.values.plan import Step, mismatch, steps_of
from perdure.stores.values.refusals import full, refused, unanswered
from perdure.stores.values.sql import POSTGRES, check_format, item_of, values_of
from perdure.stores.values.undone import Undone, until_done

CONNECTIONS_MAX = 8
"""Of one state store; calls beyond wait for one."""
SCHEMA_LOCK = 7_363_836_575
"""Of the advisory lock under which one node makes the tables."""
_AGAIN = ("40001", "40P01")
_FULL = "53100"
_REFUSED = ("28", "3D", "42")
"""Beginnings of the SQLSTATEs by which the server refuses who asks, or where."""


class PostgresValues:
    """One space of a database. Belongs to the event loop that opens it."""

    is_transactional = True

    def __init__(self, address: Address, space: str) -> None:
        self._address = address
        self._space = space
        self._pool: asyncpg.Pool | None = None
        self._is_pooled = True
        self._pid = 0

    async def open(self) -> None:
        if self._pool is not None:
            return
        self._pid = os.getpid()
        async with self._meant():
            self._is_pooled = await self._asked_whether_pooled()
            pool = await asyncpg.create_pool(
                min_size=1, max_size=CONNECTIONS_MAX, connect=self._connect, reset=_nothing_to_reset
            )
        try:
            async with self._meant(), pool.acquire() as connection:
                await self._make(connection)
        except BaseException:
            pool.terminate()
            raise
        self._pool = pool

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None or os.getpid() != self._pid:
            return
        try:
            async with asyncio.timeout(link.CONNECT_SECONDS_MAX):
                await pool.close()
        except (TimeoutError, *link.BROKEN):
            pool.terminate()

    async def get(self, keys: Sequence[str]) -> list[Item | None]:
        check_keys(keys)
        async with self._connection() as connection:
            rows = await connection.fetch(POSTGRES.get, self._space, list(keys))
        found = {item.key: item for item in map(item_of, rows)}
        return [found.get(key) for key in keys]

    async def apply(self, operations: Sequence[Operation]) -> None:
        check_operations(operations)
        if operations:
            await until_done(partial(self._together, steps_of(operations)))

    async def sweep(self) -> int:
        async with self._connection() as connection:
            return _changed(await connection.execute(POSTGRES.sweep))

    async def _together(self, steps: list[Step]) -> None:
        async with self._connection() as connection:
            if len(steps) == 1:
                await self._step(connection, steps[0])
                return
            async with connection.transaction():
                for step in steps:
                    await self._step(connection, step)

    async def _step(self, connection: Any, step: Step) -> None:
        told = await connection.execute(POSTGRES.steps[step.kind], *values_of(POSTGRES, step, self._space))
        if step.kind.is_conditional and not _changed(told):
            raise mismatch(step)

    async def _make(self, connection: Any) -> None:
        if not await connection.fetchval("select to_regclass('perdure_values_meta') is not null"):
            async with connection.transaction():
                await connection.execute(f"select pg_advisory_xact_lock({SCHEMA_LOCK})")
                for statement in POSTGRES.schema:
                    await connection.execute(statement)
        check_format(self._address, await connection.fetchval(POSTGRES.format))

    async def _connect(self, *_: Any, **__: Any) -> asyncpg.Connection:
        return await link.connect(self._address, is_pooled=self._is_pooled)

    async def _asked_whether_pooled(self) -> bool:
        """Because the server itself prepares a statement once, and so answers each call in one round trip."""
        connection = await link.connect(self._address, is_pooled=None)
        try:
            return await link.is_behind_pooler(connection)
        finally:
            await connection.close(timeout=link.CONNECT_SECONDS_MAX)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        pool = opened(self._pool, self._pid)
        async with self._meant(), pool.acquire(timeout=link.ANSWER_SECONDS_MAX) as connection:
            yield connection

    @asynccontextmanager
    async def _meant(self) -> AsyncIterator[None]:
        """Within it the driver's errors become those of the tree."""
        try:
            yield
        except PerdureError:
            raise
        except link.BROKEN as error:
            raise _meaning(error, self._address) from error

    def __repr__(self) -> str:
        return f"<values {self._space!r} in postgresql {self._address}>"


def _meaning(error: Exception, address: Address) -> PerdureError:
    state = getattr(error, "sqlstate", None) or ""
    if state in _AGAIN:
        return Undone(address, error)
    if state == _FULL:
        return full(address, error)
    if state.startswith(_REFUSED):
        return refused(address, error)
    return unanswered(address, error)


def _changed(told: str) -> int:
    """The rows of a command tag, such as INSERT 0 1."""
    return int(told.rpartition(" ")[2])


async def _nothing_to_reset(connection: asyncpg.Connection) -> None:
    """A connection comes back as it went, because no call leaves a setting behind; it saves a round trip."""
