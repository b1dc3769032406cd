"""One MariaDB server for all tests of a process, and a database on it for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from servers.mariadb import MariaDb, running


@pytest.fixture(scope="session")
def server() -> Iterator[MariaDb]:
    """A server that does not wait for its disk."""
    with running(fsync=False) as started:
        yield started


@pytest.fixture
def address(server: MariaDb) -> str:
    """Of a new database."""
    return server.new_url()
