"""Which address, server and layout of tables are taken, and what people see there."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from perdure import app
from perdure.errors import (
    InvalidArgument,
    StoreNotUsable,
    StoreOwned,
    StoreUnavailable,
    StoreVersion,
    UnknownConfiguration,
)
from perdure.stores.contract import FORMAT, Checkup, Member
from perdure.stores.sql.cluster import ClusterStore
from perdure.stores.sql.mysql import open_store
from perdure.stores.sql.mysql.address import read_address
from perdure.stores.sql.mysql.trust import check_server
from perdure.testing.conformance import APP, Scene, a_call, a_head
from servers.mariadb import MariaDb
from tests.stores.mysql.places import database_of
from tests.stores.on_servers import nodes, opened, told

pytestmark = pytest.mark.mariadb


class TestAddress:
    @pytest.mark.parametrize(
        "url",
        [
            "mysql://",
            "mysql://host",
            "mysql://host/shop",
            "mysql:///shop",
            "postgresql://u@host/shop",
            "mysql://u@h:x/s",
        ],
    )
    def test_refuses_what_is_none(self, url: str) -> None:
        with pytest.raises(InvalidArgument, match=r"write mysql://user:password@host:3306/database"):
            open_store(url)

    @pytest.mark.parametrize(
        "option", ["mode=ro", "shards=0", "shards=many", "lease=0.5", "lease=x", "tls=yes", "unsafe=all", "socket="]
    )
    def test_refuses_options_that_do_not_exist(self, option: str) -> None:
        with pytest.raises(UnknownConfiguration, match=option.split("=", maxsplit=1)[0]):
            open_store(f"mysql://user@host/shop?{option}")

    def test_never_shows_the_password(self) -> None:
        address = "mysql://ada:se%20cret@db.example:3307/shop"
        assert repr(open_store(address)) == "<ClusterStore mysql db.example:3307/shop, closed>"
        assert read_address(address).password == "se cret"
        with pytest.raises(UnknownConfiguration) as refused:
            open_store(address + "?mode=ro")
        assert "cret" not in str(refused.value)

    def test_of_a_socket(self, server: MariaDb, address: str) -> None:
        socket = server.directory / "socket"
        server.run("create user if not exists 'local'@'localhost'", "grant all on `perdure%`.* to 'local'@'localhost'")
        unsafe = address.partition("?")[2]
        opened(f"mysql://local@/{database_of(address)}?socket={socket}&{unsafe}")

    def test_no_driver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [name for name in sys.modules if name.startswith("perdure.stores.sql.mysql")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr("perdure.stores.sql.mysql")
        monkeypatch.setitem(sys.modules, "asyncmy", None)
        with pytest.raises(InvalidArgument, match=r'pip install "perdure\[mysql\]"'):
            app.open_store("mysql://user@host/shop")


SAFE = {
    **{"version": "10.11.6-MariaDB", "version_comment": "Debian 12", "max_allowed_packet": "16777216"},
    **{"innodb_flush_log_at_trx_commit": "1", "sync_binlog": "0", "innodb_doublewrite": "ON", "log_bin": "OFF"},
    **{"innodb_flush_method": "fsync", "binlog_format": "MIXED", "read_only": "OFF", "wsrep_on": "OFF"},
}

MYSQL = {"version": "8.0.36", "version_comment": "MySQL Community Server - GPL"}


class TestTrust:
    """What makes a store unsafe, or impossible, is refused at open, with what to change."""

    def test_a_server_that_is_safe(self) -> None:
        check_server(SAFE, "here", (), writes=True)
        check_server({**SAFE, **MYSQL, "super_read_only": "OFF"}, "here", (), writes=True)

    @pytest.mark.parametrize(
        "settings, advice",
        [
            ({"innodb_flush_log_at_trx_commit": "2"}, "set it to 1"),
            ({"log_bin": "ON"}, "has sync_binlog = 0, so the newest commits may be lost"),
            ({"innodb_doublewrite": "OFF"}, "set it to ON"),
            ({"innodb_flush_method": "nosync"}, "set it to fsync"),
        ],
    )
    def test_a_setting_that_loses_commits(self, settings: dict[str, str], advice: str) -> None:
        with pytest.raises(StoreNotUsable, match=advice) as refused:
            check_server({**SAFE, **settings}, "here", (), writes=True)
        named = str(refused.value).split("?unsafe=")[1].split(" ")[0]
        check_server({**SAFE, **settings}, "here", (named,), writes=True)
        check_server({**SAFE, **settings}, "here", (), writes=False)

    @pytest.mark.parametrize(
        "settings, advice",
        [
            ({"version": "10.5.9-MariaDB"}, r"needs 10\.6 or later"),
            ({"version": "5.7.44", "version_comment": "MySQL"}, r"needs 8\.0\.17 or later"),
            ({"wsrep_on": "ON"}, "use a single primary"),
            (
                {"group_replication_group_name": "g", "group_replication_single_primary_mode": "OFF"},
                "set group_replication_single_primary_mode to ON",
            ),
            ({"max_allowed_packet": "65536"}, "set max_allowed_packet"),
            ({"read_only": "ON"}, "name the primary"),
            ({"super_read_only": "ON"}, "name the primary"),
            ({"innodb_read_only": "ON"}, "name the primary"),
            ({"log_bin": "ON", "sync_binlog": "1", "binlog_format": "STATEMENT"}, "set binlog_format to ROW"),
        ],
    )
    def test_a_server_that_cannot_hold_a_store(self, settings: dict[str, str], advice: str) -> None:
        with pytest.raises((StoreNotUsable, StoreVersion), match=advice):
            check_server({**SAFE, **settings}, "here", SAFE, writes=True)

    def test_settings_are_those_of_the_server(self, server: MariaDb, address: str) -> None:
        with pytest.raises(StoreNotUsable, match="innodb_flush_log_at_trx_commit = 0"):
            opened(address.partition("?")[0])
        server.run("set global read_only = on")
        try:
            with pytest.raises(StoreNotUsable, match="as a replica is"):
                opened(address)
        finally:
            server.run("set global read_only = off")

    def test_a_user_without_rights(self, server: MariaDb, address: str) -> None:
        name = database_of(address)
        server.run("create or replace user 'guest'@'127.0.0.1'", f"grant select, create on {name}.* to guest@127.0.0.1")
        guest = f"mysql://guest@{address.rpartition('@')[2]}"
        with pytest.raises(StoreNotUsable, match=r"too few rights in .*; grant select, insert"):
            opened(guest)
        opened(address)
        with pytest.raises(StoreNotUsable, match="too few rights"):
            opened(guest)

    def test_a_wrong_user_password_database_or_host(self, server: MariaDb, address: str) -> None:
        with pytest.raises(StoreNotUsable, match="refuses the user or the password"):
            opened(address.replace("mysql://perdure:", "mysql://perdure:x"))
        with pytest.raises(StoreNotUsable, match="refuses the user or the password"):
            opened(address.replace("mysql://perdure", "mysql://nobody"))
        with pytest.raises(StoreNotUsable, match="create the database"):
            opened(server.url("perdure_missing"))
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            opened("mysql://user@127.0.0.1:1/shop")


class TestMigration:
    @pytest.mark.parametrize("done", [1, 5, 14, 17, 20])
    def test_one_that_ends_half_way_is_ended_by_the_next(
        self, address: str, done: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """MySQL ends a transaction at each statement of a schema, so what was made is there."""
        whole = words_of_migration(monkeypatch, done)
        with pytest.raises(StoreUnavailable):
            opened(address)
        monkeypatch.setattr("perdure.stores.sql.mysql.database.MIGRATIONS", whole)
        opened(address)

        async def story(store: ClusterStore) -> None:
            scene = await Scene.of(store)
            await scene.start("a")

        told(address, story)

    def test_a_layout_that_others_could_not_live_with_waits_until_they_are_gone(
        self, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def play() -> None:
            async with nodes(address, 1) as (first,):
                await first.beat(APP, Member("old"), [])
                for name in ("stores.layout", "stores.sql.mysql.database"):
                    monkeypatch.setattr(f"perdure.{name}.FORMAT", 99)
                    monkeypatch.setattr(f"perdure.{name}.OLDEST", 99)
                monkeypatch.setattr("perdure.stores.sql.mysql.database.MIGRATIONS", ((99, ()),))
                with pytest.raises(StoreOwned, match=r"at work \(old\), which cannot go on"):
                    await asyncio.to_thread(opened, address)
                await first.leave(APP, "old")
                await asyncio.to_thread(opened, address)
                monkeypatch.undo()
                with pytest.raises(StoreVersion, match="install a later perdure"):
                    await asyncio.to_thread(opened, address)

        asyncio.run(play())

    def test_a_later_format_is_refused_unless_it_suffers_this_version(self, server: MariaDb, address: str) -> None:
        opened(address)
        server.run("update perdure_meta set value = '99' where `key` = 'format'", database=database_of(address))
        opened(address)
        server.run("update perdure_meta set value = '98' where `key` = 'oldest'", database=database_of(address))
        with pytest.raises(StoreVersion, match="install a later perdure"):
            opened(address)


def words_of_migration(monkeypatch: pytest.MonkeyPatch, done: int) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """Let the process be killed after so many statements of the migration; the whole migration."""
    from perdure.stores.sql.mysql.schema import MIGRATIONS

    cut = []
    for reached, step in MIGRATIONS:
        killed = done < len(step)
        cut.append((reached, (*step[:done], "kill connection_id()") if killed else step))
        if killed:
            break
        done -= len(step)
    monkeypatch.setattr("perdure.stores.sql.mysql.database.MIGRATIONS", tuple(cut))
    return MIGRATIONS


class TestCheckup:
    def test_says_what_the_server_is_and_what_is_wrong_with_it(self, server: MariaDb, address: str) -> None:
        async def play(address: str) -> Checkup:
            return await open_store(address).check()

        before = asyncio.run(play(address))
        assert before.product.startswith("MariaDB 1")
        assert (before.format, before.durability[0]) == (0, "C")
        assert ["perdure store migrate" in told for told in before.wrong] == [True]
        unnamed = asyncio.run(play(address.partition("?")[0]))
        assert any("set it to 1, or accept that" in told for told in unnamed.wrong)
        opened(address)
        after = asyncio.run(play(address))
        assert (after.format, after.wrong) == (FORMAT, [])

    def test_says_how_large_it_is(self, address: str) -> None:
        async def story(store: ClusterStore) -> None:
            size = await store.size()
            assert size is not None
            assert size > 100_000

        told(address, story)


class TestViews:
    def test_people_read_them(self, server: MariaDb, address: str) -> None:
        async def story(store: ClusterStore) -> None:
            scene = await Scene.of(store)
            long = "x" * 300
            await scene.start(
                long,
                a_head(long, tags={"k": "v"}, created=1_000_001),
                segment=b'[{"type":"WorkflowStarted"},{"type":"TimerSet","at":5}]',
                opened=[a_call(1, due=2_000_000)],
            )

        told(address, story)

        def asked(sql: str) -> list[Any]:
            return server.run(sql, database=database_of(address))

        long = "x" * 300
        assert asked("select id, status, created, json_value(tags, '$.k'), turns from perdure_instances") == [
            (long, "running", "1970-01-01T00:00:01.000001Z", "v", 1)
        ]
        assert asked("select instance, position, type, json_value(event, '$.at') from perdure_events") == [
            (long, 0, "WorkflowStarted", None),
            (long, 1, "TimerSet", "5"),
        ]
        assert asked("select instance, kind, name, due from perdure_waits") == [
            (long, "activity", "charge", "1970-01-01T00:00:02.000000Z")
        ]
