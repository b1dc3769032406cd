"""Two versions of Perdure live on one store: up, back again, killed while migrating, and both at once."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from perdure import Client, InstanceNotFound
from perdure.app import open_store
from perdure.stores.contract import FORMAT, EngineStore, Inspected, shard_number
from servers.mariadb import MariaDb
from servers.postgres import PostgresServer
from servers.valkey import Valkey
from tests.upgrade.next_version import BORN, HALF_WAY, NEXT_FORMAT, SOURCES
from tests.upgrade.node import SECONDS_MAX, Node, command, wait_until
from tests.upgrade.program import APP, STEPS

JOURNEYS = 4
"""How many each version starts."""
CLUSTER = "lease=2&shards=8"
"""What an address says to several nodes of a test."""


class Road:
    """A store, the ledger of what was done on it, and whoever is at work."""

    def __init__(self, url: str, folder: Path, next_version: Path, stack: ExitStack) -> None:
        self.url = url
        self.ledger = folder / "ledger"
        self.ledger.touch()
        self._next_version = next_version
        self._stack = stack

    def old(self) -> Node:
        return self._node(SOURCES)

    def new(self) -> Node:
        return self._node(self._next_version)

    def _node(self, sources: Path) -> Node:
        node = Node(sources, self.url, self.ledger)
        self._stack.callback(node.close)
        return node

    def format(self) -> int:
        store = open_store(self.url, read_only=True)
        assert isinstance(store, Inspected)
        return asyncio.run(store.check()).format

    def tell(self, ids: list[str], event: str) -> None:
        async def play() -> None:
            async with Client(self.url, app_id=APP) as client:
                for id in ids:
                    await client.get(id).raise_event(event)

        asyncio.run(play())

    def wait_for_status(self, ids: list[str], status: str) -> None:
        async def told(client: Client, id: str) -> object:
            try:
                return (await client.get(id).state()).custom_status
            except InstanceNotFound:
                return None  # because the node has only been told to start it

        async def play() -> None:
            async with asyncio.timeout(SECONDS_MAX), Client(self.url, app_id=APP) as client:
                for id in ids:
                    while await told(client, id) != status:
                        await asyncio.sleep(0.02)

        asyncio.run(play())

    def results(self, ids: list[str]) -> dict[str, list[str]]:
        async def play() -> dict[str, list[str]]:
            async with Client(self.url, app_id=APP) as client:
                return {id: await client.get(id).result(SECONDS_MAX) for id in ids}

        return asyncio.run(play())

    def born(self, ids: list[str]) -> set[object]:
        """What the heads say of the version that made them."""

        async def play() -> set[object]:
            store: EngineStore = open_store(self.url)
            await store.open()
            shards = await store.shards(APP)
            heads = [await store.head(shards[shard_number(id, len(shards))], id) for id in ids]
            await store.close()
            return {None if head is None else head.more.get("born") for head in heads}

        return asyncio.run(play())


@contextmanager
def road(url: str, folder: Path, next_version: Path) -> Iterator[Road]:
    with ExitStack() as stack:
        yield Road(url, folder, next_version, stack)


def up_and_back(road: Road) -> None:
    """Old nodes begin; a new one joins, and goes on alone after one was killed; old ones end what both have begun."""
    old_ids = [f"old-{number}" for number in range(JOURNEYS)]
    new_ids = [f"new-{number}" for number in range(JOURNEYS)]
    ids = old_ids + new_ids

    killed, leaving = road.old(), road.old()
    killed.start(old_ids)
    road.wait_for_status(old_ids, "at one")
    assert road.format() == FORMAT

    new = road.new()
    assert road.format() == NEXT_FORMAT
    new.start(new_ids)
    road.wait_for_status(ids, "at one")
    early, late = ids[::2], ids[1::2]
    road.tell(early, "one")
    road.wait_for_status(early, "at two")

    killed.kill()
    leaving.leave()
    road.tell(late, "one")
    road.wait_for_status(ids, "at two")

    back = road.old()
    new.leave()
    road.tell(ids, "two")
    results = road.results(ids)
    back.leave()

    assert road.format() == NEXT_FORMAT
    for steps in results.values():
        assert [step.split(" by ")[0] for step in steps] == [*STEPS]
    by = Counter(step.split(" by ")[1] for steps in results.values() for step in steps)
    assert set(by) == {str(FORMAT), str(NEXT_FORMAT)}
    done = Counter(road.ledger.read_text().splitlines())
    assert done == Counter(f"{id} {step}" for id in ids for step in STEPS)
    assert road.born(new_ids) == {BORN}
    assert road.born(old_ids) == {None}


def two_at_once(url: str, next_version: Path) -> None:
    """Both end well; the caller looks how often the steps were done."""
    both = [command(next_version, "store", "migrate", url) for _ in range(2)]
    for one in both:
        said, _ = one.communicate(timeout=SECONDS_MAX)
        assert one.returncode == 0, said
        assert f"format {NEXT_FORMAT}" in said


def killed_half_way(road: Road, halting: Path, is_half_way: Callable[[str], bool]) -> None:
    """An old node is at work when a migration of the next version is killed; then a whole one is made.

    `is_half_way` is asked with what the migration has said.
    """
    old = road.old()
    old.start(["one"])
    road.wait_for_status(["one"], "at one")
    said = road.ledger.with_name("migration.log")
    with said.open("wb") as log:
        dying = command(halting, "store", "migrate", road.url, stdout=log)
    wait_until(lambda: is_half_way(said.read_text()), said)
    dying.kill()
    dying.wait()
    assert road.format() == FORMAT

    road.tell(["one"], "one")
    road.wait_for_status(["one"], "at two")
    new = road.new()
    assert road.format() == NEXT_FORMAT
    road.tell(["one"], "two")
    assert len(road.results(["one"])["one"]) == len(STEPS)
    old.leave()
    new.leave()


class TestSqlite:
    """An owner and a standby share a file."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "store.db"

    @pytest.mark.long
    def test_up_and_back(self, file: Path, tmp_path: Path, next_version: Path) -> None:
        with road(f"sqlite:///{file}", tmp_path, next_version) as found:
            up_and_back(found)
        assert looked(file, "select distinct region from perdure_head") == [("here",)]

    @pytest.mark.long
    def test_killed_half_way(self, file: Path, tmp_path: Path, next_version: Path, halting_version: Path) -> None:
        with road(f"sqlite:///{file}", tmp_path, next_version) as found:
            killed_half_way(found, halting_version, lambda said: HALF_WAY in said)

    @pytest.mark.long
    def test_two_at_once(self, file: Path, next_version: Path) -> None:
        migrated(f"sqlite:///{file}")
        two_at_once(f"sqlite:///{file}", next_version)
        assert looked(file, "select value from perdure_meta where key = 'steps'") == [("1",)]


