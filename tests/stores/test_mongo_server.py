"""Which servers a store is kept on, what it says when one fails, and who is kept out of documents and when."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace
from pymongo.errors import AutoReconnect, ConfigurationError, OperationFailure, PyMongoError, WriteConcernError

from perdure.app import open_store as open_any
from perdure.codec import Payload
from perdure.errors import (
    AppReserved,
    InvalidArgument,
    NotOpen,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreNotUsable,
    StoreRolledBack,
    StoreUnavailable,
    StoreVersion,
    UnknownConfiguration,
)
from perdure.stores import carrier
from perdure.stores.contract import FORMAT, OLDEST, Batch, Lease, Outcome, Permit, Query, Turn, Wait, shard_number
from perdure.stores.mongo import documents, outbox
from perdure.stores.mongo.address import read_address
from perdure.stores.mongo.documents import INLINE_BYTES_MAX, Document, key_of
from perdure.stores.mongo.durability import Accepted, Settings, durability, refused
from perdure.stores.mongo.heads import Heads
from perdure.stores.mongo.refusals import refusal
from perdure.stores.mongo.store import MongoStore, open_store
from perdure.testing.conformance import APP, KEPT, a_call, a_creation, a_head, a_mail
from servers.mongo import Mongo

SAFE = Settings((7, 0), True, False, "rs0", "wiredTiger", True)
SHARDS = 2
OPTIONS = f"?assume_durable=yes&shards={SHARDS}&lease=30"

Story = Callable[[MongoStore, dict[int, Lease]], Awaitable[None]]


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing does not wait long for a process that is dead."""
    monkeypatch.setattr(carrier, "CLOSE_SECONDS", 0.1)


def told(mongo: Mongo, story: Story) -> None:
    """Play a story with an open store that holds all shards."""
    mongo.clear()

    async def play() -> None:
        store = open_store(mongo.url(OPTIONS))
        await store.open()
        leases = {lease.number: lease for lease in await store.acquire(APP, "first")}
        try:
            await story(store, leases)
        finally:
            await store.close()

    asyncio.run(play())


async def heir_of(mongo: Mongo) -> tuple[MongoStore, dict[int, Lease]]:
    """Who takes all shards over from a dead owner."""
    mongo.expire_leases()
    heir = open_store(mongo.url(OPTIONS))
    await heir.open()
    return heir, {lease.number: lease for lease in await heir.acquire(APP, "heir")}


def ids_of(number: int, count: int = 1) -> list[str]:
    """Instances of the app's shard of this number."""
    return [id for id in (f"i{n}" for n in range(10_000)) if shard_number(id, SHARDS) == number][:count]


def turn(lease: Lease, id: str, expected: int | None, **effects: Any) -> Turn:
    if expected is None:
        effects.setdefault("head", a_head(id, sequence=1))
    return Turn(lease.shard, id, "e1", 1, expected, 5, **effects)


async def committed(store: MongoStore, lease: Lease, *turns: Turn) -> None:
    assert await store.commit([Batch(lease, turns)], f"{turns[0].expected}") == [Outcome.COMMITTED] * len(turns)


async def keys(store: MongoStore, lease: Lease, id: str) -> list[str]:
    (loaded,) = await store.load(lease.shard, [id])
    return [mail.key for mail in loaded.mail]


