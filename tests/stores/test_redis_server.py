"""Which servers a store is kept on, and what it says when one of them fails, moves its slots or has been put back."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from msgspec.structs import replace

from perdure.errors import (
    InvalidArgument,
    NotOpen,
    StoreCorrupt,
    StoreFull,
    StoreNotUsable,
    StoreOwned,
    StoreRolledBack,
    StoreUnavailable,
    StoreVersion,
    UnknownConfiguration,
)
from perdure.stores.contract import OFFERED, Batch, Lease, Member, Outcome, Query, Turn
from perdure.stores.options import LEASE_SECONDS
from perdure.stores.redis import link, server
from perdure.stores.redis import store as store_module
from perdure.stores.redis.address import read_address
from perdure.stores.redis.batches import outcomes_of, written
from perdure.stores.redis.durability import Accepted, Settings, refused
from perdure.stores.redis.keys import digits, number_of, shard_keys
from perdure.stores.redis.scripts import script
from perdure.stores.redis.server import Server, slot
from perdure.stores.redis.store import RedisStore, open_store
from perdure.testing.conformance import APP, Scene, a_call, a_creation, a_head, a_mail
from servers.valkey import Cluster, Valkey
from tests.cli.certificates import Authority

SAFE = Settings((7, 2), "master", 0, False, "yes", "always", "noeviction")


async def stored(url: str, story: Callable[[RedisStore], Awaitable[Any]]) -> Any:
    """Play a story with the store opened."""
    store = open_store(url)
    await store.open()
    try:
        return await story(store)
    finally:
        await store.close()


async def nothing(store: RedisStore) -> None:
    """Only open and close."""


def refusal_of(url: str) -> str:
    """Why the store at this address does not open."""
    with pytest.raises(StoreNotUsable) as raised:
        asyncio.run(stored(url, nothing))
    return str(raised.value)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Callable[..., Valkey]]:
    """Makes servers of this test's own."""
    servers: list[Valkey] = []

    def make(fsync: str = "always", *options: str) -> Valkey:
        servers.append(Valkey(tmp_path / str(len(servers)), fsync, *options))
        return servers[-1]

    yield make
    for found in servers:
        found.kill()


def start(lease: Lease, id: str) -> Turn:
    return Turn(lease.shard, id, "e1", 1, None, 5, a_head(id, sequence=1))


class TestAddress:
    def test_says_where_and_what_is_accepted(self) -> None:
        found = read_address("rediss://me:p%40ss@db.example:6390/3?accept_durability=C&shards=8&lease=2.5")
        assert (found.host, found.port, found.db, found.username, found.password) == (
            "db.example",
            6390,
            3,
            "me",
            "p@ss",
        )
        assert (found.tls.mode, found.is_cluster, found.accepts_loss, found.assumes_durable) == (
            "verify",
            False,
            True,
            False,
        )
        assert (found.shards, found.lease_seconds) == (8, 2.5)
        assert read_address("valkey://host?assume_durable=yes").assumes_durable
        assert read_address("redis+cluster://host").is_cluster
        assert read_address("redis://host?cluster=yes").is_cluster
        plain = read_address("redis://host")
        assert (plain.port, plain.tls.mode, plain.shards, plain.lease_seconds) == (6379, "off", None, LEASE_SECONDS)

    def test_a_scheme_for_tls_is_not_without(self) -> None:
        with pytest.raises(UnknownConfiguration, match="write redis://"):
            read_address("rediss://host?tls=off")

    def test_shows_no_password(self) -> None:
        assert "secret" not in repr(open_store("redis://me:secret@host/"))
        with pytest.raises(InvalidArgument) as raised:
            read_address("redis://me:secret@host/x")
        assert "secret" not in str(raised.value)

    @pytest.mark.parametrize(
        "url", ["redis://", "http://host", "redis://host/x", "redis+cluster://host/1", "redis://h:x"]
    )
    def test_refuses_what_is_none(self, url: str) -> None:
        with pytest.raises(InvalidArgument):
            read_address(url)

    @pytest.mark.parametrize(
        "option",
        ["mode=ro", "cluster=no", "accept_durability=A", "shards=0", "shards=x", "lease=0", "shards=9999"],
    )
    def test_refuses_options_that_do_not_exist(self, option: str) -> None:
        with pytest.raises(UnknownConfiguration):
            read_address(f"redis://host?{option}")


