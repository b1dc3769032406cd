"""The next version, made once for all tests of a process, and the servers under both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from servers import mariadb, postgres
from servers.valkey import Valkey
from tests.upgrade.next_version import make


@pytest.fixture(scope="session")
def next_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its sources."""
    return make(tmp_path_factory.mktemp("next"))


@pytest.fixture(scope="session")
def halting_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one whose migration stands still half way."""
    return make(tmp_path_factory.mktemp("halting"), halts=True)


@pytest.fixture
def postgres_server() -> Iterator[postgres.PostgresServer]:
    with postgres.running() as server:
        yield server


@pytest.fixture
def mariadb_server() -> Iterator[mariadb.MariaDb]:
    with mariadb.running() as server:
        yield server


@pytest.fixture
def valkey_server(tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path / "valkey", "no")
    yield server
    server.stop()