class TestAddress:
    def test_says_where_and_what_is_accepted(self) -> None:
        url = "mongodb://me:p%40ss@a.example:27018,b.example/orders?replicaSet=rs0&shards=8&lease=2.5"
        found = read_address(f"{url}&accept_durability=C")
        assert (found.hosts, found.database) == ("a.example:27018,b.example", "orders")
        assert found.url == "mongodb://me:p%40ss@a.example:27018,b.example/orders?replicaSet=rs0"
        assert (found.shards, found.lease_seconds, found.accepts_loss, found.assumes_durable) == (8, 2.5, True, False)
        plain = read_address("mongodb+srv://db.example")
        assert (plain.database, plain.shards, plain.lease_seconds) == ("perdure", None, 10.0)

    def test_shows_no_password(self) -> None:
        assert "secret" not in repr(open_store("mongodb://me:secret@host/shop"))
        with pytest.raises(InvalidArgument) as raised:
            read_address("mongodb://me:secret@host/a/b")
        assert "secret" not in str(raised.value)

    @pytest.mark.parametrize("url", ["mongodb://", "http://host", "mongodb://host/a/b", "mongodb://host/a.b"])
    def test_refuses_what_is_none(self, url: str) -> None:
        with pytest.raises(InvalidArgument):
            read_address(url)

    @pytest.mark.parametrize("option", ["accept_durability=A", "shards=0", "lease=x", "shards=9999", "w=1", "j=false"])
    def test_refuses_options_that_weaken_it_or_do_not_exist(self, option: str) -> None:
        with pytest.raises(UnknownConfiguration):
            read_address(f"mongodb://host/shop?{option}")

    @pytest.mark.parametrize("option", ["tlsInsecure=perhaps", "replicaset=rs0&mode=ro"])
    def test_an_option_that_the_client_does_not_know_is_told(self, option: str) -> None:
        with pytest.raises(UnknownConfiguration, match="not understood"):
            read_address(f"mongodb://host/shop?{option}")

    def test_hosts_that_the_client_does_not_take_are_told(self) -> None:
        with pytest.raises(InvalidArgument, match="not understood"):
            asyncio.run(open_and_close("mongodb://host:99999/shop"))

    def test_an_app_finds_it_by_its_address(self) -> None:
        assert isinstance(open_any("mongodb://host/shop"), MongoStore)
        assert "experimental" in repr(open_any("mongodb+srv://db.example/shop"))


async def open_and_close(url: str, *, read_only: bool = False) -> None:
    store = open_store(url, read_only=read_only)
    await store.open()
    await store.close()


class TestSettings:
    def test_a_replica_set_is_kept(self) -> None:
        assert refused(SAFE, Accepted()) is None
        assert durability(SAFE)[0] == "B"

    @pytest.mark.parametrize(
        "changes, word",
        [
            ({"version": (4, 4)}, "5.0"),
            ({"is_primary": False}, "replicaSet="),
            ({"is_router": True}, "replica set"),
            ({"is_persistent": False}, "wiredTiger"),
            ({"is_persistent": None}, "assume_durable=yes"),
        ],
    )
    def test_others_are_refused_with_what_to_change(self, changes: dict[str, Any], word: str) -> None:
        fields = {name: getattr(SAFE, name) for name in Settings.__dataclass_fields__}
        why = refused(Settings(**(fields | changes)), Accepted())
        assert why is not None
        assert word in why

    def test_what_may_be_lost_has_to_be_accepted(self) -> None:
        fields = {name: getattr(SAFE, name) for name in Settings.__dataclass_fields__}
        volatile = Settings(**(fields | {"is_persistent": False, "engine": "inMemory"}))
        assert refused(volatile, Accepted(loss=True)) is None
        assert durability(volatile)[0] == "C"
        unread = Settings(**(fields | {"is_persistent": None}))
        assert refused(unread, Accepted(unread=True)) is None
        assert durability(Settings(**(fields | {"set_name": None})))[0] == "B"

    def test_a_server_that_does_not_say_what_it_keeps_is_refused(self, mongo: Mongo) -> None:
        with pytest.raises(StoreNotUsable, match="assume_durable=yes"):
            asyncio.run(open_and_close(mongo.url("")))

    def test_it_says_that_it_is_experimental(self, mongo: Mongo, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, "perdure"):
            asyncio.run(open_and_close(mongo.url(OPTIONS)))
        assert "experimental, tested over the wire only" in caplog.text


