"""SQLite keeps the contract, and its own promises about files, locks, disks and processes."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from perdure.errors import (
    InstanceExists,
    InvalidArgument,
    NotOpen,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreNotUsable,
    StoreOwned,
    StoreRolledBack,
    StoreUnavailable,
    StoreVersion,
    UnknownConfiguration,
)
from perdure.stores.contract import Batch, Delivery, EngineStore, Mail, Outcome, Query, Wait
from perdure.stores.sql import sqlite
from perdure.stores.sql.runner import InlineRunner, ThreadRunner
from perdure.stores.sql.search import Search
from perdure.stores.sql.sqlite import SqliteDatabase, file_system, open_store
from perdure.stores.sql.statements import SELECT_DUE
from perdure.stores.sql.store import SqlStore
from perdure.testing.conformance import Scene, StoreConformance, a_creation, a_mail


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


@pytest.mark.long
class TestSqliteStoreInline(TestSqliteStore):
    def store(self) -> SqlStore:
        return SqlStore(SqliteDatabase(self.path, row_bytes_max=self.row_bytes_max), InlineRunner)


def told(directory: Path, story: Callable[[SqlStore], Awaitable[None]], **options: Any) -> None:
    """Play a story with an open store in the directory."""

    async def play() -> None:
        store = SqlStore(SqliteDatabase(directory / "store.db", **options))
        await store.open()
        try:
            await story(store)
        finally:
            await store.close()

    asyncio.run(play())


def opened(path: Path, **options: Any) -> None:
    """Open and close a store at the path."""

    async def play() -> None:
        store = SqlStore(SqliteDatabase(path, **options))
        try:
            await store.open()
        finally:
            await store.close()

    asyncio.run(play())


class TestAddress:
    def test_names_a_relative_or_an_absolute_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert repr(open_store("sqlite:///shop.db")) == f"<SqlStore sqlite {tmp_path}/shop.db, closed>"
        assert repr(open_store("sqlite:////srv/a%20b.db")) == "<SqlStore sqlite /srv/a b.db, closed>"

    @pytest.mark.parametrize(
        "url", ["sqlite://", "sqlite:///", "sqlite://host/a.db", "shop.db", "mysql:///a", "sqlite:///%00"]
    )
    def test_refuses_what_is_none(self, url: str) -> None:
        with pytest.raises(InvalidArgument):
            open_store(url)

    @pytest.mark.parametrize("option", ["mode=ro", "synchronous=normal", "synchronous=off", "synchronous="])
    def test_refuses_options_that_do_not_exist(self, option: str) -> None:
        with pytest.raises(UnknownConfiguration):
            open_store(f"sqlite:///a.db?{option}")

    @pytest.mark.parametrize("option, level", [("", 2), ("?synchronous=full", 2), ("?synchronous=unsafe_normal", 1)])
    def test_decides_what_a_commit_waits_for(self, tmp_path: Path, option: str, level: int) -> None:
        async def play() -> None:
            store = open_store(f"sqlite:///{tmp_path}/a.db{option}", InlineRunner)
            await store.open()
            (found,) = await store._write(lambda connection: connection.row("pragma synchronous"))
            await store.close()
            assert found == level

        asyncio.run(play())


class TestPlace:
    def test_a_missing_directory_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(StoreNotUsable, match="create it"):
            opened(tmp_path / "missing" / "store.db")

    def test_a_directory_is_no_store(self, tmp_path: Path) -> None:
        with pytest.raises(StoreNotUsable, match="name a file"):
            opened(tmp_path)

    def test_an_unwritable_place_is_refused(self) -> None:
        # not in tmp_path, because the user that a test of root becomes could not even look there
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "open").mkdir()
            path = folder / "open" / "store.db"
            opened(path)
            path.chmod(0o444)
            (folder / "open").chmod(0o777)
            (folder / "closed").mkdir(mode=0o000)
            folder.chmod(0o555)
            script = f"""
                if os.geteuid() == 0:
                    os.setegid(65534)
                    os.seteuid(65534)
                for path in ("{folder}/store.db", "{path}", "{folder}/closed/store.db", "{folder}/closed/in/store.db"):
                    try:
                        asyncio.run(open_store("sqlite:///" + path).open())
                    except StoreNotUsable as error:
                        print(error)
            """
            try:
                folder_said, file_said, *closed_said = run(script).splitlines()
            finally:
                folder.chmod(0o755)
            assert f"{folder} is not writable" in folder_said
            assert f"{path} is not readable and writable" in file_said
            assert len(closed_said) == 2
            assert all(f"{folder}/closed" in said for said in closed_said)

    @pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p"])
    def test_a_network_file_system_is_refused(self, tmp_path: Path, kind: str) -> None:
        mounts = tmp_path / "mountinfo"
        mounts.write_text(
            "21 1 8:1 / / rw - ext4 /dev/sda rw\n"
            f"22 21 0:50 / {tmp_path} rw,relatime shared:1 - {kind} host:/export rw\n"
        )
        assert file_system(tmp_path / "store.db", mounts) == kind.removeprefix("fuse.")
        assert file_system(Path("/elsewhere/store.db"), mounts) == "ext4"
        with pytest.raises(StoreNotUsable, match="network file system"):
            opened(tmp_path / "store.db", mounts=mounts)

    def test_another_programs_database_is_left_as_it_was(self, tmp_path: Path) -> None:
        path = tmp_path / "other.db"
        other = sqlite3.connect(path)
        other.executescript("create table perdure_meta (x); create table cake (y)")
        other.close()
        before = path.read_bytes()
        with pytest.raises((StoreNotUsable, StoreUnavailable), match=r"other\.db"):
            opened(path)
        assert path.read_bytes() == before

    def test_a_file_that_is_no_database_is_corrupt(self, tmp_path: Path) -> None:
        path = tmp_path / "store.db"
        path.write_bytes(b"no database at all " * 1_000)
        with pytest.raises(StoreCorrupt):
            opened(path)

    def test_a_later_format_is_refused_unless_it_suffers_this_version(self, tmp_path: Path) -> None:
        path = tmp_path / "store.db"
        opened(path)
        with sqlite3.connect(path) as connection:
            connection.execute("update perdure_meta set value = '99' where key = 'format'")
        opened(path)
        with sqlite3.connect(path) as connection:
            assert connection.execute("select value from perdure_meta where key = 'format'").fetchone() == ("99",)
            connection.execute("update perdure_meta set value = '98' where key = 'oldest'")
        connection.close()
        with pytest.raises(StoreVersion, match="format 99, with which programs from format 98 on"):
            opened(path)

    def test_a_format_that_the_owner_could_not_live_with_waits_until_it_is_gone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "store.db"

        async def play() -> None:
            store = open_store(f"sqlite:///{path}")
            await store.open()
            await store.acquire("shop", "old")
            for name in ("stores.layout", "stores.sql.sqlite"):
                monkeypatch.setattr(f"perdure.{name}.FORMAT", 99)
                monkeypatch.setattr(f"perdure.{name}.OLDEST", 99)
            with pytest.raises(StoreOwned, match=r"at work .*which cannot go on"):
                await asyncio.to_thread(opened, path)
            await store.close()
            await asyncio.to_thread(opened, path)

        asyncio.run(play())

    def test_an_interrupted_migration_leaves_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "store.db"
        with pytest.raises(StoreFull):
            opened(path, pages_max=5)
        with sqlite3.connect(path) as connection:
            assert connection.execute("select count(*) from sqlite_master").fetchone() == (0,)
        connection.close()
        opened(path)

    def test_many_may_open_a_new_file_at_once(self, tmp_path: Path) -> None:
        async def play() -> None:
            stores = [open_store(f"sqlite:///{tmp_path}/store.db") for _ in range(8)]
            await asyncio.gather(*(store.open() for store in stores))
            shards = await asyncio.gather(*(store.shards("shop") for store in stores))
            assert len({tuple(ids) for ids in shards}) == 1
            await asyncio.gather(*(store.close() for store in stores))

        asyncio.run(play())


class TestTrouble:
    def test_a_new_file_that_another_process_is_switching_is_waited_for(self, tmp_path: Path) -> None:
        path = tmp_path / "new.db"
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("begin exclusive")  # as `pragma journal_mode = wal` does, for a moment
        switched = threading.Timer(0.3, other.close)
        switched.start()

        async def scenario() -> None:
            store = open_store(f"sqlite:///{path}")
            await store.open()
            await store.close()

        asyncio.run(scenario())
        switched.join()

    def test_a_damaged_page_is_corrupt_and_said_so(self, tmp_path: Path) -> None:
        async def fill(store: SqlStore) -> None:
            scene = await Scene.of(store)
            for number in range(200):
                await scene.start(f"i{number}", segment=b'["' + b"x" * 3_000 + b'"]')

        told(tmp_path, fill)
        path = tmp_path / "store.db"
        data = bytearray(path.read_bytes())
        for page in range(8, len(data) // 4096, 2):
            data[page * 4096 : page * 4096 + 200] = b"\xff" * 200
        path.write_bytes(data)

        async def read(store: SqlStore) -> None:
            await store.load(1, [f"i{number}" for number in range(200)])

        with pytest.raises(StoreCorrupt):
            told(tmp_path, read)

    def test_a_full_disk_loses_nothing_and_goes_on_when_there_is_room(self, tmp_path: Path) -> None:
        async def write_on(scene: Scene) -> None:
            for number in range(1, 200):
                await scene.committed(scene.turn("a", number, segment=b'["' + b"x" * 20_000 + b'"]'))

        async def fill(store: SqlStore) -> None:
            scene = await Scene.of(store)
            await scene.start("a")
            with pytest.raises(StoreFull):
                await write_on(scene)
            head = await scene.head("a")
            assert 1 < head.sequence < 200
            segments = await store.history(scene.shard("a"), "a")
            assert [segment.sequence for segment in segments] == list(range(2, head.sequence + 1))

        async def go_on(store: SqlStore) -> None:
            scene = await Scene.of(store)
            sequence = (await scene.head("a")).sequence
            await scene.committed(scene.turn("a", sequence, segment=b'["' + b"x" * 200_000 + b'"]'))

        told(tmp_path, fill, pages_max=120)
        told(tmp_path, go_on)

    def test_after_an_io_error_the_connection_is_made_anew(self, tmp_path: Path) -> None:
        script = f"""
            async def main():
                scene = await Scene.of(open_store("sqlite:///{tmp_path}/store.db"))
                await scene.start("a")
                resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
                try:
                    large = b'["' + b"x" * 1_000_000 + b'"]'
                    await scene.commit(scene.turn("a", 1, segment=large), commit_id="lost")
                except StoreUnavailable as error:
                    print(error.code, scene.store._writer._connection is None)
                    print(await scene.store.settle_unknown(scene.lease("a"), "lost"))
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                await scene.committed(scene.turn("a", 1, segment=b"[]"))
                print((await scene.head("a")).sequence)
                await scene.store.close()
            asyncio.run(main())
        """
        assert run(script).split() == ["PERDURE-1401", "True", "False", "2"]

    def test_a_file_locked_for_too_long_is_unavailable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite, "BUSY_SECONDS_MAX", 0.05)

        async def story(store: SqlStore) -> None:
            scene = await Scene.of(store)
            await scene.start("a")
            other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
            other.execute("begin immediate")
            with pytest.raises(StoreUnavailable):
                await scene.commit(scene.turn("a", 1), commit_id="late")
            assert (await scene.head("a")).sequence == 1
            other.execute("rollback")
            other.close()
            assert not await store.settle_unknown(scene.lease("a"), "late")
            await scene.committed(scene.turn("a", 1))

        told(tmp_path, story)

    def test_rows_that_are_there_already_undo_the_whole_turn(self, tmp_path: Path) -> None:
        async def story(store: SqlStore) -> None:
            scene = await Scene.of(store)
            await scene.start("a", segment=b"[1]", opened=[Wait(1, "timer", "", 5)])
            await scene.start("b")
            before = await scene.load("a")
            twice = scene.turn("a", 1, segment=b"[2]", seen=["s"], opened=[Wait(1, "timer", "again", 5)])
            assert await scene.commit(twice, scene.turn("b", 1)) == [Outcome.CONFLICT, Outcome.COMMITTED]
            assert await scene.load("a") == before

        told(tmp_path, story)

    def test_a_closed_store_says_so(self, tmp_path: Path) -> None:
        async def play() -> None:
            store = open_store(f"sqlite:///{tmp_path}/store.db")
            with pytest.raises(NotOpen):
                await store.apps()

        asyncio.run(play())

    def test_text_that_is_not_unicode_is_the_callers_mistake(self, tmp_path: Path) -> None:
        async def story(store: SqlStore) -> None:
            shard = (await store.shards("shop"))[0]
            with pytest.raises(InvalidArgument):
                await store.create(shard, a_creation("half a \ud800"))
            await store.create(shard, a_creation("whole"))

        told(tmp_path, story)

    def test_an_older_copy_of_the_file_is_noticed(self, tmp_path: Path) -> None:
        async def story(store: SqlStore) -> None:
            leases = await store.acquire("shop", "owner")
            await store.release(leases)
            await store._write(lambda connection: connection.change("update perdure_shard set epoch = 0"))
            with pytest.raises(StoreRolledBack):
                await store.acquire("shop", "owner")

        told(tmp_path, story)

    def test_a_file_that_is_replaced_or_removed_while_it_is_open_is_noticed(self, tmp_path: Path) -> None:
        async def replaced(store: SqlStore) -> None:
            (lease,) = await store.acquire("shop", "owner")
            shutil.copy(tmp_path / "store.db", tmp_path / "copy.db")
            os.replace(tmp_path / "copy.db", tmp_path / "store.db")
            with pytest.raises(StoreRolledBack, match="replaced"):
                await store.create(lease.shard, a_creation("lost"))
            os.remove(tmp_path / "store.db")
            with pytest.raises(StoreRolledBack, match="removed"):
                await store.commit([Batch(lease, [])], "token")

        told(tmp_path, replaced)


class TestOlderCopies:
    """What the owner file remembers of a store whose newest commits somebody has taken away."""

    @staticmethod
    async def owned(store: SqlStore) -> None:
        (lease,) = await store.acquire("shop", "owner")
        await store.commit([Batch(lease, [])], os.urandom(4).hex())
        await store.release([lease])

    def keep(self, directory: Path) -> None:
        shutil.copy(directory / "store.db", directory / "copy.db")

    def put_back(self, directory: Path) -> None:
        shutil.copy(directory / "copy.db", directory / "store.db")

    def refused(self, directory: Path) -> None:
        with pytest.raises(StoreRolledBack, match=r"remove \.owner beside a file"):
            told(directory, self.owned)

    def test_a_copy_from_an_earlier_owner_is_refused_until_it_is_said_to_be_meant(self, tmp_path: Path) -> None:
        told(tmp_path, self.owned)
        self.keep(tmp_path)
        told(tmp_path, self.owned)
        self.put_back(tmp_path)
        self.refused(tmp_path)
        self.refused(tmp_path)
        os.remove(tmp_path / "store.db.owner")
        told(tmp_path, self.owned)

    def test_a_copy_from_the_same_owner_is_refused_after_it_has_closed(self, tmp_path: Path) -> None:
        async def copied_between(store: SqlStore) -> None:
            (lease,) = await store.acquire("shop", "owner")
            await store.commit([Batch(lease, [])], "first")
            with (
                closing(sqlite3.connect(tmp_path / "store.db")) as source,
                closing(sqlite3.connect(tmp_path / "copy.db")) as copy,
            ):
                source.backup(copy)
            await store.commit([Batch(lease, [])], "second")
            await store.release([lease])

        told(tmp_path, copied_between)
        self.put_back(tmp_path)
        self.refused(tmp_path)

    def test_a_log_that_is_lost_with_its_commits_is_noticed(self, tmp_path: Path) -> None:
        told(tmp_path, self.owned)

        async def killed(store: SqlStore) -> None:
            await store.acquire("shop", "owner")
            self.keep(tmp_path)  # without the log, which holds the new epoch
            shutil.copy(tmp_path / "store.db.owner", tmp_path / "owner")

        told(tmp_path, killed)
        self.put_back(tmp_path)
        os.replace(tmp_path / "owner", tmp_path / "store.db.owner")
        self.refused(tmp_path)

    def test_a_new_file_in_the_place_of_the_old_is_no_copy(self, tmp_path: Path) -> None:
        told(tmp_path, self.owned)
        os.remove(tmp_path / "store.db")
        told(tmp_path, self.owned)

    def test_a_store_that_may_lose_commits_with_the_power_is_not_held_to_them(self, tmp_path: Path) -> None:
        told(tmp_path, self.owned, synchronous="normal")
        self.keep(tmp_path)
        told(tmp_path, self.owned, synchronous="normal")
        self.put_back(tmp_path)
        told(tmp_path, self.owned, synchronous="normal")


class TestPlans:
    @pytest.mark.parametrize(
        "query, index",
        [
            (Query(), "head_by_age"),
            (Query(status=("running",)), "head_by_status"),
            (Query(name="checkout"), "head_by_name"),
            (Query(parent="p"), "head_by_parent"),
            (Query(stalled=True), "head_stalled"),
            (Query(tags={"k": "v"}, status=("running",)), "tag_by_value"),
        ],
    )
    def test_find_goes_by_an_index_and_does_not_sort(self, tmp_path: Path, query: Query, index: str) -> None:
        opened(tmp_path / "store.db")
        connection = sqlite3.connect(tmp_path / "store.db")
        connection.create_function("fold", 1, str.casefold, deterministic=True)
        search = Search(query, "shop", next(iter(query.status), None), (5, "a", 1), 10)
        plan = str(connection.execute(f"explain query plan {search.sql}", search.values).fetchall())
        connection.close()
        assert f"INDEX perdure_{index} " in plan, plan
        assert "TEMP B-TREE" not in plan, plan

    def test_waits_due_come_by_their_index(self, tmp_path: Path) -> None:
        opened(tmp_path / "store.db")
        connection = sqlite3.connect(tmp_path / "store.db")
        plan = str(connection.execute(f"explain query plan {SELECT_DUE}", (1, 9, 0, "", 0, 10)).fetchall())
        connection.close()
        assert "INDEX perdure_wait_due" in plan
        assert "TEMP B-TREE" not in plan

    def test_people_can_read_the_views(self, tmp_path: Path) -> None:
        async def story(store: SqlStore) -> None:
            scene = await Scene.of(store)
            await scene.start("a", segment=EVENTS, opened=[Wait(1, "timer", "", 5, due=1_500_000)])

        told(tmp_path, story)
        connection = sqlite3.connect(tmp_path / "store.db")
        assert connection.execute("select app, id, status, created from perdure_instances").fetchall() == [
            ("shop", "a", "running", "1970-01-01T00:00:00.001Z")
        ]
        assert connection.execute("select instance, kind, due from perdure_waits").fetchall() == [
            ("a", "timer", "1970-01-01T00:00:01.500Z")
        ]
        assert connection.execute("select instance, sequence, type from perdure_events").fetchall() == [
            ("a", 1, "TurnStarted"),
            ("a", 1, "TimerCreated"),
        ]
        connection.close()


class TestTransact:
    """A caller's own statements in one transaction with the mail that holds their result."""

    def test_a_call_is_answered_once(self, tmp_path: Path) -> None:
        async def story(store: SqlStore) -> None:
            scene = await Scene.of(store)
            calls = [Wait(number, "activity", "f", 5, attempt=2) for number in (1, 2)]
            await scene.start("a", opened=[*calls, Wait(3, "timer", "", 5)])
            done: list[str] = []

            def work(db: Any, key: str = "k") -> Mail:
                db.execute("create table if not exists mine (key text)")
                db.execute("insert into mine values (?)", (key,))
                done.append(key)
                return a_mail("a", key, execution="e1", generation=1)

            def fail(db: Any) -> Mail:
                db.execute("delete from mine")
                raise LookupError

            async def transact(number: int, attempt: int = 2, key: str = "k") -> Outcome:
                return await store.transact(scene.lease("a"), "a", number, attempt, partial(work, key=key))

            assert await transact(1) == Outcome.COMMITTED
            assert await scene.keys("a") == ["k"]
            assert [wait.state for wait in await store.waits(scene.shard("a"), "a")] == ["answered", "held", "held"]
            for number, attempt in ((1, 2), (2, 1), (2, 3), (3, 0), (9, 2)):
                assert await transact(number, attempt, "again") == Outcome.CONFLICT
            with pytest.raises(LookupError):
                await store.transact(scene.lease("a"), "a", 2, 2, fail)
            await store.release([scene.lease("a")])
            assert await transact(2) == Outcome.FENCED
            assert done == ["k"]
            assert await scene.keys("a") == ["k"]

        told(tmp_path, story)
        with sqlite3.connect(tmp_path / "store.db") as connection:
            assert connection.execute("select key from mine").fetchall() == [("k",)]


