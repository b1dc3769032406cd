"""Values in a SQLite file: read where they are asked for, written by one thread, many calls in one transaction."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from perdure.errors import PerdureError
from perdure.stores.sql.connection import Connection, in_transaction
from perdure.stores.sql.runner import Runner, ThreadRunner
from perdure.stores.sql.sqlite import SqliteDatabase
from perdure.stores.values.contract import Item, Operation, check_keys, check_operations, opened
from perdure.stores.values.plan import Step, mismatch, steps_of
from perdure.stores.values.sql import SQLITE, check_format, item_of, values_of

CALLS_PER_TRANSACTION_MAX = 200
"""Calls that are written together, so that they share one sync of the file."""

T = TypeVar("T")
_Asked = tuple[list[Step], asyncio.Future[None]]


class SqliteValues:
    """One space of a file. Calls that come while a transaction is under way go into the next one together."""

    is_transactional = True

    def __init__(self, path: Path, space: str, synchronous: str = "full") -> None:
        self._database = SqliteDatabase(path, synchronous, shared=True)
        self._space = space
        self._runner: Runner | None = None
        self._reader: Connection | None = None
        self._writer: Connection | None = None
        self._waiting: deque[_Asked] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._pid = 0

    async def open(self) -> None:
        if self._runner is not None:
            return
        self._pid = os.getpid()
        runner = ThreadRunner("perdure-values")
        made: list[Connection] = []
        try:
            made.append(await runner.run(self._meant, self._made))
            made.append(await runner.run(self._meant, lambda: self._database.connect(write=False)))
        except BaseException:
            await _let_go(runner, made)
            raise
        # all at once, because a sweep or a call that comes meanwhile is told that the store is not open
        self._runner = runner
        self._writer, self._reader = made

    async def close(self) -> None:
        if os.getpid() != self._pid:
            return  # because what a forked child inherited is its parent's to close
        while self._writing is not None:
            await asyncio.wait({self._writing})
        runner, self._runner = self._runner, None
        made = [connection for connection in (self._reader, self._writer) if connection is not None]
        self._reader = self._writer = None
        if runner is not None:
            await _let_go(runner, made)

    async def get(self, keys: Sequence[str]) -> list[Item | None]:
        reader = opened(self._reader, self._pid)
        check_keys(keys)
        if len(keys) == 1:
            return [self._meant(self._one, reader, keys[0])]
        # here and now, because a read costs less than the way to a thread and back
        return self._meant(in_transaction, reader, False, lambda _: [self._one(reader, key) for key in keys])

    async def apply(self, operations: Sequence[Operation]) -> None:
        opened(self._writer, self._pid)
        check_operations(operations)
        if not operations:
            return
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append((steps_of(operations), done))
        if self._writing is None:
            self._writing = loop.create_task(self._write(), name="perdure-values")
        await done

    async def sweep(self) -> int:
        writer = opened(self._writer, self._pid)
        assert self._runner is not None, "it is open"
        return await self._runner.run(
            self._meant, in_transaction, writer, True, lambda connection: connection.change(SQLITE.sweep)
        )

    # -- writing ---------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        """Write what waits until nothing does."""
        try:
            while self._waiting:
                count = min(len(self._waiting), CALLS_PER_TRANSACTION_MAX)
                await self._write_some([self._waiting.popleft() for _ in range(count)])
        finally:
            self._writing = None

    async def _write_some(self, asked: list[_Asked]) -> None:
        runner, writer = self._runner, self._writer
        assert runner is not None, "it closes when nothing waits"
        assert writer is not None, "it closes when nothing waits"
        outcomes: list[PerdureError | None]
        try:
            outcomes = await runner.run(self._meant, in_transaction, writer, True, self._apply, asked)
        except PerdureError as error:
            outcomes = [error] * len(asked)
        except BaseException:
            for _, done in asked:
                done.cancel()
            raise
        for (_, done), refused in zip(asked, outcomes, strict=True):
            if done.done():
                continue  # because its caller was cancelled
            if refused is None:
                done.set_result(None)
            else:
                done.set_exception(refused)

    def _apply(self, connection: Connection, asked: list[_Asked]) -> list[PerdureError | None]:
        """What became of each call, in a transaction; one that is refused leaves nothing behind."""
        return [self._one_call(connection, steps) for steps, _ in asked]

    def _one_call(self, connection: Connection, steps: list[Step]) -> PerdureError | None:
        connection.savepoint()
        for step in steps:
            changed = connection.change(SQLITE.steps[step.kind], values_of(SQLITE, step, self._space))
            if step.kind.is_conditional and not changed:
                connection.rollback_to_savepoint()
                return mismatch(step)
        connection.release_savepoint()
        return None

    # -- the file --------------------------------------------------------------------------------------------------

    def _one(self, reader: Connection, key: str) -> Item | None:
        row = reader.row(SQLITE.get, (self._space, key))
        return None if row is None else item_of(row)

    def _made(self) -> Connection:
        """A connection that writes, to a file with the tables."""
        connection = self._database.connect(write=True)
        try:
            if not connection.row("select 1 from sqlite_master where name = 'perdure_values_meta'"):
                in_transaction(connection, True, lambda one: [one.change(sql) for sql in SQLITE.schema])
            ((found,),) = connection.rows(SQLITE.format)
            check_format(self._database, found)
        except BaseException:
            connection.close()
            raise
        return connection

    def _meant(self, work: Callable[..., T], *args: Any) -> T:
        """What the work gives; an error as one of the tree."""
        try:
            return work(*args)
        except PerdureError:
            raise
        except Exception as error:
            raise self._database.translated(error)[0] from error

    def __repr__(self) -> str:
        return f"<values {self._space!r} in {self._database!r}>"


async def _let_go(runner: Runner, made: Sequence[Connection]) -> None:
    for connection in made:
        await runner.run(connection.close)
    runner.stop()