class TestRefusals:
    @pytest.mark.parametrize(
        "error, kind, word",
        [
            (OperationFailure("Authentication failed.", 18), StoreNotUsable, "password"),
            (OperationFailure("not authorized on shop", 13), StoreNotUsable, "readWrite"),
            (
                OperationFailure("cannot use 'j' option when a host does not have journaling", 2),
                StoreNotUsable,
                "journal",
            ),
            (OperationFailure("no space", 14_031), StoreFull, "room"),
            (AutoReconnect("connection closed"), StoreUnavailable, "reached"),
            (WriteConcernError("waiting for replication timed out", 64), StoreUnavailable, "answer"),
            (ConfigurationError("reports wire version 8"), StoreNotUsable, "newer"),
            (OperationFailure("unknown operator", 2), StoreCorrupt, "changed by others"),
        ],
    )
    def test_errors_say_what_to_do(self, error: PyMongoError, kind: type[StoreError], word: str) -> None:
        found = refusal(error, "MongoDB at host/shop")
        assert type(found) is kind
        assert word in str(found)

    def test_nobody_listens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("perdure.stores.mongo.database.SELECT_SECONDS", 0.2)
        with pytest.raises(StoreUnavailable, match="look whether the server runs"):
            asyncio.run(open_and_close("mongodb://127.0.0.1:1/shop"))

    def test_a_later_layout_is_refused_and_an_earlier_one_brought_up_to_date(self, mongo: Mongo) -> None:
        mongo.clear()
        url = mongo.url(OPTIONS)
        with mongo.client() as client:
            client.shop.perdure_layout.delete_many({})
        with pytest.raises(StoreNotUsable, match="open it once with a worker"):
            asyncio.run(open_and_close(url, read_only=True))
        asyncio.run(open_and_close(url))
        with mongo.client() as client:
            layout = client.shop.perdure_layout
            layout.update_one({}, {"$set": {"format": FORMAT + 1, "oldest": FORMAT + 1}})
            with pytest.raises(StoreVersion):
                asyncio.run(open_and_close(url))
            layout.update_one({}, {"$set": {"format": FORMAT + 1, "oldest": FORMAT}})
            asyncio.run(open_and_close(url))
            layout.update_one({}, {"$set": {"format": 1, "oldest": 1}})
            asyncio.run(open_and_close(url))
            found = layout.find_one({})
            assert found is not None
            assert (found["format"], found["oldest"]) == (FORMAT, OLDEST)

    def test_the_number_of_shards_stays(self, mongo: Mongo) -> None:
        async def story(store: MongoStore, _: dict[int, Lease]) -> None:
            other = open_store(mongo.url("?assume_durable=yes&shards=3"))
            await other.open()
            try:
                with pytest.raises(StoreNotUsable, match="for ever"):
                    await other.shards(APP)
            finally:
                await other.close()

        told(mongo, story)

    def test_what_was_opened_to_read_does_not_write(self, mongo: Mongo) -> None:
        async def story(store: MongoStore, leases: dict[int, Lease]) -> None:
            (id,) = ids_of(0)
            reader = open_store(mongo.url(OPTIONS), read_only=True)
            await reader.open()
            try:
                assert await reader.head(leases[0].shard, id) is None
                with pytest.raises(StoreNotUsable, match="read_only"):
                    await reader.create(leases[0].shard, a_creation(id))
            finally:
                await reader.close()
            with pytest.raises(NotOpen):
                await reader.apps()

        told(mongo, story)

    def test_a_store_that_was_put_back_is_noticed(self, mongo: Mongo) -> None:
        async def story(store: MongoStore, leases: dict[int, Lease]) -> None:
            with mongo.client() as client:
                client.shop.perdure_shards.update_many({}, {"$set": {"epoch": 0}})
            with pytest.raises(StoreRolledBack):
                await store.acquire(APP, "first")
            with pytest.raises(StoreRolledBack):
                await store.commit([Batch(leases[0], [turn(leases[0], "x", None)])], "t")

        told(mongo, story)


