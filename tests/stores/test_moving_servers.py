"""Apps that go from a file to a server's database, and from one server to another."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from perdure import Client
from perdure.app import open_store
from perdure.errors import AppReserved
from perdure.stores.moving import End, move
from servers import mariadb, postgres
from tests.stores.moving_app import RESULTS, add, begin, end, shop


def goes_on(source: Any, target: Any, folder: Path) -> None:
    """Begin at the source, move, end at the target."""

    async def play() -> None:
        await begin(shop(source, folder))
        async with Client(source, app_id="shop") as client:
            await add(client)
        for store in (source, target):
            await store.open()
        done = await move(End(source, "source"), End(target, "target"), "shop", finished=True, token="t", now=5)
        assert (done.conflicts, done.left) == ((), 0)
        for store in (source, target):
            await store.close()
        results = await end(shop(target, folder), folder)
        assert results == {**RESULTS, "items": results["items"], "lot": 10}
        with pytest.raises(AppReserved, match="was moved to target"):
            await shop(source, folder).open()

    asyncio.run(play())


@pytest.mark.long
def test_a_laptops_file_goes_to_postgresql_and_back_to_another_file(tmp_path: Path) -> None:
    with postgres.running() as server:
        address = server.address(options="?unsafe=fsync")
        source = open_store(f"sqlite:///{tmp_path}/laptop.db")
        goes_on(source, open_store(address), tmp_path)
        again = tmp_path / "again"
        again.mkdir()
        server.execute("create database other")
        other = open_store(server.address("other", options="?unsafe=fsync"))
        goes_on(other, open_store(f"sqlite:///{again}/file.db"), again)


@pytest.mark.mariadb
def test_a_laptops_file_goes_to_mariadb_and_back_to_another_file(tmp_path: Path) -> None:
    with mariadb.running(fsync=False) as server:
        source = open_store(f"sqlite:///{tmp_path}/laptop.db")
        goes_on(source, open_store(server.new_url()), tmp_path)
        again = tmp_path / "again"
        again.mkdir()
        other = open_store(server.new_url())
        goes_on(other, open_store(f"sqlite:///{again}/file.db"), again)
