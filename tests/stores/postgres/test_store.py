"""PostgreSQL keeps the contract, and its own promises about servers, nodes and what comes between them."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure import app
from perdure.errors import (
    InvalidArgument,
    StoreFull,
    StoreNotUsable,
    StoreOwned,
    StoreUnavailable,
    StoreVersion,
    UnknownConfiguration,
)
from perdure.stores.contract import OFFERED, Delivery, EngineStore, Member, Outcome, Published
from perdure.stores.sql.cluster import ClusterStore
from perdure.stores.sql.connection import Connection
from perdure.stores.sql.postgres import link, open_store, schema, words
from perdure.stores.sql.postgres.address import read_address
from perdure.stores.sql.postgres.database import PostgresDatabase
from perdure.stores.sql.runner import ThreadRunner
from perdure.testing.conformance import APP, Scene, StoreConformance, a_call, a_creation, a_head, a_mail
from servers.postgres import PostgresServer
from servers.wire import Wire
from tests.stores.on_servers import SECONDS, OnServers, nodes, opened, told
from tests.stores.postgres.places import EMPTY, Execute, expire
from tests.stores.test_differential import live_alike


class CountingRunner(ThreadRunner):
    """Counts the pieces of work of all runners."""

    runs = 0

    async def run(self, work: Callable[..., Any], *args: Any) -> Any:
        CountingRunner.runs += 1
        return await super().run(work, *args)


class TestPostgresStore(StoreConformance):
    row_bytes_max = 2_000_000

    @pytest.fixture(autouse=True)
    def database(self, server: PostgresServer) -> Iterator[None]:
        self.address = server.address(user="suite", options="?unsafe=fsync&lease=1")
        server.execute(EMPTY, user="suite")
        self.stores: list[ClusterStore] = []
        yield
        asyncio.run(self.close())

    async def close(self) -> None:
        for store in self.stores:
            await store.close()

    async def make(self, directory: Path) -> EngineStore:
        return self.store()

    async def succeed(self, store: EngineStore) -> EngineStore:
        successor = self.store()
        await successor.open()
        await successor._write(lambda connection: connection.script("update perdure_shard set until = 0"))
        await successor.close()
        return successor

    def store(self) -> ClusterStore:
        store = ClusterStore(PostgresDatabase(read_address(self.address), row_bytes_max=self.row_bytes_max))
        self.stores.append(store)
        return store


class TestAddress:
    @pytest.mark.parametrize(
        "url",
        ["postgresql://", "postgresql://host", "postgres:///shop", "mysql://host/shop", "postgres://host:port/shop"],
    )
    def test_refuses_what_is_none(self, url: str) -> None:
        with pytest.raises(InvalidArgument, match=r"write postgresql://user:password@host:5432/database"):
            open_store(url)

    @pytest.mark.parametrize(
        "option",
        [
            "mode=ro",
            "shards=0",
            "shards=many",
            "lease=0.5",
            "lease=x",
            "sslmode=yes",
            "tls=yes",
            "tls_ca=x",
            "sslmode=require&tls=off",
            "unsafe=all",
            "direct=",
        ],
    )
    def test_refuses_options_that_do_not_exist(self, option: str) -> None:
        with pytest.raises(UnknownConfiguration, match=option.split("=", maxsplit=1)[0]):
            open_store(f"postgres://host/shop?{option}")

    def test_never_shows_the_password(self) -> None:
        address = "postgresql://ada:se%20cret@db.example:6432/shop"
        assert repr(open_store(address)) == "<ClusterStore postgresql db.example:6432/shop, closed>"
        assert read_address(address).password == "se cret"
        with pytest.raises(UnknownConfiguration) as refused:
            open_store(address + "?mode=ro")
        assert "cret" not in str(refused.value)


class TestTrust:
    """What makes a store unsafe, or impossible, is refused at open, with what to change."""

    def test_a_server_that_does_not_fsync(self, address: str) -> None:
        with pytest.raises(StoreNotUsable, match=r"set it to on, or accept that with \?unsafe=fsync"):
            opened(address.partition("?")[0])

    @pytest.mark.parametrize(
        "setting, advice",
        [
            ("synchronous_commit = off", "set it to on"),
            ("default_transaction_read_only = on", "default_transaction_read_only to off"),
            ("search_path = nowhere", "has no schema"),
        ],
    )
    def test_a_setting_of_the_database(
        self, execute: Execute, user: str, address: str, setting: str, advice: str
    ) -> None:
        execute(f"alter role {user} set {setting}")
        with pytest.raises(StoreNotUsable, match=advice):
            opened(address)

    def test_another_encoding(self, server: PostgresServer) -> None:
        server.execute("create database latin encoding latin1 template template0 locale 'C'")
        with pytest.raises(StoreNotUsable, match="create a database with encoding UTF8"):
            opened(server.address("latin", options="?unsafe=fsync"))

    def test_a_user_without_rights(self, server: PostgresServer) -> None:
        server.execute("create role guest login")
        with pytest.raises(StoreNotUsable, match="grant create on schema public to guest"):
            opened(server.address(user="guest", options="?unsafe=fsync"))

    def test_a_wrong_user_database_or_host(self, server: PostgresServer) -> None:
        with pytest.raises(StoreNotUsable, match="put user and password right"):
            opened(server.address(user="nobody"))
        with pytest.raises(StoreNotUsable, match="create it, or name another"):
            opened(server.address("missing"))
        with pytest.raises(StoreUnavailable, match="start the server there, or put host, port and tls right"):
            opened("postgresql://127.0.0.1:1/shop")

    def test_no_driver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [name for name in sys.modules if name.startswith("perdure.stores.sql.postgres")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr("perdure.stores.sql.postgres")
        monkeypatch.setitem(sys.modules, "asyncpg", None)
        with pytest.raises(InvalidArgument, match=r'pip install "perdure\[postgres\]"'):
            app.open_store("postgresql://host/shop")


class TestMigration:
    def test_one_that_ends_half_way_leaves_nothing(
        self, execute: Execute, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(schema.MIGRATIONS, 99, "create table perdure_half (); select 1 / 0")
        with pytest.raises(InvalidArgument, match="division by zero"):
            opened(address)
        assert (
            execute("select count(*) from pg_tables where schemaname = current_schema() and tablename like 'perdure%'")
            == "0"
        )
        monkeypatch.delitem(schema.MIGRATIONS, 99)
        opened(address)

    def test_a_layout_that_others_could_not_live_with_waits_until_they_are_gone(
        self, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def play() -> None:
            async with nodes(address, 1) as (first,):
                await first.beat(APP, Member("old"), [])
                for name in ("stores.layout", "stores.sql.postgres.database"):
                    monkeypatch.setattr(f"perdure.{name}.FORMAT", 99)
                    monkeypatch.setattr(f"perdure.{name}.OLDEST", 99)
                with pytest.raises(StoreOwned, match=r"at work \(old\), which cannot go on"):
                    await asyncio.to_thread(opened, address)
                await first.leave(APP, "old")
                await asyncio.to_thread(opened, address)
                monkeypatch.undo()
                with pytest.raises(StoreVersion, match="install a later perdure"):
                    await asyncio.to_thread(opened, address)

        asyncio.run(play())

    def test_a_later_format_is_refused_unless_it_suffers_this_version(self, execute: Execute, address: str) -> None:
        opened(address)
        execute("update perdure_meta set value = '99' where key = 'format'")
        opened(address)
        assert execute("select value from perdure_meta where key = 'format'") == "99"
        execute("update perdure_meta set value = '98' where key = 'oldest'")
        with pytest.raises(StoreVersion, match="install a later perdure"):
            opened(address)

    def test_functions_of_another_version_stay_beside_its_own(self, execute: Execute, address: str) -> None:
        opened(address)
        own = words.function(words.OF_ROWS[0]).name
        execute(f"alter function {own} rename to perdure_do_other")
        opened(address)
        names = execute("select proname from pg_proc where proname like 'perdure_do_%'").split()
        assert {own, "perdure_do_other"} <= set(names)


class TestNodes(OnServers):
    unwritable_ids = (*OnServers.unwritable_ids, "a \0 in between")

    @pytest.mark.long
    def test_what_callers_ask_for_at_once_is_one_piece_of_work_for_all_shards(self, address: str) -> None:
        CountingRunner.runs = 0

        async def play() -> None:
            store = ClusterStore(PostgresDatabase(read_address(address)), CountingRunner)
            scene = await Scene.of(store)
            ids = [f"order-{number}" for number in range(200)]
            assert len({scene.shard(id) for id in ids}) > 32
            asked = [
                [store.create(scene.shard(id), a_creation(id)) for id in ids],
                [store.deliver(scene.shard(id), [a_mail(id, "m"), a_mail("nobody", "m")]) for id in ids],
                [store.load(scene.shard(id), [id, "nobody", id]) for id in ids],
            ]
            for calls in asked:
                before = CountingRunner.runs
                answers = await asyncio.gather(*calls)
                assert CountingRunner.runs - before == 1
            assert [len(loaded.mail) for (loaded,) in answers] == [2] * len(ids)
            page = await store.mail([scene.lease(id) for id in {scene.shard(id): id for id in ids}.values()])
            assert sum(letter.new is not None for letter in page) >= len(ids)
            await store.close()

        asyncio.run(play())

    def test_mail_that_nobody_takes_is_told_to_its_sender_alone(self, address: str) -> None:
        async def story(store: ClusterStore) -> None:
            scene = await Scene.of(store)
            for id in ("a", "b"):
                await scene.start(id)
            keys = [("a", "m"), ("nobody", "m"), ("a", "m"), ("b", "no \0 key"), ("b", "m")]
            sent = [a_mail(id, key) for id, key in keys]
            answers = await asyncio.gather(
                *(store.deliver(scene.shard(mail.instance), [mail]) for mail in sent), return_exceptions=True
            )
            assert answers[:3] == [[Delivery.DELIVERED], [Delivery.NO_INSTANCE], [Delivery.DUPLICATE]]
            assert isinstance(answers[3], InvalidArgument)
            assert answers[4] == [Delivery.DELIVERED]

        told(address, story)

    def test_a_hint_reaches_the_node_that_owns_the_shard(self, address: str) -> None:
        async def play() -> None:
            async with nodes(address) as (owner, other):
                scene = await Scene.of(owner)
                await scene.start("a")
                hints = owner.watch()
                await anext(hints)  # the first says that it listens from now on
                await other.deliver(scene.shard("a"), [a_mail("a", "k")])
                await anext(hints)
                assert await scene.keys("a") == ["k"]
                await hints.aclose()  # type: ignore[attr-defined]

        asyncio.run(play())

    def test_a_hint_of_calls_that_are_offered_reaches_everybody(self, address: str) -> None:
        async def play() -> None:
            async with nodes(address) as (owner, other):
                scene = await Scene.of(owner)
                await scene.start("a")
                hints = other.watch()
                await anext(hints)
                await scene.commit(scene.turn("a", 1, opened=[a_call(1)]))
                await scene.commit(scene.turn("a", 2, opened=[a_call(2, state=OFFERED)]))
                await anext(hints)
                assert [call.wait.number for call in await other.claim(APP, "n", "t", ["charge"], 9, 60.0)] == [2]
                await hints.aclose()  # type: ignore[attr-defined]

        asyncio.run(play())

    @pytest.mark.long
    def test_work_that_is_in_each_others_way_is_done_again(self, address: str) -> None:
        """Two transactions that lock two rows in opposite order are a deadlock, of which one has to give way."""
        step, tries = threading.Barrier(2), []

        def write(connection: Connection, first: str, second: str) -> None:
            tries.append(first)
            for place, id in enumerate((first, second)):
                connection.change("update perdure_head set updated = updated + 1 where id = ?1", (id,))
                if place == 0 and len(tries) <= 2:
                    step.wait(SECONDS)

        async def play() -> None:
            async with nodes(address) as stores:
                scene = await Scene.of(stores[0])
                await scene.start("a")
                await scene.start("b")
                await asyncio.gather(stores[0]._write(write, "a", "b"), stores[1]._write(write, "b", "a"))
                assert len(tries) > 2
                assert (await scene.head("a")).updated == 1_002

        asyncio.run(play())


class TestFailures:
    def test_a_lost_connection_is_an_unknown_outcome_and_the_next_call_has_another(
        self, execute: Execute, user: str, address: str
    ) -> None:
        async def story(store: ClusterStore) -> None:
            scene = await Scene.of(store)
            await scene.start("a")
            execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                f"where application_name = 'perdure' and usename = '{user}'"
            )
            with pytest.raises(StoreUnavailable):
                await scene.commit(scene.turn("a", 1), commit_id="lost")
            assert not await store.settle_unknown(scene.lease("a"), "lost")
            await scene.committed(scene.turn("a", 1))

        told(address, story)

    def test_a_commit_whose_answer_is_lost_is_found_by_its_token(self, address: str) -> None:
        async def play() -> None:
            place = read_address(address)
            async with Wire.to(place.host, place.port) as wire:
                store = open_store(address.replace(str(place.port), str(wire.port)))
                await store.open()
                scene = await Scene.of(store)
                await scene.start("a")
                # the first of its kind, so that the next is one message to the server
                await scene.committed(scene.turn("a", 1))
                wire.cut_answers()
                with pytest.raises(StoreUnavailable, match="whether a write happened is not known"):
                    await scene.commit(scene.turn("a", 2), commit_id="heard")
                wire.mend()
                assert await store.settle_unknown(scene.lease("a"), "heard")
                assert (await scene.head("a")).sequence == 3
                await store.close()

        asyncio.run(play())

    def test_a_node_that_freezes_in_a_transaction_holds_up_nobody_for_long(
        self, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(link.GUARDS, "idle_in_transaction_session_timeout", "300ms")

        async def play() -> None:
            async with nodes(address) as (frozen, other):
                scene = await Scene.of(other)
                await scene.start("a")
                holds = threading.Event()
                thaws = threading.Event()

                def freeze(connection: Connection) -> None:
                    connection.change("update perdure_head set updated = 1 where id = 'a'")
                    holds.set()
                    thaws.wait(SECONDS)
                    connection.change("update perdure_head set updated = 2 where id = 'a'")

                stuck = asyncio.create_task(frozen._write(freeze))
                await asyncio.to_thread(holds.wait)
                await scene.committed(scene.turn("a", 1))
                thaws.set()
                with pytest.raises(StoreUnavailable):
                    await stuck
                assert (await scene.head("a")).updated == 2_000

        asyncio.run(play())

    def test_a_full_disk_is_told_and_nothing_was_written(self, execute: Execute, address: str) -> None:
        async def story(store: ClusterStore) -> None:
            scene = await Scene.of(store)
            await scene.start("a")
            execute(
                "create function fill() returns trigger language plpgsql as "
                "$$ begin raise exception 'no space left on device' using errcode = '53100'; end $$; "
                "create trigger full_disk before insert on perdure_history execute function fill()",
            )
            with pytest.raises(StoreFull, match="free some and try again"):
                await scene.commit(scene.turn("a", 1, segment=b"[]"))
            execute("drop trigger full_disk on perdure_history")
            await scene.committed(scene.turn("a", 1, segment=b"[]"))

        told(address, story)

    def test_a_key_that_no_index_takes_harms_no_other(self, address: str) -> None:
        noise = random.Random(0).randbytes(8_000).hex()

        async def story(store: ClusterStore) -> None:
            scene = await Scene.of(store)
            await scene.start("a", a_head("a", tags={"long": noise}))
            assert await scene.find(tags={"long": noise}) == ["a"]
            assert await scene.find(tags={"long": noise[:-1]}) == []
            published = [Published(noise, b"1")]
            ids = ["a", next(id for id in map(str, range(9_999)) if scene.shard(id) == scene.shard("a"))]
            await scene.start(ids[1])
            turns = [scene.turn(ids[0], 1, published=published), scene.turn(ids[1], 1)]
            assert await scene.commit(*turns) == [Outcome.TOO_LARGE, Outcome.COMMITTED]

        told(address, story)


class TestViews:
    def test_people_read_them(self, execute: Execute, address: str) -> None:

        async def story(store: ClusterStore) -> None:
            scene = await Scene.of(store)
            head = a_head("a", tags={"k": "v"}, created=1_000_000)
            await scene.start("a", head, segment=b'[{"type":"WorkflowStarted"}]', opened=[a_call(1, due=2_000_000)])

        told(address, story)
        asked = "set time zone 'UTC'; select id, status, created, tags ->> 'k', turns from perdure_instances"
        assert execute(asked) == "a|running|1970-01-01 00:00:01+00|v|1"
        assert execute("select instance, position, type from perdure_events") == "a|0|WorkflowStarted"
        asked = "set time zone 'UTC'; select instance, kind, name, due from perdure_waits"
        assert execute(asked) == "a|activity|charge|1970-01-01 00:00:02+00"


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
def test_it_begins_as_the_oracle_does(address: str, seed: int) -> None:
    asyncio.run(live_alike(open_store(address + "&shards=1"), seed, expire, steps=100, every=25))


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(4))
def test_it_lives_the_life_of_the_oracle(address: str, seed: int) -> None:
    asyncio.run(live_alike(open_store(address + "&shards=1"), seed, expire, steps=2_500, every=100))