class TestFences:
    @pytest.mark.parametrize("is_start", [False, True])
    def test_a_commit_that_arrives_after_the_takeover_writes_nothing(
        self, mongo: Mongo, monkeypatch: pytest.MonkeyPatch, is_start: bool
    ) -> None:
        """The first owner is stopped between what it announced and its write."""
        there, free = ids_of(0, 2)
        write = Heads.write

        async def story(store: MongoStore, leases: dict[int, Lease]) -> None:
            await committed(store, leases[0], turn(leases[0], there, None))
            heirs: list[MongoStore] = []

            async def late(self: Heads, document: Document, held: Any) -> bool:
                monkeypatch.setattr(Heads, "write", write)
                heir, now_held = await heir_of(mongo)
                heirs.append(heir)
                assert now_held[0].epoch > leases[0].epoch
                return await write(self, document, held)

            monkeypatch.setattr(Heads, "write", late)
            late_turn = turn(leases[0], free, None) if is_start else turn(leases[0], there, 1, segment=b"[]")
            assert await store.commit([Batch(leases[0], [late_turn])], "late") == [Outcome.FENCED]
            found = await store.head(leases[0].shard, late_turn.id)
            assert (found and found.sequence) == (None if is_start else 1)
            for heir in heirs:
                (lease, *_) = await heir.acquire(APP, "heir")
                await committed(heir, lease, replace(late_turn, shard=lease.shard))
                await heir.close()

        told(mongo, story)

    def test_a_write_that_arrives_after_its_outcome_was_asked_for_is_refused(
        self, mongo: Mongo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        id, other = ids_of(0, 2)
        write = Heads.write
        late: list[tuple[Heads, Document, Any]] = []

        async def story(store: MongoStore, leases: dict[int, Lease]) -> None:
            await committed(store, leases[0], turn(leases[0], id, None), turn(leases[0], other, None))

            async def cut(self: Heads, document: Document, held: Any) -> bool:
                if document.instance.head.id == other:
                    return await write(self, document, held)
                late.append((self, document, held))
                raise StoreUnavailable("the cable is cut")

            monkeypatch.setattr(Heads, "write", cut)
            turns = [turn(leases[0], one, 1, segment=b"[]") for one in (id, other)]
            with pytest.raises(StoreUnavailable):
                await store.commit([Batch(leases[0], turns)], "cut")
            monkeypatch.setattr(Heads, "write", write)
            assert not await store.settle_unknown(leases[0], "cut"), "only one of two was written"
            assert not await write(*late[0])
            again = await store.commit([Batch(leases[0], turns)], "again")
            assert again == [Outcome.COMMITTED, Outcome.CONFLICT]
            assert [head.sequence for head in await store.heads([(leases[0].shard, one) for one in (id, other)])] == [
                2,
                2,
            ]
            assert not await store.settle_unknown(leases[0], "cut")

        told(mongo, story)

    def test_others_that_write_meanwhile_keep_no_turn_from_being_written(
        self, mongo: Mongo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (id,) = ids_of(0)
        write = Heads.write

        async def story(store: MongoStore, leases: dict[int, Lease]) -> None:
            await committed(store, leases[0], turn(leases[0], id, None))

            async def overtaken(self: Heads, document: Document, held: Any) -> bool:
                monkeypatch.setattr(Heads, "write", write)
                await store.deliver(leases[0].shard, [a_mail(id, "first")])
                return await write(self, document, held)

            monkeypatch.setattr(Heads, "write", overtaken)
            await committed(store, leases[0], turn(leases[0], id, 1, segment=b"[]"))
            assert await keys(store, leases[0], id) == ["first"]

        told(mongo, story)


class TestOutbox:
    def test_what_is_sent_arrives_in_order_and_nothing_is_left(self, mongo: Mongo) -> None:
        (here,), (there,) = ids_of(0), ids_of(1)

        async def story(store: MongoStore, leases: dict[int, Lease]) -> None:
            await committed(store, leases[0], turn(leases[0], here, None))
            await committed(store, leases[1], turn(leases[1], there, None))
            for number in range(1, 8):
                mail = [a_mail(there, f"m{number}"), a_mail(there, f"n{number}")]
                await committed(store, leases[0], turn(leases[0], here, number, mail=mail))
            await store.emptied()
            assert await keys(store, leases[1], there) == [f"{kind}{number}" for number in range(1, 8) for kind in "mn"]
            assert waiting(mongo) == 0

        told(mongo, story)

    @pytest.mark.parametrize("receiver", [0, 1])
    def test_an_heir_sends_what_its_predecessor_could_not(
        self, mongo: Mongo, monkeypatch: pytest.MonkeyPatch, receiver: int
    ) -> None:
        here, there = ids_of(0)[0], ids_of(receiver, 2)[1]
        carry = outbox.Outbox._carry

        async def story(store: MongoStore, leases: dict[int, Lease]) -> None:
            await committed(store, leases[0], turn(leases[0], here, None))
            await committed(store, leases[receiver], turn(leases[receiver], there, None))
            monkeypatch.setattr(outbox.Outbox, "_carry", dead)
            for number, key in enumerate(("first", "second"), 1):
                await committed(store, leases[0], turn(leases[0], here, number, mail=[a_mail(there, key)]))
            assert waiting(mongo) == 2
            await store.close()
            monkeypatch.setattr(outbox.Outbox, "_carry", carry)
            heir, held = await heir_of(mongo)
            await heir.emptied()
            assert await keys(heir, held[receiver], there) == ["first", "second"]
            assert waiting(mongo) == 0
            await heir.close()

        told(mongo, story)

    def test_a_crash_between_delivery_and_deletion_delivers_nothing_twice(
        self, mongo: Mongo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also when the receiver has consumed it meanwhile and its letter comes again."""
        (here,), (there,) = ids_of(0), ids_of(1)
        forget = outbox.Outbox._forget

        async def story(store: MongoStore, leases: dict[int, Lease]) -> None:
            await committed(store, leases[0], turn(leases[0], here, None))
            await committed(store, leases[1], turn(leases[1], there, None))
            monkeypatch.setattr(outbox.Outbox, "_forget", dead)
            await committed(store, leases[0], turn(leases[0], here, 1, mail=[a_mail(there, "once")]))
            while await keys(store, leases[1], there) != ["once"]:
                await asyncio.sleep(0)
            await committed(store, leases[1], turn(leases[1], there, 1, consumed=["once"], seen=["once"]))
            await store.close()
            monkeypatch.setattr(outbox.Outbox, "_forget", forget)
            heir, held = await heir_of(mongo)
            await heir.emptied()
            assert await keys(heir, held[1], there) == []
            assert waiting(mongo) == 0
            await heir.close()

        told(mongo, story)

    def test_a_refusal_comes_back_though_its_carrier_dies_and_the_id_falls_free(
        self, mongo: Mongo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who has noted the refusal has decided it: the next carrier tells it, and creates nothing."""
        (here,), (there,) = ids_of(0), ids_of(1)
        deliver = outbox.Visits.deliver

        async def story(store: MongoStore, leases: dict[int, Lease]) -> None:
            await committed(store, leases[0], turn(leases[0], here, None))
            await committed(store, leases[1], turn(leases[1], there, None))
            refusal = a_mail(here, "refused", execution="e1", generation=1)
            creation = a_creation(there, execution="c", refusal=refusal)
            monkeypatch.setattr(outbox.Visits, "deliver", dead)
            await committed(store, leases[0], turn(leases[0], here, 1, created=[creation]))
            while not is_refused(mongo):
                await asyncio.sleep(0.01)
            await store.close()
            monkeypatch.setattr(outbox.Visits, "deliver", deliver)
            with mongo.client() as client:
                client.shop.perdure_heads.delete_one({"_id": key_of(leases[1].shard, there)})
            heir, held = await heir_of(mongo)
            await heir.emptied()
            assert await keys(heir, held[0], here) == ["refused"]
            assert await heir.head(held[1].shard, there) is None
            await heir.close()

        told(mongo, story)

    def test_what_an_instance_has_still_to_send_outlives_it(
        self, mongo: Mongo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (here, again), (there,) = ids_of(0, 2), ids_of(1)
        carry = outbox.Outbox._carry

        async def story(store: MongoStore, leases: dict[int, Lease]) -> None:
            shard = leases[0].shard
            await committed(store, leases[1], turn(leases[1], there, None))
            monkeypatch.setattr(outbox.Outbox, "_carry", dead)
            long = b'"' + b"x" * 2 * INLINE_BYTES_MAX + b'"'
            for id in (here, again):
                await committed(store, leases[0], turn(leases[0], id, None))
                ended = a_head(id, status="completed", finished=9, sequence=2)
                mail = [a_mail(there, f"of {id}", event=long)]
                permits = [Permit("q", 5, 2**60)]
                await committed(store, leases[0], turn(leases[0], id, 1, head=ended, mail=mail, permits=permits))
            await store.create(shard, a_creation(again, execution="e2"))
            monkeypatch.setattr(outbox.Outbox, "_carry", carry)
            assert await store.purge(shard, [here]) == [here]
            assert await store.permits(shard, 0) == [Permit("q", 5, 2**60)] * 2
            await store.emptied()
            (loaded,) = await store.load(leases[1].shard, [there])
            assert {(mail.key, mail.event) for mail in loaded.mail} == {(f"of {id}", long) for id in (here, again)}
            assert waiting(mongo) == 0

        told(mongo, story)


async def dead(*given: Any) -> Any:
    """As if the process had died before it."""
    raise StoreUnavailable("the process is dead")


def waiting(mongo: Mongo) -> int:
    """Letters that have not arrived."""
    with mongo.client() as client:
        return sum(len(doc.get("outbox", {})) for doc in client.shop.perdure_heads.find({}))


def is_refused(mongo: Mongo) -> bool:
    with mongo.client() as client:
        found = client.shop.perdure_heads.find({})
        return any('"refused":true' in text for doc in found for text in doc.get("outbox", {}).values())


class TestPayloads:
    def test_long_ones_lie_apart_and_go_when_nobody_refers_to_them(self, mongo: Mongo) -> None:
        (id,) = ids_of(0)
        long = b'{"x":"' + b"x" * 2 * INLINE_BYTES_MAX + b'"}'
        payload = Payload("json", None, Raw(long))

        async def story(store: MongoStore, leases: dict[int, Lease]) -> None:
            shard, lease = leases[0].shard, leases[0]
            opened = [a_call(1, input=payload, options=long), Wait(2, "timer", "", 5, due=9)]
            head = a_head(id, sequence=1, custom_status=payload)
            await committed(store, lease, turn(lease, id, None, head=head, opened=opened, segment=long))
            await store.deliver(shard, [a_mail(id, "m", event=long), a_mail(id, "n")])
            (loaded,) = await store.load(shard, [id])
            assert (loaded.head, loaded.waits, loaded.mail[0].event) == (head, opened, long)
            assert loaded.segments[0].events == long
            assert await store.find(query_of(id)) is not None
            assert payloads(mongo) == 5
            changed = [a_call(1, input=payload, options=b"{}", attempt=2)]
            await committed(store, lease, turn(lease, id, 1, consumed=["m"], changed=changed, segment=b"[]"))
            (loaded,) = await store.load(shard, [id])
            assert [segment.events for segment in loaded.segments] == [long, b"[]"]
            assert loaded.waits[0] == changed[0]
            ended = a_head(id, sequence=3, status="completed", finished=9)
            await committed(store, lease, turn(lease, id, 2, head=ended, closed=[1]))
            assert payloads(mongo) == 1, "the history is kept"
            await store.purge(shard, [id])
            assert payloads(mongo) == 0

        told(mongo, story)

    def test_an_endless_run_leaves_nothing_of_its_past(self, mongo: Mongo) -> None:
        (id,) = ids_of(0)
        long = b'["' + b"x" * 2 * INLINE_BYTES_MAX + b'"]'

        async def story(store: MongoStore, leases: dict[int, Lease]) -> None:
            await committed(store, leases[0], turn(leases[0], id, None, segment=long))
            for number in range(1, 6):
                head = a_head(id, generation=number // 2 + 1, sequence=number + 1)
                erase, generation = number % 2 == 0, (number + 1) // 2
                await committed(
                    store,
                    leases[0],
                    replace(turn(leases[0], id, number, head=head, segment=long, erase=erase), generation=generation),
                )
            (loaded,) = await store.load(leases[0].shard, [id])
            assert [segment.sequence for segment in loaded.segments] == [5, 6]
            assert payloads(mongo) == 2
            with mongo.client() as client:
                assert client.shop.perdure_log.count_documents({}) == 1

        told(mongo, story)

    def test_what_looks_like_a_reference_is_none(self, mongo: Mongo) -> None:
        (id,) = ids_of(0)
        event = b'{"\\u0000":"0123456789abcdef01234567"}'

        async def story(store: MongoStore, leases: dict[int, Lease]) -> None:
            await committed(store, leases[0], turn(leases[0], id, None, segment=event))
            await store.deliver(leases[0].shard, [a_mail(id, "m", event=event)])
            (loaded,) = await store.load(leases[0].shard, [id])
            assert (loaded.mail[0].event, loaded.segments[0].events) == (event, event)

        told(mongo, story)

    def test_a_turn_that_waits_for_too_much_at_once_is_refused(
        self, mongo: Mongo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(documents, "OPEN_MAX", 3)
        id, other = ids_of(0, 2)

        async def story(store: MongoStore, leases: dict[int, Lease]) -> None:
            calls = [a_call(number) for number in range(4)]
            turns = [turn(leases[0], id, None, opened=calls), turn(leases[0], other, None, opened=calls[:3])]
            outcomes = await store.commit([Batch(leases[0], turns)], "many")
            assert outcomes == [Outcome.TOO_LARGE, Outcome.COMMITTED]
            assert await store.head(leases[0].shard, id) is None

        told(mongo, story)

    def test_what_a_later_version_keeps_stays_as_it_is(self, mongo: Mongo) -> None:
        (id,) = ids_of(0)

        async def story(store: MongoStore, leases: dict[int, Lease]) -> None:
            await committed(store, leases[0], turn(leases[0], id, None, opened=[a_call(1), a_call(2)]))
            with mongo.client() as client:
                found = client.shop.perdure_heads
                doc = found.find_one({"id": id})
                assert doc is not None
                waits = {name: text[:-1] + ',"later":[1]}' for name, text in doc["waits"].items()}
                found.update_one({"id": id}, {"$set": {"waits": waits, "later": {"n": 1}}})
                await committed(store, leases[0], turn(leases[0], id, 1, changed=[a_call(1, attempt=2)]))
                doc = found.find_one({"id": id})
                assert doc is not None
                assert doc["later"] == {"n": 1}
                assert all('"later":[1]' in text for text in doc["waits"].values())
                assert '"attempt":2' in doc["waits"]["_1"]

        told(mongo, story)


def payloads(mongo: Mongo) -> int:
    with mongo.client() as client:
        return client.shop.perdure_payloads.count_documents({})


def query_of(id: str) -> Query:
    return Query(app=APP, text=id)


class TestMoves:
    def test_what_is_created_while_the_app_is_being_kept_is_taken_back(
        self, mongo: Mongo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (id,) = ids_of(0)
        write = Heads.write

        async def story(store: MongoStore, leases: dict[int, Lease]) -> None:
            await store.release(list(leases.values()))

            async def late(self: Heads, document: Document, held: Any) -> bool:
                monkeypatch.setattr(Heads, "write", write)
                await store.reserve(APP, KEPT)
                return await write(self, document, held)

            monkeypatch.setattr(Heads, "write", late)
            with pytest.raises(AppReserved):
                await store.create(leases[0].shard, a_creation(id))
            assert await store.roll(APP) == []
            assert await store.head(leases[0].shard, id) is None

        told(mongo, story)

    def test_mail_that_arrives_after_the_app_was_kept_is_refused(
        self, mongo: Mongo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (id,) = ids_of(0)
        write = Heads.write

        async def story(store: MongoStore, leases: dict[int, Lease]) -> None:
            await committed(store, leases[0], turn(leases[0], id, None))
            await store.release(list(leases.values()))

            async def late(self: Heads, document: Document, held: Any) -> bool:
                monkeypatch.setattr(Heads, "write", write)
                await store.reserve(APP, KEPT)
                return await write(self, document, held)

            monkeypatch.setattr(Heads, "write", late)
            with pytest.raises(AppReserved):
                await store.deliver(leases[0].shard, [a_mail(id, "late")])
            (whole,) = await store.export(leases[0].shard, [id])
            assert whole.mail == []

        told(mongo, story)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Mongo]:
    """A server of this test's own."""
    server = Mongo(tmp_path / "mongo")
    yield server
    server.kill()


@pytest.mark.long
def test_a_server_that_comes_back_is_used_again(alone: Mongo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.stores.mongo.database.SELECT_SECONDS", 1.0)
    (id,) = ids_of(0)

    async def story(store: MongoStore, leases: dict[int, Lease]) -> None:
        await committed(store, leases[0], turn(leases[0], id, None))
        alone.kill()
        with pytest.raises(StoreUnavailable):
            await store.head(leases[0].shard, id)
        alone.restart()
        found = await store.head(leases[0].shard, id)
        assert found is not None
        assert found.sequence == 1

    told(alone, story)
