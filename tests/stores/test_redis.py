"""Redis and Valkey keep the contract, and the store's own promises about settings, outboxes, crashes and clusters."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from perdure.stores.contract import EngineStore
from perdure.stores.redis.address import read_address
from perdure.stores.redis.store import RedisStore
from perdure.testing.conformance import StoreConformance
from servers.valkey import Cluster, Valkey
from tests.stores.test_differential import STEPS, live_alike

UNSYNCED = "?accept_durability=C"
"""The servers of tests that are not about power cuts do not sync their files."""


class RedisConformance(StoreConformance):
    row_bytes_max = 2_000_000
    shards = 1
    server: Valkey | Cluster

    async def make(self, directory: Path) -> EngineStore:
        self.server.clear()
        return self.store()

    async def succeed(self, store: EngineStore) -> EngineStore:
        assert isinstance(store, RedisStore)
        await store.emptied()
        await store.close()
        self.server.expire_leases()
        return self.store()

    async def arrived(self, store: EngineStore) -> None:
        assert isinstance(store, RedisStore)
        await store.emptied()

    def store(self) -> RedisStore:
        address = read_address(self.server.url(f"{UNSYNCED}&shards={self.shards}&lease=2"))
        return RedisStore(address, row_bytes_max=self.row_bytes_max)


class TestRedisStore(RedisConformance):
    @pytest.fixture(autouse=True)
    def _server(self, valkey: Valkey) -> None:
        self.server = valkey


def live_as_the_oracle(server: Valkey | Cluster, seed: int, steps: int) -> None:
    server.clear()

    async def lose_owner(_: EngineStore) -> None:
        server.expire_leases()

    store = RedisStore(read_address(server.url(f"{UNSYNCED}&shards=1")))
    asyncio.run(live_alike(store, seed, lose_owner, steps))


@pytest.mark.long
def test_it_lives_the_same_life_as_the_store_in_plain_dicts(valkey: Valkey) -> None:
    live_as_the_oracle(valkey, 5, 400)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(10))
def test_it_lives_ten_thousand_steps_as_the_store_in_plain_dicts(valkey: Valkey, seed: int) -> None:
    live_as_the_oracle(valkey, seed, STEPS)


@pytest.mark.long
class TestRedisStoreOfManyShards(TestRedisStore):
    shards = 7


@pytest.mark.long
class TestRedisStoreOnACluster(RedisConformance):
    shards = 7

    @pytest.fixture(autouse=True)
    def _server(self, cluster: Cluster) -> None:
        self.server = cluster


@pytest.mark.redis
class TestRedisStoreOnRedis(TestRedisStoreOfManyShards):
    """Redis itself, and not Valkey, which `make test` has."""

    @pytest.fixture(autouse=True)
    def _server(self, debian_redis: Valkey) -> None:
        self.server = debian_redis


@pytest.mark.redis
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fsync, steps", [("no", 2_000), ("always", 500)])
def test_it_lives_the_same_life_on_redis(debian_redis: Valkey, fsync: str, steps: int) -> None:
    with debian_redis.client() as client:
        client.config_set("appendfsync", fsync)
    live_as_the_oracle(debian_redis, 77, steps)
