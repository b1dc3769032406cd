"""Where the nodes of a simulated world keep what they keep, and what is seen of it from outside."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from perdure.history.entities import is_entity
from perdure.paging import each_found
from perdure.stores.contract import EngineStore, Head, Query
from perdure.stores.memory import MemoryStore
from perdure.stores.sql.runner import InlineRunner
from perdure.stores.sql.sqlite import SqliteDatabase
from perdure.stores.sql.store import SqlStore
from perdure.testing.scenario import APP

T = TypeVar("T")
OWN_TABLES = "select name from sqlite_master where type = 'table' and name like 'perdure_%'"


class Backend(Protocol):
    """Where the nodes of a world keep what they keep."""

    def connect(self) -> EngineStore:
        """For one node."""

    def look(self) -> EngineStore:
        """A view of what is stored, apart from all nodes."""

    def release(self, store: EngineStore, owner: str) -> None:
        """A node has died."""

    def take_from_owner(self, store: EngineStore, owner: str) -> None:
        """Let another node have the shards while this one still believes in its lease."""

    def rows_left(self) -> list[str]:
        """What is still there, for people."""

    def close(self) -> None: ...


class MemoryBackend:
    """One store in memory, which all nodes of the app share."""

    def __init__(self, app: str = APP) -> None:
        self._store = MemoryStore()
        self._app = app

    def connect(self) -> EngineStore:
        return self._store

    def look(self) -> EngineStore:
        return self._store

    def release(self, store: EngineStore, owner: str) -> None:
        if immediately(self._store.holder(self._app)) == owner:
            self._store.expire(self._app)

    def take_from_owner(self, store: EngineStore, owner: str) -> None:
        """Let another node have the shards while this one still believes in its lease."""
        self._store.expire(self._app)

    def rows_left(self) -> list[str]:
        return [f"instance {head.id}" for head in every_head(self._store)]

    def close(self) -> None:
        """Nothing of it outlives the object."""


class SqliteBackend:
    """One SQLite file; each node has connections and a lock of its own."""

    def __init__(self) -> None:
        place = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a directory of its own is made in it
        self._directory = tempfile.mkdtemp(prefix="perdure-simulation-", dir=place)
        self.path = Path(self._directory) / "store.db"
        self._databases: dict[int, SqliteDatabase] = {}
        self._view: EngineStore | None = None

    def connect(self) -> EngineStore:
        database = SqliteDatabase(self.path, "off")  # because nobody pulls this machine's plug
        store = SqlStore(database, InlineRunner)
        self._databases[id(store)] = database
        return store

    def look(self) -> EngineStore:
        """A view of what is stored, apart from all nodes."""
        if self._view is None:
            self._view = self.connect()
            immediately(self._view.open())
        return self._view

    def release(self, store: EngineStore, owner: str) -> None:
        immediately(store.close())

    def take_from_owner(self, store: EngineStore, owner: str) -> None:
        """Let another node have the lock while this one still believes in its lease."""
        self._databases[id(store)].disown()

    def rows_left(self) -> list[str]:
        connection = SqliteDatabase(self.path, "off").connect(write=False)
        try:
            tables = [name for (name,) in connection.rows(OWN_TABLES)]
            kept = {"perdure_meta", "perdure_shard", "perdure_permit", "perdure_about", "perdure_notice"}
            counts = {
                name: connection.row(f"select count(*) from {name}")  # noqa: S608 - the names are the schema's
                for name in tables
                if name not in kept
            }
            return [f"{count[0]} rows of {name}" for name, count in counts.items() if count and count[0]]
        finally:
            connection.close()

    def close(self) -> None:
        if self._view is not None:
            immediately(self._view.close())
        shutil.rmtree(self._directory, ignore_errors=True)


def immediately(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    work.close()
    raise AssertionError("the coroutine waits for something")


def every_run(store: EngineStore) -> list[Head]:
    """The heads of all instances but those that the engine keeps for itself."""
    return [head for head in every_head(store) if not is_entity(head.id)]


def every_head(store: EngineStore) -> list[Head]:
    """The heads of all instances."""

    async def found() -> list[Head]:
        return [head async for head in each_found(partial(store.find, Query(kind=None)), 200)]

    return immediately(found())
