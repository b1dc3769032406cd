"""Stories that SQL stores on all servers tell alike, and what they are told by; each suite derives from them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from perdure.app import open_store
from perdure.errors import InvalidArgument, StoreNotUsable
from perdure.stores.contract import OFFERED, Lease, Member, Outcome
from perdure.stores.sql.cluster import ClusterStore
from perdure.testing.conformance import APP, Scene, a_call, a_creation, a_mail

SECONDS = 20.0
"""Bound of one story."""


@asynccontextmanager
async def nodes(address: str, count: int = 2) -> AsyncIterator[list[ClusterStore]]:
    """Some open stores on one database."""
    stores = [store_at(address) for _ in range(count)]
    try:
        for store in stores:
            await store.open()
        async with asyncio.timeout(SECONDS):
            yield stores
    finally:
        for store in stores:
            await store.close()


def store_at(address: str) -> ClusterStore:
    store = open_store(address)
    assert isinstance(store, ClusterStore)
    return store


def told(address: str, story: Callable[[ClusterStore], Awaitable[None]]) -> None:
    """Play a story with an open store at the address."""

    async def play() -> None:
        async with nodes(address, 1) as (store,):
            await story(store)

    asyncio.run(play())


def opened(address: str) -> None:
    """Open and close a store at the address."""

    async def nothing(_: ClusterStore) -> None:
        """Opening is enough."""

    told(address, nothing)


class OnServers:
    """A suite has a fixture `address`, of an empty database."""

    unwritable_ids: tuple[str, ...] = ("half a \ud800",)
    """What the server cannot keep as text."""

    def test_another_number_of_shards(self, address: str) -> None:
        opened(address + "&shards=8")
        with pytest.raises(StoreNotUsable, match=r"made with 8 shards and cannot have 64; write \?shards=8"):
            opened(address + "&shards=64")

        async def story(store: ClusterStore) -> None:
            assert len(await store.shards("shop")) == 8

        told(address, story)

    def test_nodes_that_come_at_once_make_one_store(self, address: str) -> None:
        async def play() -> None:
            stores = [store_at(address) for _ in range(4)]
            await asyncio.gather(*(store.open() for store in stores))
            shards = await asyncio.gather(*(store.shards("shop") for store in stores))
            assert all(found == shards[0] for found in shards)
            assert len(shards[0]) == 64
            for store in stores:
                await store.close()

        asyncio.run(play())

    def test_a_shard_has_one_owner_and_goes_to_an_heir_when_its_lease_runs_out(self, address: str) -> None:
        async def play() -> None:
            async with nodes(address + "&lease=1") as (first, second):
                shards = await first.shards(APP)
                taken, others = await asyncio.gather(
                    first.acquire(APP, "first", limit=40), second.acquire(APP, "second", limit=40)
                )
                while len(taken) + len(others) < 64:
                    others = await second.acquire(APP, "second", limit=64 - len(taken) - len(others))
                assert sorted(lease.shard for lease in taken + others) == shards
                scene = Scene(first, shards, taken)
                id = next(id for id in map(str, range(1_000)) if scene.shard(id) == taken[0].shard)
                await scene.start(id)
                beat = await second.beat(APP, Member("second", slots=7), others)
                assert [lease.shard for lease in beat.held] == [lease.shard for lease in others]
                assert [(member.owner, member.slots) for member in beat.members] == [("second", 7)]
                inherited: list[Lease] = []
                while len(inherited) < 64:
                    await second.beat(APP, Member("second"), others)
                    inherited = await second.acquire(APP, "second")
                assert await scene.commit(scene.turn(id, 1)) == [Outcome.FENCED]
                assert {lease.shard: lease.epoch for lease in inherited}[taken[0].shard] == 2
                assert (await first.beat(APP, Member("first"), taken)).held == []
                assert await second.holder(APP) == "second"

        asyncio.run(play())

    def test_a_heart_beats_on_a_connection_of_its_own(self, address: str) -> None:
        async def story(store: ClusterStore) -> None:
            leases = await store.acquire(APP, "one")
            heart = store.heart()
            beat = await heart.beat(APP, Member("one"), leases)
            assert [lease.shard for lease in beat.held] == [lease.shard for lease in leases]
            assert [(member.owner, member.until) for member in await store.members(APP)] == [
                ("one", beat.members[0].until)
            ]
            await heart.close()
            await store.leave(APP, "one")
            assert await store.members(APP) == []

        told(address, story)

    def test_mail_of_many_nodes_keeps_the_order_of_each(self, address: str) -> None:
        async def send(store: ClusterStore, scene: Scene, name: str) -> None:
            for number in range(30):
                await store.deliver(scene.shard("a"), [a_mail("a", f"{name}-{number:02}")])

        async def play() -> None:
            async with nodes(address, 3) as stores:
                scene = await Scene.of(stores[0])
                await scene.start("a")
                await asyncio.gather(*(send(store, scene, f"n{place}") for place, store in enumerate(stores)))
                keys = await scene.keys("a")
                assert len(keys) == 90
                for place in range(3):
                    sent = [key for key in keys if key.startswith(f"n{place}")]
                    assert sent == sorted(sent)

        asyncio.run(play())

    def test_an_id_is_created_once(self, address: str) -> None:
        async def play() -> None:
            async with nodes(address) as stores:
                scene = await Scene.of(stores[0])
                for number in range(20):
                    id = f"i{number}"
                    made = await asyncio.gather(
                        *(
                            store.create(scene.shard(id), a_creation(id, execution=f"e{place}"))
                            for place, store in enumerate(stores)
                        ),
                        return_exceptions=True,
                    )
                    assert sorted(type(one).__name__ for one in made) == ["InstanceExists", "NoneType"]
                    winner = [place for place, one in enumerate(made) if one is None]
                    assert (await scene.head(id)).execution == f"e{winner[0]}"

        asyncio.run(play())

    def test_a_call_is_claimed_once(self, address: str) -> None:
        async def play() -> None:
            async with nodes(address, 3) as stores:
                scene = await Scene.of(stores[0])
                offered = [replace(a_call(number), state=OFFERED) for number in range(60)]
                await scene.start("a", opened=offered)
                numbers: list[int] = []
                while len(numbers) < 60:
                    claimed = await asyncio.gather(
                        *(
                            store.claim(APP, f"n{place}", f"t{place}", ["charge"], 10, 60.0)
                            for place, store in enumerate(stores)
                        )
                    )
                    numbers += [call.wait.number for calls in claimed for call in calls]
                assert sorted(numbers) == list(range(60))

        asyncio.run(play())

    def test_text_that_cannot_be_stored_is_the_callers_mistake(self, address: str) -> None:
        async def story(store: ClusterStore) -> None:
            scene = await Scene.of(store)
            ids = ["first", *self.unwritable_ids, "last"]
            made = await asyncio.gather(
                *(store.create(scene.shard("a"), a_creation(id)) for id in ids), return_exceptions=True
            )
            refused = [InvalidArgument] * len(self.unwritable_ids)
            assert [type(one) for one in made] == [type(None), *refused, type(None)]

        told(address, story)

    def test_a_number_of_too_many_bits_is_the_callers_mistake(self, address: str) -> None:
        async def story(store: ClusterStore) -> None:
            scene = await Scene.of(store)
            with pytest.raises(InvalidArgument):
                await scene.create(a_creation("a", created=2**63))
            await scene.create(a_creation("a", created=2**63 - 1))

        told(address, story)
