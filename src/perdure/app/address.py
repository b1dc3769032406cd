"""Addresses: what stands behind one, a store or a server, and which extra brings its driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from perdure.errors import InvalidArgument
from perdure.stores.contract import EngineStore

if TYPE_CHECKING:
    from perdure.remote.native.connection import Connection


def open_store(given: str | EngineStore, *, read_only: bool = False) -> EngineStore:
    """The store at an address, not yet opened. Raises InvalidArgument if the address is of no kind there is.

    Through a `read_only` one nothing can be written, whoever owns the store.
    """
    if not isinstance(given, str):
        return _checked_store(given)
    match given.split(":", 1)[0].split("+"):
        case ["memory"]:
            return _memory_store()
        case ["sqlite"]:
            return _sqlite_store(given, read_only)
        case ["postgresql" | "postgres"]:
            return _postgres_store(given, read_only)
        case ["mysql" | "mariadb"]:
            return _mysql_store(given, read_only)
        case ["redis" | "rediss" | "valkey" | "valkeys", *_]:
            return _redis_store(given, read_only)
        case ["mongodb"] | ["mongodb", "srv"]:
            return _mongo_store(given, read_only)
    raise InvalidArgument(
        f"store {given!r}: the address begins with sqlite:///FILE, postgresql://HOST/DATABASE, mysql://HOST/DATABASE, "
        "redis://HOST or mongodb://HOST/DATABASE, or is memory:"
    )


def is_server(address: str) -> bool:
    """Whether an address is that of a server, and not of a store."""
    return address.split(":", 1)[0] in ("grpc", "grpcs")


async def reached(server: str, app: str | None) -> Connection:
    """A server that answers."""
    with _brought_by("server", "a server is reached by gRPC"):
        from perdure.remote.native.connection import connect
    return await connect(server, app)


def address_of(store: str | EngineStore) -> str | None:
    """Where state lies beside a store, None if only who made the store knows."""
    if isinstance(store, str):
        return store
    from perdure.stores.memory import MemoryStore

    return "memory:" if isinstance(store, MemoryStore) else None


def checked_server(server: str | None, store: object) -> str | None:
    """The server in whose place no store is given. Raises InvalidArgument."""
    if server is not None and (not isinstance(server, str) or store is not None):
        raise InvalidArgument(
            "an app has a store or a server: give store=... to run the engine here, or server='grpc://host:50001'"
        )
    return server


# -- stores, each loaded by those who need it --------------------------------------------------------------------------


def _checked_store(given: EngineStore) -> EngineStore:
    if not callable(getattr(given, "commit", None)):
        raise InvalidArgument(
            f"store is a {type(given).__name__}; give an address such as sqlite:///shop.db, or a store"
        )
    return given


def _memory_store() -> EngineStore:
    from perdure.stores.memory import MemoryStore

    return MemoryStore()


def _sqlite_store(address: str, read_only: bool) -> EngineStore:
    from perdure.stores.sql import sqlite

    return sqlite.open_store(address, read_only=read_only)


def _postgres_store(address: str, read_only: bool) -> EngineStore:
    with _brought_by("postgres", "PostgreSQL is reached by asyncpg"):
        from perdure.stores.sql import postgres
    return postgres.open_store(address, read_only=read_only)


def _mysql_store(address: str, read_only: bool) -> EngineStore:
    with _brought_by("mysql", "MySQL is reached by asyncmy"):
        from perdure.stores.sql import mysql
    return mysql.open_store(address, read_only=read_only)


def _redis_store(address: str, read_only: bool) -> EngineStore:
    with _brought_by("redis", "Redis and Valkey are reached by redis-py"):
        from perdure.stores.redis import store as redis
    return redis.open_store(address, read_only=read_only)


def _mongo_store(address: str, read_only: bool) -> EngineStore:
    with _brought_by("mongo", "MongoDB is reached by pymongo"):
        from perdure.stores.mongo import store as mongo
    return mongo.open_store(address, read_only=read_only)


@contextmanager
def _brought_by(extra: str, what: str) -> Iterator[None]:
    """What cannot be imported belongs to an extra that is not installed."""
    try:
        yield
    except ImportError as error:
        raise InvalidArgument(f'{what}: pip install "perdure[{extra}]" ({error})') from error
