"""The store in memory that writes to one shard at a time, and the cables between nodes and a store."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator

from perdure.stores.contract import Batch, Creation, Head, Lease, Mail, Status, Turn, shard_number
from perdure.testing.cables import Cables, Loss, Way
from perdure.testing.outbox import OutboxStore
from perdure.testing.tape import Tape

SHARDS = 4
SENDER = "sender"


def ids_elsewhere() -> Iterator[str]:
    """Ids of another shard than the sender's, all of one."""
    home = shard_number(SENDER, SHARDS)
    return (f"i{n}" for n in range(1_000) if shard_number(f"i{n}", SHARDS) == (home + 1) % SHARDS)


def a_head(id: str) -> Head:
    return Head(id, "shop", "main", Status.RUNNING, "e", 1, 1, 0, 0)


def letter(id: str, key: str) -> Mail:
    return Mail(id, key, b"{}", 1)


async def a_store(*instances: str) -> tuple[OutboxStore, Lease]:
    """With these running, and the lease of the sender's shard."""
    store = OutboxStore(SHARDS, 10.0, lambda: 0)
    shards = await store.shards("shop")
    leases = await store.acquire("shop", "me")
    for id in instances:
        (lease,) = [one for one in leases if one.shard == shards[shard_number(id, SHARDS)]]
        await store.commit([Batch(lease, [Turn(lease.shard, id, "e", 1, None, 1, head=a_head(id))])], id)
    (lease,) = [one for one in leases if one.shard == shards[shard_number(SENDER, SHARDS)]]
    return store, lease


async def sent(store: OutboxStore, lease: Lease, mail: list[Mail], created: list[Creation] | None = None) -> None:
    turn = Turn(lease.shard, SENDER, "e", 1, None, 1, head=a_head(SENDER), mail=mail, created=created or [])
    await store.commit([Batch(lease, [turn])], "t")


async def mail_of(store: OutboxStore, id: str) -> list[str]:
    shards = await store.shards("shop")
    (found,) = await store.load(shards[shard_number(id, SHARDS)], [id])
    return [mail.key for mail in found.mail]


def test_what_goes_to_another_shard_waits_and_comes_in_order() -> None:
    async def scenario() -> None:
        other = next(ids_elsewhere())
        store, lease = await a_store(other)
        await sent(store, lease, [letter(other, key) for key in "abc"] + [letter(SENDER, "own")])
        assert await mail_of(store, SENDER) == ["own"]
        assert await mail_of(store, other) == []
        while store.waiting:
            store.forward(random.Random(0))
        assert await mail_of(store, other) == ["a", "b", "c"]

    asyncio.run(scenario())


def test_a_forwarder_that_dies_delivers_again_and_loses_nothing() -> None:
    async def scenario() -> None:
        child = next(ids_elsewhere())
        told: list[str] = []
        store, lease = await a_store()
        store._told = lambda creation: told.append(creation.head.id)
        await sent(store, lease, [], [Creation(a_head(child), letter(child, "start"))])
        assert store.forward(random.Random(0), dies=True) == 1
        assert store.waiting == 1
        assert store.forward(random.Random(0)) == 1
        assert (store.waiting, told) == (0, [child, child])
        assert await mail_of(store, child) == ["start"]

    asyncio.run(scenario())


def test_a_refusal_comes_back_through_the_other_shard() -> None:
    async def scenario() -> None:
        taken = next(ids_elsewhere())
        store, lease = await a_store(taken)
        refused = Creation(
            Head(taken, "shop", "main", Status.PENDING, "another", 1, 0, 0, 0),
            letter(taken, "start"),
            refusal=letter(SENDER, "refused"),
        )
        await sent(store, lease, [], [refused])
        while store.waiting:
            store.forward(random.Random(0))
        assert await mail_of(store, SENDER) == ["refused"]

    asyncio.run(scenario())


def test_each_way_loses_what_it_says() -> None:
    counts: Counter[str] = Counter()
    cables = Cables(Tape(0), counts)
    lost = {
        Way.OPEN: (None, None, None),
        Way.CUT: (Loss.REQUEST, Loss.REQUEST, Loss.REQUEST),
        Way.MUTE: (Loss.ANSWER, Loss.ANSWER, Loss.ANSWER),
        Way.NO_BEATS: (None, Loss.REQUEST, None),
    }
    for way, expected in lost.items():
        cables.lay("a", way)
        assert tuple(cables.loss("a", name) for name in ("commit", "beat", "create")) == expected
        assert cables.loss("b", "commit") is None
    cables.lay("a", Way.SLOW)
    assert {cables.loss("a", name) for name in ("commit", "beat") for _ in range(100)} == {None, Loss.LATE}
    assert {cables.loss("a", "load") for _ in range(100)} == {None}
    cables.lay("a", Way.FLAPPING)
    assert {cables.loss("a", "commit") for _ in range(100)} == {None, Loss.REQUEST, Loss.ANSWER}
    cables.lay_trunk(Way.CUT)
    assert cables.loss("b", "load") is Loss.REQUEST
    cables.heal()
    assert cables.loss("a", "commit") is cables.loss("b", "load") is None
    assert counts[Loss.LATE] > 100
