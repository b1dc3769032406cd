"""The database servers that a measurement starts for itself, with the durability that they ship with or stronger."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers import postgres
from servers.postgres import PostgresServer

CONNECTIONS_MAX = "300"
LOOK_SECONDS = 0.1


@contextmanager
def on_postgres() -> Iterator[PostgresServer]:
    """PostgreSQL with fsync, everything else as it comes but for the number of connections."""
    with postgres.running(fsync=True, max_connections=CONNECTIONS_MAX) as server:
        yield server


@contextmanager
def on_valkey(folder: Path) -> Iterator[str]:
    """The address of a store on Valkey that syncs its file before it answers."""
    from servers import valkey

    server = valkey.Valkey(folder / "valkey", "always")
    try:
        yield server.url()
    finally:
        server.stop()


@contextmanager
def on_mariadb() -> Iterator[str]:
    """The address of a store on MariaDB that syncs its log at every commit."""
    from servers import mariadb

    with mariadb.running() as server:
        yield server.new_url()


def new_database(server: PostgresServer, name: str) -> str:
    """The address of a new, empty database."""
    server.execute(f"create database {name}")
    return server.address(name)


def bytes_of(server: PostgresServer, name: str) -> int:
    """What a database takes, indexes included."""
    return int(server.execute(f"select pg_database_size('{name}')"))


def transactions(server: PostgresServer, name: str) -> int:
    """How many a database has seen; a statement by itself is one."""
    return int(server.execute(f"select xact_commit + xact_rollback from pg_stat_database where datname = '{name}'"))


def wait_until_shared(server: PostgresServer, name: str, nodes: int) -> None:
    """Return when so many nodes own all shards of the store there, as evenly as can be."""
    counts = "select count(*) from perdure_shard group by coalesce(owner, '')"
    even = f"select count(*) = {nodes} and max(count) - min(count) <= 1 from ({counts}) as shares"
    none = "select count(*) from perdure_shard where owner is null"
    while server.execute(even, name) != "t" or server.execute(none, name) != "0":
        time.sleep(LOOK_SECONDS)
