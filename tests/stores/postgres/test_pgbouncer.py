"""The PostgreSQL dialect behind PgBouncer in transaction mode, where no two transactions need meet the same session."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.stores.contract import EngineStore
from perdure.stores.sql.cluster import ClusterStore
from perdure.stores.sql.postgres import open_store
from perdure.stores.sql.postgres.address import read_address
from perdure.stores.sql.postgres.database import PostgresDatabase
from perdure.testing.conformance import APP, Scene, StoreConformance, a_mail
from servers.pgbouncer import pooling
from servers.postgres import PostgresServer
from tests.stores.on_servers import nodes
from tests.stores.postgres.places import EMPTY, expire
from tests.stores.test_differential import live_alike

pytestmark = pytest.mark.pgbouncer


@pytest.fixture(scope="module")
def pool(server: PostgresServer) -> Iterator[int]:
    server.execute("create database pooled")  # because other tests' users see what lies in the public schema
    with pooling(server) as port:
        yield port


@pytest.fixture
def address(server: PostgresServer, pool: int) -> str:
    """Of an empty store behind the pooler."""
    server.execute(EMPTY, "pooled")
    return f"postgresql://postgres@127.0.0.1:{pool}/pooled?unsafe=fsync"


class TestPooledStore(StoreConformance):
    row_bytes_max = 2_000_000

    @pytest.fixture(autouse=True)
    def place(self, address: str) -> Iterator[None]:
        self.address = f"{address}&lease=1"
        self.stores: list[ClusterStore] = []
        yield
        asyncio.run(self.close())

    async def close(self) -> None:
        for store in self.stores:
            await store.close()

    async def make(self, directory: Path) -> EngineStore:
        return self.store()

    async def succeed(self, store: EngineStore) -> EngineStore:
        await expire(store)
        return self.store()

    def store(self) -> ClusterStore:
        store = ClusterStore(PostgresDatabase(read_address(self.address), row_bytes_max=self.row_bytes_max))
        self.stores.append(store)
        return store


def test_it_lives_the_life_of_the_oracle(server: PostgresServer, pool: int) -> None:
    server.execute("create database one_shard")
    address = f"postgresql://postgres@127.0.0.1:{pool}/one_shard?unsafe=fsync&shards=1"
    asyncio.run(live_alike(open_store(address), 1, expire, steps=300, every=50))


def test_more_nodes_than_connections_get_along(address: str) -> None:
    async def send(store: ClusterStore, scene: Scene, name: str) -> None:
        for number in range(20):
            await store.deliver(scene.shard("a"), [a_mail("a", f"{name}-{number:02}")])
            await store.members(APP)

    async def play() -> None:
        async with nodes(address, 6) as stores:
            scene = await Scene.of(stores[0])
            await scene.start("a")
            await asyncio.gather(*(send(store, scene, f"n{place}") for place, store in enumerate(stores)))
            assert len(await scene.keys("a")) == 120

    asyncio.run(play())


def test_hints_come_from_the_server_itself(server: PostgresServer, address: str) -> None:
    async def play() -> None:
        async with nodes(f"{address}&direct=127.0.0.1:{server.port}") as (owner, other):
            scene = await Scene.of(owner)
            await scene.start("a")
            hints = owner.watch()
            await anext(hints)
            await other.deliver(scene.shard("a"), [a_mail("a", "k")])
            await anext(hints)
            await hints.aclose()  # type: ignore[attr-defined]
        async with nodes(address, 1) as (alone,):
            assert [hint async for hint in alone.watch()] == []

    asyncio.run(play())
