"""The PostgreSQL dialect of the SQL store."""

from __future__ import annotations

from perdure.stores.sql.cluster import ClusterStore
from perdure.stores.sql.postgres.address import read_address
from perdure.stores.sql.postgres.database import PostgresDatabase


def open_store(url: str, *, read_only: bool = False) -> ClusterStore:
    """The store at `postgresql://user:password@host:port/database`, not yet opened.

    Options: `?shards=` (of a new store), `?lease=` seconds, `?tls=` or `?sslmode=`, `?unsafe=fsync,...`.
    Raises InvalidArgument and UnknownConfiguration.
    """
    return ClusterStore(PostgresDatabase(read_address(url), read_only=read_only))
