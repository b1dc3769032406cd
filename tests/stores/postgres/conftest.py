"""One PostgreSQL server for all tests of a process, and an empty place on it for each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from servers.postgres import PostgresServer, running
from tests.stores.postgres.places import Execute, make_user

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    with running() as started:
        make_user(started, "suite")
        yield started


@pytest.fixture
def user(server: PostgresServer) -> str:
    """A new one."""
    name = f"test{next(_numbers)}"
    make_user(server, name)
    return name


@pytest.fixture
def address(server: PostgresServer, user: str) -> str:
    """Of an empty place."""
    return server.address(user=user, options="?unsafe=fsync")


@pytest.fixture
def execute(server: PostgresServer, user: str) -> Execute:
    """Runs statements there; what they give, as psql prints it without ornaments."""
    return lambda sql: server.execute(sql, user=user)
