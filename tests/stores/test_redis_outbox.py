"""What commits send to other shards arrives: in order, also if the sender died, and without harm if it comes twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from perdure.errors import StoreUnavailable
from perdure.stores import carrier
from perdure.stores.contract import Batch, Lease, Outcome, Turn, shard_number
from perdure.stores.redis import outbox
from perdure.stores.redis.address import Address, read_address
from perdure.stores.redis.outbox import PAGE
from perdure.stores.redis.server import Ask, Server
from perdure.stores.redis.store import RedisStore
from perdure.testing.conformance import APP, a_creation, a_head, a_mail
from servers.valkey import Valkey

SHARDS = 4
URL = f"?accept_durability=C&shards={SHARDS}&lease=30"


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing does not wait long for a process that is dead."""
    monkeypatch.setattr(carrier, "CLOSE_SECONDS", 0.1)


class Dying(Server):
    """Gives no answer to a script from now on, as if its process had died before it.

    It has died for good when its store is closed; until then it tries again, and what it has sent already comes twice.
    """

    fatal = ""

    async def run(self, name: str, asks: Sequence[Ask]) -> list[Any]:
        if name == self.fatal:
            raise StoreUnavailable("the process is dead")
        return await super().run(name, asks)


def told(valkey: Valkey, story: Callable[[RedisStore, dict[int, Lease]], Awaitable[None]], fatal: str = "") -> None:
    """Play a story with an open store that holds all shards, whose process dies before the script named."""
    valkey.clear()

    def server(address: Address, read_only: bool) -> Server:
        found = Dying(address, read_only)
        found.fatal = fatal
        return found

    async def play() -> None:
        store = RedisStore(read_address(valkey.url(URL)), server=server)
        await store.open()
        leases = {lease.number: lease for lease in await store.acquire(APP, "first")}
        try:
            await story(store, leases)
        finally:
            await store.close()

    asyncio.run(play())


def ids_of(number: int, count: int = 1) -> list[str]:
    """Instances of the app's shard of this number."""
    found = (f"i{n}" for n in range(10_000))
    return [id for id in found if shard_number(id, SHARDS) == number][:count]


async def start(store: RedisStore, lease: Lease, id: str) -> None:
    turn = Turn(lease.shard, id, "e1", 1, None, 5, a_head(id, sequence=1))
    assert await store.commit([Batch(lease, [turn])], "start") == [Outcome.COMMITTED]


async def sent(store: RedisStore, lease: Lease, id: str, expected: int, **what: Any) -> None:
    turn = Turn(lease.shard, id, "e1", 1, expected, 6, **what)
    assert await store.commit([Batch(lease, [turn])], f"sent {expected}") == [Outcome.COMMITTED]


async def keys(store: RedisStore, lease: Lease, id: str) -> list[str]:
    (loaded,) = await store.load(lease.shard, [id])
    return [mail.key for mail in loaded.mail]


async def heir_of(valkey: Valkey) -> tuple[RedisStore, dict[int, Lease]]:
    """Who takes all shards over from a dead owner."""
    valkey.expire_leases()
    heir = RedisStore(read_address(valkey.url(URL)))
    await heir.open()
    return heir, {lease.number: lease for lease in await heir.acquire(APP, "heir")}


def waiting(valkey: Valkey) -> int:
    """Letters in all outboxes."""
    with valkey.client() as client:
        return sum(client.zcard(key) for key in client.scan_iter("perdure:{*}:out:*"))


def test_what_is_sent_arrives_in_order_and_nothing_is_left(valkey: Valkey) -> None:
    (here,), (there,) = ids_of(0), ids_of(1)

    async def story(store: RedisStore, leases: dict[int, Lease]) -> None:
        await start(store, leases[0], here)
        await start(store, leases[1], there)
        for number in range(1, 30):
            await sent(store, leases[0], here, number, mail=[a_mail(there, f"m{number}"), a_mail(there, f"n{number}")])
        await store.emptied()
        assert await keys(store, leases[1], there) == [f"{kind}{number}" for number in range(1, 30) for kind in "mn"]
        assert waiting(valkey) == 0

    told(valkey, story)


def test_an_heir_sends_what_its_predecessor_could_not(valkey: Valkey) -> None:
    (here,), (there,) = ids_of(0), ids_of(1)
    messages = [f"m{number:04}" for number in range(2 * PAGE + 3)]

    async def story(store: RedisStore, leases: dict[int, Lease]) -> None:
        await start(store, leases[0], here)
        await start(store, leases[1], there)
        await sent(store, leases[0], here, 1, mail=[a_mail(there, key) for key in messages])
        assert await keys(store, leases[1], there) == []
        assert waiting(valkey) == len(messages)
        await store.close()
        heir, taken = await heir_of(valkey)
        await heir.emptied()
        assert await keys(heir, taken[1], there) == messages
        assert waiting(valkey) == 0
        await heir.close()

    told(valkey, story, fatal="receive")


