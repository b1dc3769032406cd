"""Empty places on a server."""

from __future__ import annotations

from collections.abc import Callable

from perdure.stores.contract import EngineStore
from perdure.stores.sql.cluster import ClusterStore
from servers.postgres import PostgresServer

Execute = Callable[[str], str]
EMPTY = """
do $$ declare name text; begin
    for name in select tablename from pg_tables
    where schemaname = current_schema() and tablename like 'perdure_%' and tablename <> 'perdure_meta' loop
        execute format('truncate %I restart identity', name);
    end loop;
end $$
"""
"""Leaves no row of a store; a new database for each of so many tests would take far longer."""


def make_user(server: PostgresServer, name: str) -> None:
    """A user with a schema of its own, because a new database for each test takes far longer."""
    server.execute(f"create role {name} superuser login; create schema {name} authorization {name}")


async def expire(store: EngineStore) -> None:
    """The owner of everything dies, and time goes by."""
    assert isinstance(store, ClusterStore)
    await store._write(lambda connection: connection.change("update perdure_shard set until = 0"))
    store._leases = {}
