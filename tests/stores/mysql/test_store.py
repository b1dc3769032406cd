"""MySQL's dialect keeps the contract on MariaDB, and ids are what they are in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from perdure.stores.contract import EngineStore, Segment
from perdure.stores.sql.cluster import ClusterStore
from perdure.stores.sql.mysql import words
from perdure.stores.sql.mysql.address import read_address
from perdure.stores.sql.mysql.database import MysqlDatabase
from perdure.testing.conformance import Scene, StoreConformance, a_call, a_creation
from servers.mariadb import MariaDb
from tests.stores.on_servers import told

pytestmark = pytest.mark.mariadb


class TestMysqlStore(StoreConformance):
    row_bytes_max = 2_000_000
    shards = 7
    database: ClassVar[str | None] = None

    @pytest.fixture(autouse=True)
    def emptied(self, server: MariaDb) -> None:
        """One database for all tests, because a new one for each would take far longer."""
        self.server = server
        self.stores: list[ClusterStore] = []
        if self.database is None:
            type(self).database = server.database()
        else:
            server.empty(self.database)

    async def play(self, directory: Path, test: Any) -> None:
        try:
            await super().play(directory, test)
        finally:
            for store in self.stores:
                await store.close()

    async def make(self, directory: Path) -> EngineStore:
        return self.store()

    async def succeed(self, store: EngineStore) -> EngineStore:
        self.server.run("update perdure_shard set until = 0", database=self.database)
        return self.store()

    def store(self) -> ClusterStore:
        address = read_address(self.server.url(str(self.database), f"shards={self.shards}"))
        store = ClusterStore(MysqlDatabase(address, row_bytes_max=self.row_bytes_max))
        self.stores.append(store)
        return store


class TestMysqlStoreOfOneShard(TestMysqlStore):
    shards = 1
    database = None


class TestKeys:
    """Ids of any length have keys of their own, which fit into an index."""

    def test_short_ones_stand_for_themselves(self) -> None:
        assert words.key("ü" * words.KEY_CHARACTERS_MAX) == "ü" * words.KEY_CHARACTERS_MAX

    def test_long_ones_differ_from_each_other_and_from_all_short_ones(self) -> None:
        ids = ["x" * length for length in range(150, 1_200)] + ["x" * 1_000 + letter for letter in "abc"]
        keys = {words.key(id) for id in ids}
        assert len(keys) == len(ids)
        assert max(map(len, keys)) == words.KEY_CHARACTERS_MAX + 1
        assert words.key(words.key("x" * 500)) != words.key("x" * 500)

    def test_ids_that_differ_in_case_accent_or_blanks_are_several(self, address: str) -> None:
        ids = ["a", "A", "á", "a ", " a", "a\0", "\uff41", "ss", "ß", "x" * 500, "x" * 500 + " ", "X" * 500]

        async def story(store: ClusterStore) -> None:
            scene = await Scene.of(store)
            for id in ids:
                await scene.create(a_creation(id))
                assert [delivery.value for delivery in await scene.deliver(id, *ids)] == ["delivered"] * len(ids)
            for id in ids:
                assert (await scene.head(id)).id == id
                assert await scene.keys(id) == ["start e1", *ids]
            assert sorted(await scene.find()) == sorted(ids)

        told(address, story)

    @pytest.mark.parametrize(
        "text",
        ["'", "''", "\\", "\\'", "';drop table perdure_head;--", "\0'\x1a\n\r", "🚀'", "'" * 5_000, "%s{0}?1?2k"],
    )
    def test_any_text_comes_back(self, address: str, text: str) -> None:
        async def story(store: ClusterStore) -> None:
            scene = await Scene.of(store)
            event = msgspec.json.encode([text])
            await scene.start("a", segment=event, opened=[a_call(1, line=text, name=text)])
            loaded = await scene.load("a")
            assert loaded.segments == [Segment(1, event)]
            assert (loaded.waits[0].line, loaded.waits[0].name) == (text, text)

        told(address, story)