class TestSettings:
    def test_a_server_that_syncs_always_is_safe(self) -> None:
        assert refused(SAFE, Accepted()) is None

    @pytest.mark.parametrize(
        "changes, word",
        [
            ({"version": (6, 0)}, "6.2"),
            ({"role": "slave"}, "replica"),
            ({"is_cluster": True}, "redis+cluster://"),
            ({"eviction": "allkeys-lru"}, "noeviction"),
        ],
    )
    def test_some_are_refused_whatever_is_accepted(self, changes: dict[str, Any], word: str) -> None:
        why = refused(replace_settings(changes), Accepted(loss=True, unread=True))
        assert why is not None
        assert word in why

    @pytest.mark.parametrize(
        "changes, word",
        [
            ({"appendonly": "no"}, "appendonly yes"),
            ({"appendfsync": "everysec"}, "appendfsync always"),
            ({"replicas": 1}, "failover"),
        ],
    )
    def test_those_that_lose_work_are_accepted_by_name_alone(self, changes: dict[str, Any], word: str) -> None:
        why = refused(replace_settings(changes), Accepted(unread=True))
        assert why is not None
        assert word in why
        assert "accept_durability=C" in why
        assert refused(replace_settings(changes), Accepted(loss=True)) is None

    def test_a_cluster_may_lose_work(self) -> None:
        cluster = replace_settings({"is_cluster": True})
        assert "failover" in str(refused(cluster, Accepted(cluster=True)))
        assert refused(cluster, Accepted(loss=True, cluster=True)) is None
        assert "redis://" in str(refused(SAFE, Accepted(loss=True, cluster=True)))

    def test_settings_that_are_not_told_are_assumed_by_name_alone(self) -> None:
        hidden = replace_settings({"appendonly": None, "appendfsync": None, "eviction": None})
        assert "assume_durable=yes" in str(refused(hidden, Accepted(loss=True)))
        assert refused(hidden, Accepted(unread=True)) is None


def replace_settings(changes: dict[str, Any]) -> Settings:
    return Settings(**{name: changes.get(name, getattr(SAFE, name)) for name in Settings.__slots__})


