"""Nodes on one MariaDB that are in each other's way, and what it costs them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from typing import Any

import pytest

from perdure.stores.contract import Member, Outcome
from perdure.stores.sql.cluster import ClusterStore
from perdure.stores.sql.connection import Connection
from perdure.stores.sql.mysql.connection import MysqlConnection
from perdure.testing.conformance import APP, Scene, a_call, a_creation, a_head, a_mail
from servers.mariadb import MariaDb
from tests.stores.mysql.places import database_of
from tests.stores.on_servers import SECONDS, OnServers, nodes, told

pytestmark = pytest.mark.mariadb


class TestNodes(OnServers):
    def test_a_finished_run_and_what_is_sent_to_it_meanwhile_leave_nothing(self, server: MariaDb, address: str) -> None:
        """Mail waits for the purge, and finds nobody; without the lock it would stay for ever."""

        async def play() -> None:
            async with nodes(address) as (owner, other):
                scene = await Scene.of(owner)
                for number in range(20):
                    id = f"i{number}"
                    await scene.start(id)
                    await scene.finish(id)
                    await asyncio.gather(
                        owner.purge(scene.shard(id), [id]), other.deliver(scene.shard(id), [a_mail(id, "k")])
                    )

        asyncio.run(play())
        assert server.run("select count(*) from perdure_mail", database=database_of(address)) == [(0,)]

    def test_a_hint_reaches_the_node_that_owns_the_shard(self, address: str) -> None:
        async def play() -> None:
            async with nodes(address) as (owner, other):
                scene = await Scene.of(owner)
                await scene.start("a")
                hints = owner.watch()
                heard = asyncio.ensure_future(anext(hints))
                for number in range(1_000):
                    await other.deliver(scene.shard("a"), [a_mail("a", f"k{number}")])
                    if (await asyncio.wait([heard], timeout=0.05))[0]:
                        break
                await heard
                await hints.aclose()  # type: ignore[attr-defined]

        asyncio.run(play())

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
                assert len(tries) == 3
                assert (await scene.head("a")).updated == 1_002

        asyncio.run(play())

    def test_commits_that_write_to_each_others_instances_all_succeed(self, address: str) -> None:
        async def turns(scene: Scene, own: str, to: str) -> None:
            for number in range(1, 31):
                mail = [a_mail(to, f"{own} {number}")]
                assert await scene.commit(scene.turn(own, number, mail=mail), commit_id=f"{own} {number}") == [
                    Outcome.COMMITTED
                ]

        async def play() -> None:
            async with nodes(address) as (first, second):
                shards = await first.shards(APP)
                leases = await first.acquire(APP, "first", limit=32) + await second.acquire(APP, "second", limit=32)
                scenes = [Scene(store, shards, leases) for store in (first, second)]
                ids = [
                    next(id for id in map(str, range(1_000)) if scenes[0].shard(id) == leases[place].shard)
                    for place in (0, 32)
                ]
                for scene, id in zip(scenes, ids, strict=True):
                    await scene.start(id)
                await asyncio.gather(turns(scenes[0], ids[0], ids[1]), turns(scenes[1], ids[1], ids[0]))
                for id in ids:
                    assert len(await scenes[0].keys(id)) == 30

        asyncio.run(play())


class TestRoundTrips:
    """A commit is one packet, however many turns it has, and so is a look at all shards."""

    def test_of_commits_and_looks(self, address: str) -> None:
        async def story(store: ClusterStore) -> None:
            scene = await Scene.of(store)
            leases = list(scene._leases.values())

            async def trips(call: Awaitable[Any]) -> int:
                counts = await self.counts(store)
                await call
                return sum(after - before for before, after in zip(counts, await self.counts(store), strict=True))

            await scene.start("b")
            turns = [scene.turn("a", None, head=a_head("a", sequence=1), segment=b"[]", opened=[a_call(1)])]
            assert await trips(scene.commit(*turns)) == 1
            turns = [scene.turn("a", 1, segment=b"[]", closed=[1], mail=[a_mail("b", "k")], consumed=["x"], seen=["y"])]
            assert await trips(scene.commit(*turns)) == 1
            await scene.deliver("a", "k0")  # because the connection learns the app of the shard once
            assert await trips(store.deliver(scene.shard("a"), [a_mail("a", "k1"), a_mail("a", "k2")])) == 1
            assert await trips(store.create(scene.shard("a"), a_creation("c"))) == 1
            assert await trips(store.mail(leases)) == 1
            assert await trips(store.due(leases, 10**9)) == 1
            assert await trips(store.beat(APP, Member("first owner"), leases)) == 1
            assert await trips(store.claim(APP, "o", "t", ["f"], 5, 60.0)) <= 2

        told(address, story)

    @staticmethod
    async def counts(store: ClusterStore) -> list[int]:
        def count(connection: Connection) -> int:
            assert isinstance(connection, MysqlConnection)
            return connection.round_trips

        return [await store._session(session).run(count) for session in (store._writer, store._reader)]
