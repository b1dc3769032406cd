"""The store in plain dicts keeps the contract, with one shard and with several."""

from pathlib import Path

from perdure.stores.contract import EngineStore
from perdure.stores.memory import MemoryStore
from perdure.testing.conformance import APP, StoreConformance


class TestMemoryStore(StoreConformance):
    shard_count = 1

    async def make(self, directory: Path) -> EngineStore:
        return MemoryStore(self.shard_count)

    async def succeed(self, store: EngineStore) -> EngineStore:
        assert isinstance(store, MemoryStore)
        store.expire(APP)
        return store


class TestMemoryStoreOfManyShards(TestMemoryStore):
    shard_count = 7


class TestMemoryStoreWhoseLeasesRunOut(TestMemoryStore):
    shard_count = 7

    async def make(self, directory: Path) -> EngineStore:
        return MemoryStore(self.shard_count, lease_seconds=0.05)