class TestOpening:
    def test_a_server_that_syncs_always_needs_no_word(self, alone: Callable[..., Valkey]) -> None:
        found = alone()
        asyncio.run(stored(found.url(), nothing))
        with found.client() as client:
            client.config_set("appendfsync", "everysec")
            assert "appendfsync always" in refusal_of(found.url())
            asyncio.run(stored(found.url("?accept_durability=C"), nothing))
            client.config_set("maxmemory-policy", "allkeys-lru")
            assert "noeviction" in refusal_of(found.url("?accept_durability=C"))

    def test_settings_that_cannot_be_read_are_told_by_the_user(self, alone: Callable[..., Valkey]) -> None:
        found = alone("always", "--rename-command", "CONFIG", "")
        assert "assume_durable=yes" in refusal_of(found.url())
        asyncio.run(stored(found.url("?assume_durable=yes"), nothing))

    @pytest.mark.long
    def test_who_may_not_is_told_what_to_change(self, alone: Callable[..., Valkey]) -> None:
        found = alone("always", "--requirepass", "right")
        asyncio.run(stored(found.url(user=":right@"), nothing))
        for user in ("", ":wrong@", "nobody:right@"):
            assert "password" in refusal_of(found.url(user=user))
        with found.client(password="right") as client:
            client.execute_command("ACL", "SETUSER", "limited", "on", ">pw", "~*", "&*", "+@all", "-@scripting")
            assert "EVAL" in refusal_of(found.url(user="limited:pw@"))

    def test_a_server_without_scripts_is_refused(self, alone: Callable[..., Valkey]) -> None:
        found = alone("always", "--rename-command", "EVAL", "")
        assert "Lua" in refusal_of(found.url())

    def test_a_replica_is_refused_and_a_primary_with_one_may_lose_work(self, alone: Callable[..., Valkey]) -> None:
        primary = alone()
        replica = alone("always", "--replicaof", f"127.0.0.1 {primary.port}")
        assert "primary" in refusal_of(replica.url("?accept_durability=C"))

    def test_a_later_layout_is_refused_unless_it_suffers_this_version(self, valkey: Valkey) -> None:
        valkey.clear()
        url = valkey.url("?accept_durability=C")
        asyncio.run(stored(url, nothing))
        with valkey.client() as client:
            client.set("perdure:{apps}:layout", 99)
            asyncio.run(stored(url, nothing))
            assert client.get("perdure:{apps}:layout") == b"99"
            client.set("perdure:{apps}:oldest", 98)
        with pytest.raises(StoreVersion, match="install a later perdure"):
            asyncio.run(stored(url, nothing))

    def test_what_a_later_version_keeps_in_a_record_survives_its_replacement(self, valkey: Valkey) -> None:
        valkey.clear()
        added = {"heads": b"one", "facts": b"one", "w:one": digits(1).encode()}

        def packed(client: redis.Redis, key: str) -> list[Any]:
            return msgspec.msgpack.decode(client.hget(f"perdure:{{1-0}}:{key}", added[key]))

        async def play(store: RedisStore) -> None:
            scene = await Scene.of(store)
            await scene.start("one")
            await scene.commit(scene.turn("one", 1, opened=[a_call(1)]))
            with valkey.client() as client:
                for key, field in added.items():
                    longer = msgspec.msgpack.encode([*packed(client, key), "of a later version"])
                    client.hset(f"perdure:{{1-0}}:{key}", field, longer)
                    assert client.hget(f"perdure:{{1-0}}:{key}", field) == longer
                head = a_head("one", sequence=3, version="2")
                changed = scene.turn("one", 2, head=head, changed=[a_call(1, attempt=2)])
                assert await scene.commit(changed) == [Outcome.COMMITTED]
                (loaded,) = await store.load(scene.shard("one"), ["one"])
                assert (loaded.head.version, loaded.waits[0].attempt) == ("2", 2)
                for key in added:
                    assert packed(client, key)[-1] == "of a later version"

        asyncio.run(stored(valkey.url("?accept_durability=C&shards=1"), play))

    def test_a_layout_that_others_could_not_live_with_waits_until_they_are_gone(
        self, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        valkey.clear()
        url = valkey.url("?accept_durability=C")

        async def play() -> None:
            store = open_store(url)
            await store.open()
            await store.shards(APP)
            await store.beat(APP, Member("old"), [])
            with monkeypatch.context() as later:
                for name in ("stores.layout", "stores.redis.inspection"):
                    later.setattr(f"perdure.{name}.FORMAT", 99)
                    later.setattr(f"perdure.{name}.OLDEST", 99)
                with pytest.raises(StoreOwned, match=r"at work \(old\), which cannot go on"):
                    await stored(url, nothing)
                await store.leave(APP, "old")
                await stored(url, nothing)
            with pytest.raises(StoreVersion, match="install a later perdure"):
                await stored(url, nothing)
            await store.close()

        asyncio.run(play())

    def test_nobody_there_is_unavailable(self) -> None:
        with pytest.raises(StoreUnavailable):
            asyncio.run(stored("redis://127.0.0.1:1/", nothing))

    def test_an_app_has_its_shards_for_ever(self, valkey: Valkey) -> None:
        valkey.clear()
        url = valkey.url("?accept_durability=C")

        async def count(store: RedisStore) -> int:
            return len(await store.shards(APP))

        assert asyncio.run(stored(f"{url}&shards=3", count)) == 3
        assert asyncio.run(stored(url, count)) == 3
        with pytest.raises(StoreNotUsable):
            asyncio.run(stored(f"{url}&shards=5", count))

    def test_what_is_opened_to_read_writes_nothing(self, valkey: Valkey) -> None:
        valkey.clear()
        url = valkey.url("?accept_durability=C&shards=1")

        async def play() -> None:
            with pytest.raises(StoreNotUsable):
                await open_store(url, read_only=True).open()
            writer, reader = open_store(url), open_store(url, read_only=True)
            await writer.open()
            await reader.open()
            (shard,) = await writer.shards(APP)
            await writer.create(shard, a_creation("a"))
            assert [head.id for head in (await reader.find(Query(app=APP))).heads] == ["a"]
            for write in (reader.create(shard, a_creation("b")), reader.acquire(APP, "me"), reader.purge(shard, ["a"])):
                with pytest.raises(StoreNotUsable):
                    await write
            await writer.close()
            await reader.close()
            with pytest.raises(NotOpen):
                await writer.head(shard, "a")

        asyncio.run(play())


class TestEncryption:
    """Through a door of the test's own that speaks TLS, because the server in the wheel does not."""

    def test_a_server_is_reached_by_tls_if_its_certificate_is_the_authoritys(
        self, valkey: Valkey, tmp_path: Path
    ) -> None:
        known, stranger = Authority(tmp_path), Authority(self._folder(tmp_path))

        async def play() -> None:
            certificate = known.signed("server")
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate.cert, certificate.key)
            door = await asyncio.start_server(
                lambda *ends: self._pass_on(valkey.port, *ends), "127.0.0.1", 0, ssl=context
            )
            address = f"127.0.0.1:{door.sockets[0].getsockname()[1]}/0?accept_durability=C"
            await stored(f"rediss://{address}&tls_ca={known.file}", nothing)
            await stored(f"valkeys://{address}&tls_ca={known.file}", nothing)
            await stored(f"redis://{address}&tls=require", nothing)
            await stored(f"rediss://{address}&tls=require&tls_ca={stranger.file}", nothing)
            for trusted in (f"&tls_ca={stranger.file}", ""):
                with pytest.raises(StoreUnavailable, match="certificate"):
                    await stored(f"rediss://{address}{trusted}", nothing)
            door.close()

        asyncio.run(play())

    def _folder(self, tmp_path: Path) -> Path:
        (tmp_path / "stranger").mkdir()
        return tmp_path / "stranger"

    async def _pass_on(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(self._copy(reader, ours), self._copy(theirs, writer))
        finally:
            for end in (writer, ours):
                end.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()


class TestFailing:
    def test_what_was_acknowledged_survives_a_kill_in_the_middle_of_commits(self, alone: Callable[..., Valkey]) -> None:
        found = alone("always")

        async def commits(store: RedisStore) -> dict[str, int]:
            (lease,) = await store.acquire(APP, "me")
            acknowledged: dict[str, int] = {}
            number = 0
            try:
                while True:
                    number += 1
                    ids = [f"{number}-{place}" for place in range(20)]
                    await store.commit([Batch(lease, [start(lease, id) for id in ids])], str(number))
                    acknowledged |= dict.fromkeys(ids, number)
                    if number == 15:
                        asyncio.get_running_loop().call_later(0.005, found.kill)
            except StoreUnavailable:
                pass  # because the server is dead now, and its answer with it
            found.restart()
            happened = await store.settle_unknown(lease, str(number))
            there = {loaded.head.id for loaded in await store.load(lease.shard, [f"{number}-{n}" for n in range(20)])}
            assert len(there) == (20 if happened else 0), "a commit happens as a whole or not at all"
            return acknowledged

        acknowledged = asyncio.run(stored(found.url("?shards=1"), commits))
        assert len(acknowledged) >= 300

        async def check(store: RedisStore) -> int:
            (shard,) = await store.shards(APP)
            return len(await store.load(shard, list(acknowledged)))

        assert asyncio.run(stored(found.url(), check)) == len(acknowledged)

    def test_a_call_without_an_answer_is_unavailable_and_the_next_one_connects_again(
        self, alone: Callable[..., Valkey], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(link, "ANSWER_SECONDS", 0.2)
        found = alone("no")

        async def story(store: RedisStore) -> None:
            (lease,) = await store.acquire(APP, "me")
            assert await store.commit([Batch(lease, [start(lease, "first")])], "s") == [Outcome.COMMITTED]
            os.kill(found.process.pid, signal.SIGSTOP)
            asked = [store.commit([Batch(lease, [start(lease, "a")])], "t"), store.head(lease.shard, "a")]
            for error in await asyncio.gather(*asked, return_exceptions=True):
                assert isinstance(error, StoreUnavailable), error
            os.kill(found.process.pid, signal.SIGCONT)
            happened = await store.settle_unknown(lease, "t")
            for _ in range(50):
                assert (await store.head(lease.shard, "a") is not None) == happened, "it is settled for ever"
            again = await store.commit([Batch(lease, [start(lease, "a")])], "u")
            assert again == [Outcome.EXISTS if happened else Outcome.COMMITTED]

        asyncio.run(stored(found.url("?accept_durability=C&shards=1"), story))

    def test_a_commit_that_is_late_does_not_happen_after_it_was_settled(self, valkey: Valkey) -> None:
        valkey.clear()

        async def story(store: RedisStore) -> None:
            (lease,) = await store.acquire(APP, "me")
            late = written(Batch(lease, [start(lease, "a")]), "t", 0, lambda app, id: lease.shard)
            assert not await store.settle_unknown(lease, "t")
            server = Server(store.address)
            answer = await server.one("commit", shard_keys(lease.shard), *late.arguments)
            await server.close()
            assert outcomes_of(late, answer)[0] == [Outcome.FENCED]
            assert await store.head(lease.shard, "a") is None
            assert await store.commit([Batch(lease, [start(lease, "a")])], "u") == [Outcome.COMMITTED]

        asyncio.run(stored(valkey.url("?accept_durability=C&shards=1"), story))

    def test_a_caller_that_gives_up_breaks_nothing_for_others(self, valkey: Valkey) -> None:
        valkey.clear()

        async def story(store: RedisStore) -> None:
            (lease,) = await store.acquire(APP, "me")
            await store.create(lease.shard, a_creation("a"))
            for _ in range(20):
                tasks = [asyncio.create_task(store.head(lease.shard, "a")) for _ in range(4)]
                await asyncio.sleep(0)
                tasks[0].cancel()
                tasks[2].cancel()
                found = await asyncio.gather(*tasks, return_exceptions=True)
                assert [getattr(head, "id", None) for head in found][1::2] == ["a", "a"]

        asyncio.run(stored(valkey.url("?accept_durability=C&shards=1"), story))

    def test_a_server_without_memory_is_full_and_has_written_nothing(self, alone: Callable[..., Valkey]) -> None:
        found = alone("no")

        async def story(store: RedisStore) -> None:
            (lease,) = await store.acquire(APP, "me")
            await store.commit([Batch(lease, [start(lease, "a")])], "first")
            with found.client() as client:
                client.config_set("maxmemory", 1)
                calls = [
                    store.commit([Batch(lease, [Turn(lease.shard, "a", "e1", 1, 1, 6, segment=b"[]")])], "second"),
                    store.create(lease.shard, a_creation("b")),
                    store.deliver(lease.shard, [a_mail("a", "m")]),
                ]
                for call in calls:
                    with pytest.raises(StoreFull):
                        await call
                client.config_set("maxmemory", 0)
            (loaded,) = await store.load(lease.shard, ["a", "b"])
            assert (loaded.head.sequence, loaded.mail, loaded.segments) == (1, [], [])
            assert await store.settle_unknown(lease, "first")

        asyncio.run(stored(found.url("?accept_durability=C&shards=1"), story))

    def test_more_bytes_than_one_call_takes_are_written_one_by_one(
        self, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As the committer does with what a store cannot take together."""
        valkey.clear()
        monkeypatch.setattr(store_module, "COMMIT_BYTES_MAX", 100_000)

        async def story(store: RedisStore) -> None:
            (lease,) = await store.acquire(APP, "me")
            turns = [
                Turn(lease.shard, id, "e1", 1, None, 5, a_head(id, sequence=1), b'["' + b"x" * 60_000 + b'"]')
                for id in "ab"
            ]
            with pytest.raises(OverflowError):
                await store.commit([Batch(lease, turns)], "t")
            assert await store.load(lease.shard, ["a", "b"]) == []
            for turn in turns:
                assert await store.commit([Batch(lease, [turn])], turn.id) == [Outcome.COMMITTED]

        asyncio.run(stored(valkey.url("?accept_durability=C&shards=1"), story))

    def test_keys_that_others_have_changed_are_corrupt(self, valkey: Valkey) -> None:
        valkey.clear()

        async def story(store: RedisStore) -> None:
            (lease,) = await store.acquire(APP, "me")
            with valkey.client() as client:
                client.set(shard_keys(lease.shard) + "heads", "x")
            with pytest.raises(StoreCorrupt):
                await store.commit([Batch(lease, [start(lease, "a")])], "t")

        asyncio.run(stored(valkey.url("?accept_durability=C&shards=1"), story))

    def test_a_server_that_forgot_the_scripts_is_told_them_again(self, valkey: Valkey) -> None:
        valkey.clear()

        async def story(store: RedisStore) -> None:
            (lease,) = await store.acquire(APP, "me")
            with valkey.client() as client:
                client.script_flush()
            assert await store.commit([Batch(lease, [start(lease, "a")])], "t") == [Outcome.COMMITTED]

        asyncio.run(stored(valkey.url("?accept_durability=C&shards=1"), story))

    def test_a_server_that_became_a_replica_is_unavailable(self, alone: Callable[..., Valkey]) -> None:
        found = alone("no")

        async def story(store: RedisStore) -> None:
            (lease,) = await store.acquire(APP, "me")
            with found.client() as client:
                client.execute_command("REPLICAOF", "127.0.0.1", "1")
                client.config_set("replica-serve-stale-data", "yes")
            with pytest.raises(StoreUnavailable):
                await store.commit([Batch(lease, [start(lease, "a")])], "t")

        asyncio.run(stored(found.url("?accept_durability=C&shards=1"), story))

    def test_a_store_that_went_back_is_told(self, valkey: Valkey) -> None:
        valkey.clear()

        async def story(store: RedisStore) -> None:
            (lease,) = await store.acquire(APP, "me")
            valkey.clear()
            calls = [
                store.acquire(APP, "me"),
                store.beat(APP, Member("me"), [lease]),
                store.commit([Batch(lease, [start(lease, "a")])], "t"),
            ]
            for call in calls:
                with pytest.raises(StoreRolledBack):
                    await call
            assert await store.head(lease.shard, "a") is None

        asyncio.run(stored(valkey.url("?accept_durability=C&shards=1"), story))


class TestKeys:
    def test_numbers_sort_as_text(self) -> None:
        numbers = [-(2**63), -5, -1, 0, 1, 2**53, 2**62, 2**63 - 1]
        assert sorted(map(digits, numbers)) == [digits(number) for number in numbers]
        assert [number_of(digits(number)) for number in numbers] == numbers

    def test_a_purged_instance_leaves_no_key(self, valkey: Valkey) -> None:
        """But for the number of messages that have arrived, which goes on."""
        valkey.clear()

        def keys() -> dict[bytes, Any]:
            with valkey.client() as client:
                return {
                    key: client.dump(key) for key in client.scan_iter("*") if not key.endswith((b"lease", b"queues"))
                }

        async def story(store: RedisStore) -> None:
            (lease,) = await store.acquire(APP, "me")
            before = keys()
            head = a_head("a", sequence=1, tags={"k": "v"}, parent="p")
            waits = [a_call(1), a_call(2, state="offered"), a_call(3, state="queued", due=9), a_call(4, due=7)]
            turn = Turn(lease.shard, "a", "e1", 1, None, 5, head, b"[]", waits, seen=["s"])
            await store.commit([Batch(lease, [turn])], "t")
            await store.claim(APP, "node", "t", ["charge"], 1, 60.0)
            await store.deliver(lease.shard, [a_mail("a", "m")])
            assert len(keys()) > len(before) + 10
            ended = replace(head, status="completed", finished=9, sequence=2)
            await store.commit([Batch(lease, [Turn(lease.shard, "a", "e1", 1, 1, 9, ended, b"[]")])], "u")
            assert await store.purge(lease.shard, ["a"]) == ["a"]
            assert keys() == before

        asyncio.run(stored(valkey.url("?accept_durability=C&shards=1"), story))

    def test_every_script_is_whole(self) -> None:
        folder = Path(server.__file__).parent
        snippets = {"shard", "serve", "instance", "mailbox", "notice"}
        names = {file.stem for file in folder.glob("*.lua")} - snippets
        for name in names:
            source = script(name).source.decode()
            assert source.count("serve = function") == 1, name
            for snippet in re.findall(r"^-- uses: (.+)$", source, re.MULTILINE):
                assert all((folder / f"{each}.lua").read_text() in source for each in snippet.split()), name
        assert len({script(name).digest for name in names}) == len(names)


class TestHints:
    def test_what_another_process_writes_is_heard(self, valkey: Valkey) -> None:
        valkey.clear()
        url = valkey.url("?accept_durability=C&shards=2")

        async def play() -> None:
            owner, other = open_store(url), open_store(url)
            await owner.open()
            await other.open()
            leases = await owner.acquire(APP, "me")
            heard = owner.watch()
            first = asyncio.ensure_future(anext(heard))
            await asyncio.wait_for(first, 30)  # it is subscribed
            for lease in leases:
                await other.create(lease.shard, a_creation(f"of {lease.number}"))
                await asyncio.wait_for(anext(heard), 30)
            await heard.aclose()
            await owner.close()
            await other.close()

        asyncio.run(play())

    def test_who_claims_beside_others_finds_calls_as_long_as_there_are_some(self, valkey: Valkey) -> None:
        valkey.clear()
        url = valkey.url("?accept_durability=C&shards=1")

        async def play() -> None:
            stores = [open_store(url) for _ in range(3)]
            for store in stores:
                await store.open()
            scene = await Scene.of(stores[0])
            await scene.start("a", opened=[a_call(number, state=OFFERED) for number in range(30)])
            claims = [store.claim(APP, f"n{n}", f"t{n}", ["charge"], 10, 60.0) for n, store in enumerate(stores)]
            claimed = await asyncio.gather(*claims)
            assert [len(calls) for calls in claimed] == [10, 10, 10]
            for store in stores:
                await store.close()

        asyncio.run(play())

    def test_without_any_polling_finds_the_same(self, alone: Callable[..., Valkey]) -> None:
        found = alone("no")
        with found.client() as client:
            client.execute_command("ACL", "SETUSER", "deaf", "on", ">pw", "~*", "resetchannels", "&none", "+@all")

        async def story(store: RedisStore) -> None:
            (lease,) = await store.acquire(APP, "me")
            heard = asyncio.ensure_future(anext(store.watch()))
            other = open_store(found.url("?accept_durability=C"))
            await other.open()
            await other.create(lease.shard, a_creation("a"))
            assert [letter.mail.instance for letter in await store.mail([lease])] == ["a"]
            heard.cancel()
            await other.close()

        asyncio.run(stored(found.url("?accept_durability=C&shards=1", user="deaf:pw@"), story))


@pytest.mark.long
class TestCluster:
    def test_slots_are_those_of_the_braces(self, cluster: Cluster) -> None:
        with cluster.nodes[0].client() as client:
            for prefix in ("perdure:{1-0}:", "perdure:{apps}:", "perdure:{12-4095}:"):
                assert client.execute_command("CLUSTER", "KEYSLOT", prefix + "x") == slot(prefix)

    def test_a_slot_that_has_moved_is_followed(self, cluster: Cluster) -> None:
        cluster.clear()

        async def story(store: RedisStore) -> None:
            leases = await store.acquire(APP, "me")
            lease = leases[0]
            moved = slot(shard_keys(lease.shard))
            source, target = self._ends(cluster, moved)
            self._begin_move(moved, source, target)
            with source.client() as client:
                # half of the keys are there, half are here: nothing runs
                keys = client.execute_command("CLUSTER", "GETKEYSINSLOT", moved, 100)
                client.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", keys[0])
            with pytest.raises(StoreUnavailable):
                await store.commit([Batch(lease, [start(lease, "a")])], "t")
            with source.client() as client:
                keys = client.execute_command("CLUSTER", "GETKEYSINSLOT", moved, 100)
                if keys:
                    client.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *keys)
            for node in (target, source, *cluster.nodes):
                with node.client() as client:
                    client.execute_command("CLUSTER", "SETSLOT", moved, "NODE", self._id(target))
            assert await store.head(lease.shard, "a") is None
            assert await store.commit([Batch(lease, [start(lease, "a")])], "t") == [Outcome.COMMITTED]
            self._begin_move(moved, target, source)
            with pytest.raises(StoreUnavailable):
                await store.commit([Batch(lease, [start(lease, "b")])], "u")
            for node in (target, source):
                with node.client() as client:
                    client.execute_command("CLUSTER", "SETSLOT", moved, "STABLE")
            assert await store.commit([Batch(lease, [start(lease, "b")])], "u") == [Outcome.COMMITTED]

        asyncio.run(stored(cluster.url("?accept_durability=C&shards=7"), story))

    def _ends(self, cluster: Cluster, moved: int) -> tuple[Valkey, Valkey]:
        """Who has the slot, and who has not."""
        has: list[Valkey] = []
        has_not: list[Valkey] = []
        for node in cluster.nodes:
            with node.client() as client:
                try:
                    client.execute_command("GET", self._tag(moved))
                    has.append(node)
                except redis.exceptions.MovedError:
                    has_not.append(node)
        return has[0], has_not[0]

    def _tag(self, wanted: int) -> str:
        return next(f"{{{n}}}" for n in range(1_000_000) if slot(f"{{{n}}}") == wanted)

    def _id(self, node: Valkey) -> str:
        with node.client() as client:
            return str(client.execute_command("CLUSTER", "MYID").decode())

    def _begin_move(self, moved: int, source: Valkey, target: Valkey) -> None:
        with target.client() as client:
            client.execute_command("CLUSTER", "SETSLOT", moved, "IMPORTING", self._id(source))
        with source.client() as client:
            client.execute_command("CLUSTER", "SETSLOT", moved, "MIGRATING", self._id(target))

    def test_a_node_that_was_killed_comes_back_with_what_it_acknowledged(self, cluster: Cluster) -> None:
        cluster.clear()

        async def story(store: RedisStore) -> None:
            leases = await store.acquire(APP, "me")
            victim = cluster.nodes[1]
            lease = next(one for one in leases if self._ends(cluster, slot(shard_keys(one.shard)))[0] is victim)
            assert await store.commit([Batch(lease, [start(lease, "a")])], "t") == [Outcome.COMMITTED]
            victim.kill()
            with pytest.raises(StoreUnavailable):
                await store.commit([Batch(lease, [start(lease, "b")])], "u")
            victim.restart()
            async with asyncio.timeout(30):
                while True:
                    try:
                        happened = await store.settle_unknown(lease, "u")
                        break
                    except StoreUnavailable:
                        await asyncio.sleep(0.05)
            assert not happened
            assert await store.head(lease.shard, "a") is not None
            assert await store.commit([Batch(lease, [start(lease, "b")])], "u") == [Outcome.COMMITTED]

        asyncio.run(stored(cluster.url("?accept_durability=C&shards=30"), story))

    def test_a_plain_address_of_a_node_is_refused(self, cluster: Cluster) -> None:
        assert "redis+cluster://" in refusal_of(cluster.nodes[0].url("?accept_durability=C"))
        assert "accept_durability=C" in refusal_of(cluster.url())


class TestCheckup:
    def test_says_what_may_be_lost_and_what_is_wrong(self, alone: Callable[..., Valkey]) -> None:
        found = alone("always")
        with found.client() as client:
            fresh = asyncio.run(open_store(found.url()).check())
            assert (fresh.format, fresh.durability[0], fresh.wrong) == (0, "B", [])
            assert fresh.product.startswith("Valkey 9")
            assert client.dbsize() == 0, "it changes nothing"
            client.config_set("appendfsync", "everysec")
            weaker = asyncio.run(open_store(found.url()).check())
            assert (weaker.durability[0], weaker.settings["appendfsync"]) == ("C", "everysec")
            assert "accept_durability=C" in weaker.wrong[0]
