"""MariaDB and the store in plain dicts stay alike over a long random life: 10,000 operations in all on a server that
does not wait for its disk, and 500 on one that does."""

from __future__ import annotations

import asyncio

import pytest

from perdure.stores.contract import EngineStore
from perdure.stores.sql.mysql import open_store
from servers.mariadb import running
from tests.stores.test_differential import live_alike

pytestmark = pytest.mark.mariadb


@pytest.mark.timeout(900)
@pytest.mark.parametrize("steps, seed, fsync", [*((2_500, seed, False) for seed in range(4)), (500, 0, True)])
def test_mariadb_lives_the_same_life(steps: int, seed: int, fsync: bool) -> None:
    with running(fsync=fsync) as server:
        database = server.database()

        async def lose(_: EngineStore) -> None:
            server.run("update perdure_shard set until = 0", database=database)

        store = open_store(server.url(database, "shards=1&lease=3600"))
        asyncio.run(live_alike(store, seed, lose, steps, every=25))
