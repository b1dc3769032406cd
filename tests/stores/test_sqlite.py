"""SQLite keeps the contract, and its own promises about files, locks, disks and processes."""

from pathlib import Path

from perdure.stores.contract import EngineStore
from perdure.stores.sql.runner import InlineRunner
from perdure.stores.sql.sqlite import SqliteDatabase
from perdure.stores.sql.store import SqlStore
from perdure.testing.conformance import StoreConformance


class TestSqliteStore(StoreConformance):
    row_bytes_max = 2_000_000

    async def make(self, directory: Path) -> EngineStore:
        self.path = directory / "store.db"
        return self.store()

    async def succeed(self, store: EngineStore) -> EngineStore:
        await store.close()
        return self.store()

    def store(self) -> SqlStore:
        return SqlStore(SqliteDatabase(self.path, row_bytes_max=self.row_bytes_max))


class TestSqliteStoreInline(TestSqliteStore):
    def store(self) -> SqlStore:
        return SqlStore(SqliteDatabase(self.path, row_bytes_max=self.row_bytes_max), InlineRunner)
