"""The stores of values that `make test` can have: memory, SQLite, PostgreSQL, Valkey and a server like MongoDB."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perdure.stores.values.contract import StateStore
from perdure.stores.values.opening import open_values
from servers.mariadb import MariaDb
from servers.mariadb import running as mariadb_running
from servers.mongo import Mongo
from servers.postgres import PostgresServer, running
from servers.valkey import Cluster, Valkey
from tests.stores.postgres.places import make_user
from tests.stores.values.conformance import ValuesConformance

Opener = Callable[[str], StateStore]


class TestMemory(ValuesConformance):
    survives = False

    @pytest.fixture
    def opener(self) -> Opener:
        return lambda space: open_values("memory:", space)


class TestSqlite(ValuesConformance):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        return lambda space: open_values(f"sqlite:///{tmp_path}/shop.db", space)


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running() as started:
        make_user(started, "values")
        yield started


class TestPostgres(ValuesConformance):
    @pytest.fixture
    def opener(self, postgres: PostgresServer) -> Opener:
        address = postgres.address(user="values", options="?unsafe=fsync")
        return lambda space: open_values(address, space)


class TestValkey(ValuesConformance):
    @pytest.fixture
    def opener(self, valkey: Valkey) -> Opener:
        return lambda space: open_values(valkey.url(), space)


@pytest.mark.long
class TestValkeyCluster(ValuesConformance):
    @pytest.fixture
    def opener(self, cluster: Cluster) -> Opener:
        return lambda space: open_values(cluster.url(), space)


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDb]:
    """A server that does not wait for its disk."""
    with mariadb_running(fsync=False) as started:
        yield started


@pytest.fixture(scope="module")
def mariadb_address(mariadb: MariaDb) -> str:
    return mariadb.new_url()


@pytest.mark.mariadb
class TestMariaDb(ValuesConformance):
    @pytest.fixture
    def opener(self, mariadb_address: str) -> Opener:
        return lambda space: open_values(mariadb_address, space)


@pytest.mark.long
class TestMongo(ValuesConformance):
    @pytest.fixture
    def opener(self, mongo: Mongo) -> Opener:
        return lambda space: open_values(mongo.url(), space)
