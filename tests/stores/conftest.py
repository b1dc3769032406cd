"""Servers that the tests of stores share, started when the first of them asks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from servers.mongo import FerretDB, JavaServer, Mongo
from servers.valkey import REDIS, Cluster, Valkey


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A server that does not sync its file, because what is tested on it is not about power cuts."""
    server = Valkey(tmp_path_factory.mktemp("valkey"), "no")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def debian_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """Redis of Debian, for suites that have installed it."""
    server = Valkey(tmp_path_factory.mktemp("redis"), "no", binary=shutil.which(REDIS) or REDIS)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes that share the slots; they do not sync their files either."""
    nodes = Cluster(tmp_path_factory.mktemp("cluster"))
    yield nodes
    nodes.stop()


@pytest.fixture(scope="session")
def mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongo]:
    """A server that speaks MongoDB's protocol."""
    server = Mongo(tmp_path_factory.mktemp("mongo"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def ferretdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongo]:
    """For the suite that has built it, as the next."""
    server = FerretDB(tmp_path_factory.mktemp("ferretdb"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def java_mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongo]:
    server = JavaServer(tmp_path_factory.mktemp("java"))
    yield server
    server.stop()