class TestProcesses:
    def test_a_second_store_stands_by_and_takes_over(self, tmp_path: Path) -> None:
        async def story(store: SqlStore) -> None:
            scene = await Scene.of(store)
            standby = open_store(f"sqlite:///{tmp_path}/store.db")
            await standby.open()
            assert await standby.acquire("shop", "second") == []
            assert await standby.acquire("other app", "second") == []
            assert f"first owner (process {os.getpid()} on " in str(await standby.holder("shop"))
            await standby.create(scene.shard("a"), a_creation("a"))
            assert await standby.deliver(scene.shard("a"), [a_mail("a", "m")]) == [Delivery.DELIVERED]
            assert await scene.keys("a") == ["start e1", "m"]
            await store.close()
            assert await standby.holder("shop") is None
            (lease,) = await standby.acquire("shop", "second")
            assert lease.epoch == scene.lease("a").epoch + 1
            assert await standby.commit([Batch(scene.lease("a"), [scene.turn("a", 0)])], "t") == [Outcome.FENCED]
            assert await standby.commit([Batch(lease, [scene.turn("a", 0)])], "t") == [Outcome.COMMITTED]
            await standby.close()

        told(tmp_path, story)

    def test_kill_frees_the_lock_and_keeps_what_was_committed(self, tmp_path: Path) -> None:
        script = f"""
            async def main():
                scene = await Scene.of(open_store("sqlite:///{tmp_path}/store.db"), "doomed")
                await scene.start("a", segment=b"[]")
                print("ready", flush=True)
                await asyncio.sleep(60)
            asyncio.run(main())
        """
        with subprocess.Popen(program(script), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"

            async def story(store: SqlStore) -> None:
                assert await store.acquire("shop", "heir") == []
                assert f"doomed (process {process.pid} on " in str(await store.holder("shop"))
                process.kill()
                process.wait()
                scene = await Scene.of(store, "heir")
                assert scene.lease("a").epoch == 2
                await scene.committed(scene.turn("a", 1))

            told(tmp_path, story)

    def test_a_forked_child_neither_uses_the_store_nor_keeps_the_lock(self, tmp_path: Path) -> None:
        script = f"""
            async def attempt(store):
                try:
                    await store.apps()
                except ForkedEngine as error:
                    os.write(1, (error.code + "\\n").encode())  # in one piece: two processes write
                await store.close()

            store = open_store("sqlite:///{tmp_path}/store.db")
            asyncio.run(Scene.of(store))
            child = os.fork()
            if child == 0:
                asyncio.run(attempt(store))
                signal.pause()
            os.write(1, f"{{child}}\\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        """
        with subprocess.Popen(program(script), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = {process.stdout.readline().strip(), process.stdout.readline().strip()}
            assert "PERDURE-1011" in lines
            child = int(max(lines - {"PERDURE-1011"}))
            process.wait()
            try:

                async def story(store: SqlStore) -> None:
                    assert len(await store.acquire("shop", "heir")) == 1

                told(tmp_path, story)
            finally:
                os.kill(child, signal.SIGKILL)

    def test_watch_hints_at_writes_of_others_alone(self, tmp_path: Path) -> None:
        async def story(store: SqlStore) -> None:
            scene = await Scene.of(store)
            hints = store.watch()
            hint = asyncio.ensure_future(anext(hints))
            await scene.start("a")
            await asyncio.sleep(0.3)
            assert not hint.done()
            other = open_store(f"sqlite:///{tmp_path}/store.db")
            await other.open()
            await other.deliver(scene.shard("a"), [a_mail("a", "m")])
            await asyncio.wait_for(hint, 30)
            await other.close()

        told(tmp_path, story)


class CountingRunner(ThreadRunner):
    """Counts the pieces of work of all runners."""

    runs = 0

    async def run(self, work: Callable[..., Any], *args: Any) -> Any:
        CountingRunner.runs += 1
        return await super().run(work, *args)


class TestStarts:
    def test_those_that_come_together_are_written_together(self, tmp_path: Path) -> None:
        async def play() -> None:
            store = SqlStore(SqliteDatabase(tmp_path / "store.db"), CountingRunner)
            scene = await Scene.of(store)
            before = CountingRunner.runs
            ids = [f"order-{number}" for number in range(50)]
            await asyncio.gather(*(store.create(scene.shard(id), a_creation(id)) for id in ids))
            assert CountingRunner.runs - before == 1
            assert len(await store.heads([(scene.shard(), id) for id in ids])) == 50
            await store.close()

        asyncio.run(play())

    def test_one_that_is_refused_or_cannot_be_written_is_no_harm_to_the_others(self, tmp_path: Path) -> None:
        async def story(store: SqlStore) -> None:
            scene = await Scene.of(store)
            asked = [a_creation("first"), a_creation("a"), a_creation("a", execution="e2"), a_creation("lone \ud800")]
            made = await asyncio.gather(
                *(store.create(scene.shard(), creation) for creation in [*asked, a_creation("b")]),
                return_exceptions=True,
            )
            assert [type(one) for one in made] == [
                type(None),
                type(None),
                InstanceExists,
                InvalidArgument,
                type(None),
            ]
            ids = ["first", "a", "b"]
            assert [head.id for head in await store.heads([(scene.shard(), id) for id in ids])] == ids

        told(tmp_path, story)


class TestThread:
    def test_work_that_has_not_begun_is_taken_back(self) -> None:
        async def play() -> None:
            runner = ThreadRunner("test")
            begun, gate = threading.Event(), threading.Event()
            done: list[str] = []
            first = asyncio.ensure_future(runner.run(lambda: (begun.set(), gate.wait(30), done.append("first"))))
            second = asyncio.ensure_future(runner.run(done.append, "second"))
            assert await asyncio.to_thread(begun.wait, 30)
            second.cancel()
            first.cancel()
            await asyncio.sleep(0.05)
            assert second.cancelled()
            assert not first.done(), "a write under way is waited for"
            gate.set()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert done == ["first"]
            assert await runner.run(len, "three") == 5
            runner.stop()

        asyncio.run(play())

    def test_work_that_has_ended_when_its_caller_hears_of_the_cancellation_is_not_waited_for(self) -> None:
        async def play() -> None:
            runner = ThreadRunner("test")
            begun, gate, next_begun = threading.Event(), threading.Event(), threading.Event()
            call = asyncio.ensure_future(runner.run(lambda: (begun.set(), gate.wait(30))))
            next = asyncio.ensure_future(runner.run(next_begun.set))
            assert await asyncio.to_thread(begun.wait, 30)
            gate.set()
            assert next_begun.wait(30)  # which holds up the loop, so that it has not heard of the first end yet
            call.cancel()
            async with asyncio.timeout(30):
                with pytest.raises(asyncio.CancelledError):
                    await call
                await next
            runner.stop()

        asyncio.run(play())

    def test_an_error_of_work_that_nobody_waits_for_is_no_error_of_the_next(self) -> None:
        async def play() -> None:
            runner = ThreadRunner("test")
            begun, gate = threading.Event(), threading.Event()
            call = asyncio.ensure_future(runner.run(lambda: (begun.set(), gate.wait(30), 1 / 0)))
            assert await asyncio.to_thread(begun.wait, 30)
            call.cancel()
            await asyncio.sleep(0)
            gate.set()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await runner.run(len, "three") == 5
            runner.stop()

        asyncio.run(play())


EVENTS = b'[{"type":"TurnStarted","at":5},{"type":"TimerCreated","number":1,"due":1500000}]'
IMPORTS = """
import asyncio, os, resource, signal
from perdure.errors import *
from perdure.stores.sql.sqlite import open_store
from perdure.testing.conformance import Scene
"""


def program(script: str) -> list[str]:
    return [sys.executable, "-c", IMPORTS + textwrap.dedent(script)]


def run(script: str) -> str:
    """What a program prints that ends well."""
    return subprocess.run(program(script), check=True, capture_output=True, text=True, timeout=30).stdout


def test_a_store_that_is_only_read_shows_all_and_writes_nothing(tmp_path):
    async def scenario():
        url = f"sqlite:///{tmp_path}/app.db"
        store = open_store(url)
        await store.open()
        shards = await store.shards("shop")
        reader = open_store(url, read_only=True)
        await reader.open()
        try:
            assert await reader.apps() == ["shop"]
            assert await reader.shards("shop") == shards
            with pytest.raises(NotOpen):
                await reader.shards("another")
            with pytest.raises(NotOpen):
                await reader.acquire("shop", "me")
            assert await reader.apps() == ["shop"]
        finally:
            await reader.close()
            await store.close()

    asyncio.run(scenario())


def test_a_store_that_is_only_read_must_be_there(tmp_path):
    async def opened(name):
        store = open_store(f"sqlite:///{tmp_path}/{name}", read_only=True)
        await store.open()

    with pytest.raises(StoreError):
        asyncio.run(opened("none.db"))
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "empty.db").touch()
    with pytest.raises(StoreNotUsable, match="no store of this version"):
        asyncio.run(opened("empty.db"))