def test_a_page_of_an_outbox_is_bounded_in_bytes(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "BYTES_PER_CALL_MAX", 1_000)
    (here,), (there,) = ids_of(0), ids_of(1)
    sizes = [10, 700, 3_000, 10, 900, 900, 10]

    async def story(store: RedisStore, leases: dict[int, Lease]) -> None:
        await start(store, leases[0], here)
        await start(store, leases[1], there)
        mail = [a_mail(there, f"m{n}", event=b'"' + b"x" * size + b'"') for n, size in enumerate(sizes)]
        await sent(store, leases[0], here, 1, mail=mail)
        await store.close()
        heir, taken = await heir_of(valkey)
        await heir.emptied()
        assert await keys(heir, taken[1], there) == [f"m{n}" for n in range(len(sizes))]
        await heir.close()

    told(valkey, story, fatal="receive")


def test_a_crash_between_delivery_and_deletion_delivers_nothing_twice(valkey: Valkey) -> None:
    (here,), (there, *_) = ids_of(0), ids_of(1)
    child = ids_of(1, 2)[1]

    async def story(store: RedisStore, leases: dict[int, Lease]) -> None:
        await start(store, leases[0], here)
        await start(store, leases[1], there)
        creation = a_creation(child, execution="c1", parent_call="e1/1/7", refusal=a_mail(here, "refused"))
        await sent(store, leases[0], here, 1, mail=[a_mail(there, "m")], created=[creation])
        while not await keys(store, leases[1], there):
            await asyncio.sleep(0)
        # the receivers consume what they got, and the child ends, before the heir sends it again
        await sent(store, leases[1], there, 1, consumed=["m"], seen=["m"])
        ended = a_head(child, execution="c1", status="completed", finished=9, sequence=1)
        done = Turn(leases[1].shard, child, "c1", 1, 0, 9, ended, consumed=["start c1"])
        assert await store.commit([Batch(leases[1], [done])], "ended") == [Outcome.COMMITTED]
        assert waiting(valkey) == 2
        await store.close()
        heir, taken = await heir_of(valkey)
        await heir.emptied()
        assert waiting(valkey) == 0
        assert await keys(heir, taken[1], there) == []
        assert await keys(heir, taken[1], child) == []
        assert await keys(heir, taken[0], here) == [], "the child is the one that was asked for"
        (loaded,) = await heir.load(taken[1].shard, [child])
        assert (loaded.head.execution, loaded.head.status) == ("c1", "completed")
        await heir.close()

    told(valkey, story, fatal="forget")


def test_a_refusal_comes_back_though_its_carrier_dies(valkey: Valkey) -> None:
    (here,), (there,) = ids_of(0), ids_of(1)

    async def story(store: RedisStore, leases: dict[int, Lease]) -> None:
        await start(store, leases[0], here)
        await start(store, leases[1], there)
        creation = a_creation(there, execution="c1", refusal=a_mail(here, "refused", execution="e1", generation=1))
        await sent(store, leases[0], here, 1, created=[creation])
        while not waiting_in(valkey, leases[1]):
            await asyncio.sleep(0)
        assert await keys(store, leases[0], here) == []
        await store.close()
        heir, taken = await heir_of(valkey)
        await heir.emptied()
        assert await keys(heir, taken[0], here) == ["refused"]
        assert waiting(valkey) == 0
        await heir.close()

    told(valkey, story, fatal="forget")


def waiting_in(valkey: Valkey, lease: Lease) -> bool:
    with valkey.client() as client:
        return any(client.scan_iter(f"perdure:{{{lease.shard // 4096}-{lease.number}}}:out:*"))


def test_a_poll_finds_what_stays_in_an_outbox(valkey: Valkey) -> None:
    """Refusals stay in that of the receiver's shard if whoever delivered died, and its owner lives on."""
    (here,), (there,) = ids_of(0), ids_of(1)

    async def story(store: RedisStore, leases: dict[int, Lease]) -> None:
        await start(store, leases[0], here)
        await start(store, leases[1], there)
        await sent(store, leases[0], here, 1, mail=[a_mail(there, "m")])
        owner, taken = await heir_of(valkey)
        await owner.emptied()
        await owner.commit([Batch(taken[1], [Turn(taken[1].shard, there, "e1", 1, 1, 7)])], "x")
        with valkey.client() as client:  # as a carrier leaves it that dies after its delivery
            copy = b"\x91\x94" + b"".join(
                [pack(here), pack("late"), b"\xc2", pack("8000000000000005" + '["e"]')],
            )
            letters = f"perdure:{{{taken[1].shard // 4096}-1}}:out"
            client.sadd(letters, taken[0].shard)
            client.zadd(f"{letters}:{taken[0].shard}", {b"8000000000000001" + copy: 0})
        for _ in range(2):
            await owner.mail(list(taken.values()))
        await owner.emptied()
        assert await keys(owner, taken[0], here) == ["late"]
        await owner.close()

    told(valkey, story, fatal="receive")


def pack(text: str) -> bytes:
    return b"\xd9" + bytes([len(text)]) + text.encode()