@pytest.mark.long
class TestPostgres:
    @pytest.fixture
    def url(self, postgres_server: PostgresServer) -> str:
        return postgres_server.address(options=f"?unsafe=fsync&{CLUSTER}")

    def test_up_and_back(self, url: str, postgres_server: PostgresServer, tmp_path: Path, next_version: Path) -> None:
        with road(url, tmp_path, next_version) as found:
            up_and_back(found)
        assert postgres_server.execute("select distinct region from perdure_head") == "here"

    def test_killed_half_way(
        self, url: str, postgres_server: PostgresServer, tmp_path: Path, next_version: Path, halting_version: Path
    ) -> None:
        sleeping = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
        with road(url, tmp_path, next_version) as found:
            killed_half_way(found, halting_version, lambda _: postgres_server.execute(sleeping) == "1")

    def test_two_at_once(self, url: str, postgres_server: PostgresServer, next_version: Path) -> None:
        migrated(url)
        two_at_once(url, next_version)
        assert postgres_server.execute("select value from perdure_meta where key = 'steps'") == "1"


@pytest.mark.mariadb
class TestMariaDb:
    @pytest.fixture
    def url(self, mariadb_server: MariaDb) -> str:
        return mariadb_server.url(mariadb_server.database()) + f"?{CLUSTER}"

    def test_up_and_back(self, url: str, tmp_path: Path, next_version: Path) -> None:
        with road(url, tmp_path, next_version) as found:
            up_and_back(found)

    def test_killed_half_way(
        self, url: str, mariadb_server: MariaDb, tmp_path: Path, next_version: Path, halting_version: Path
    ) -> None:
        sleeping = "select count(*) from information_schema.processlist where info = 'select sleep(60)'"
        with road(url, tmp_path, next_version) as found:
            killed_half_way(found, halting_version, lambda _: mariadb_server.run(sleeping)[0][0] == 1)

    def test_two_at_once(self, url: str, mariadb_server: MariaDb, next_version: Path) -> None:
        migrated(url)
        two_at_once(url, next_version)
        database = urlsplit(url).path[1:]
        assert mariadb_server.run("select value from perdure_meta where `key` = 'steps'", database=database) == [("1",)]


@pytest.mark.long
class TestValkey:
    """A migration is the one call that writes the number, so none is killed half way."""

    def test_up_and_back(self, valkey_server: Valkey, tmp_path: Path, next_version: Path) -> None:
        with road(valkey_server.url(f"?accept_durability=C&{CLUSTER}"), tmp_path, next_version) as found:
            up_and_back(found)

    def test_two_at_once(self, valkey_server: Valkey, next_version: Path) -> None:
        url = valkey_server.url("?accept_durability=C")
        migrated(url)
        two_at_once(url, next_version)


def migrated(url: str) -> None:
    """Let this version make a store."""

    async def play() -> None:
        store = open_store(url)
        await store.open()
        await store.close()

    asyncio.run(play())


def looked(file: Path, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(file)
    found = connection.execute(sql).fetchall()
    connection.close()
    return found
