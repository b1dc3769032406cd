"""MongoDB's protocol is enough for the contract. The server is nx-27017, because MongoDB itself cannot be had here."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from perdure.errors import StoreNotUsable
from perdure.stores.contract import EngineStore
from perdure.stores.mongo import inspection
from perdure.stores.mongo.address import read_address
from perdure.stores.mongo.store import MongoStore
from perdure.testing.conformance import StoreConformance
from servers.mongo import Mongo
from tests.stores.test_differential import STEPS, live_alike

UNREAD = "?assume_durable=yes"
"""The servers of tests do not say what they write to disk."""


class MongoConformance(StoreConformance):
    row_bytes_max = 2_000_000
    shards = 1
    server: Mongo

    async def make(self, directory: Path) -> EngineStore:
        self.server.clear()
        return self.store()

    async def succeed(self, store: EngineStore) -> EngineStore:
        assert isinstance(store, MongoStore)
        await store.emptied()
        await store.close()
        self.server.expire_leases()
        return self.store()

    async def arrived(self, store: EngineStore) -> None:
        assert isinstance(store, MongoStore)
        await store.emptied()

    def store(self) -> MongoStore:
        address = read_address(self.server.url(f"{UNREAD}&shards={self.shards}&lease=2"))
        return MongoStore(address, row_bytes_max=self.row_bytes_max)


@pytest.mark.long
class TestMongoStore(MongoConformance):
    @pytest.fixture(autouse=True)
    def _server(self, mongo: Mongo) -> None:
        self.server = mongo


@pytest.mark.mongo
class TestMongoStoreOfManyShards(TestMongoStore):
    shards = 7


@pytest.mark.mongo
class TestMongoStoreOnFerretDB(MongoConformance):
    """It shares no code with the server of `make test`, and is wrong elsewhere, as is the next."""

    shards = 3

    @pytest.fixture(autouse=True)
    def _server(self, ferretdb: Mongo, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = ferretdb
        monkeypatch.setattr(inspection, "check_conditions", nothing)

    def test_of_two_that_append_to_the_audit_log_at_once_one_has_to_try_again(self, tmp_path: Path) -> None:
        """They all win there, which is why no store is made on it."""


async def nothing(_: object) -> None:
    """Believe the server."""


@pytest.mark.mongo
def test_a_server_on_which_several_win_is_refused(ferretdb: Mongo) -> None:
    with ferretdb.client() as client:
        client.shop.perdure_layout.delete_many({})
    store = MongoStore(read_address(ferretdb.url(UNREAD)))
    with pytest.raises(StoreNotUsable, match="no lease would hold"):
        asyncio.run(store.open())


@pytest.mark.mongo
class TestMongoStoreOnJavaServer(MongoConformance):
    @pytest.fixture(autouse=True)
    def _server(self, java_mongo: Mongo) -> None:
        self.server = java_mongo


def live_as_the_oracle(server: Mongo, seed: int, steps: int, every: int = 10) -> None:
    server.clear()

    async def lose_owner(_: EngineStore) -> None:
        server.expire_leases()

    store = MongoStore(read_address(server.url(f"{UNREAD}&shards=1")))
    asyncio.run(live_alike(store, seed, lose_owner, steps, every))


@pytest.mark.long
def test_it_lives_the_same_life_as_the_store_in_plain_dicts(mongo: Mongo) -> None:
    live_as_the_oracle(mongo, 5, 100)


@pytest.mark.mongo
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(10))
def test_it_lives_ten_thousand_steps_as_the_store_in_plain_dicts(java_mongo: Mongo, seed: int) -> None:
    """On the fastest of the servers. All is read as often as on MariaDB, because reading it is most of the time."""
    live_as_the_oracle(java_mongo, seed, STEPS, every=25)


@pytest.mark.mongo
@pytest.mark.timeout(300)
def test_it_lives_five_hundred_on_the_slowest(ferretdb: Mongo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "check_conditions", nothing)
    live_as_the_oracle(ferretdb, 77, 500)
