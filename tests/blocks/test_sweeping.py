"""What has expired is removed from the disk by a task, which goes on when the database does not."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from pathlib import Path

import pytest

from perdure.blocks.resources import Component
from perdure.blocks.state import Put, open_values
from perdure.blocks.state.stores import StateStores
from perdure.blocks.state.sweeping import Sweeper


def rows(file: Path) -> int:
    with sqlite3.connect(file) as database:
        ((count,),) = database.execute("select count(*) from perdure_values")
    database.close()
    return int(count)


def test_expired_values_leave_the_disk(tmp_path: Path) -> None:
    file = tmp_path / "values.db"
    metadata = {"connectionString": str(file), "cleanupInterval": "20ms"}
    component = Component(name="it", type="state.sqlite", version="v1", metadata=metadata)

    async def play() -> None:
        stores = StateStores("memory:")
        shelf = await stores.shelf([component], "it", "shop")
        await shelf.store.apply([Put(f"short{n}", b"1", ttl=0.01) for n in range(5)] + [Put("stays", b"1")])
        async with asyncio.timeout(30):
            while rows(file) > 1:
                await asyncio.sleep(0.01)
        await stores.close()

    asyncio.run(play())
    assert rows(file) == 1


def test_a_store_that_cannot_be_swept_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "values.db"

    async def play() -> None:
        store = open_values(f"sqlite:///{file}")
        await store.open()
        await store.apply([Put("short", b"1", ttl=0.001)])
        await store.close()
        sweeper = Sweeper(store, 0.01)
        sweeper.start()
        while "stay for now" not in caplog.text:
            await asyncio.sleep(0.01)
        assert rows(file) == 1
        await store.open()
        async with asyncio.timeout(30):
            while rows(file):
                await asyncio.sleep(0.01)
        await sweeper.stop()
        await sweeper.stop()
        await store.close()

    with caplog.at_level(logging.WARNING, "perdure"):
        asyncio.run(play())
