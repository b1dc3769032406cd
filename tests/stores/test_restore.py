"""A server's database that goes back to an older copy of itself while nodes live, and what a new node makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from perdure.app import open_store
from perdure.errors import StoreRolledBack, StoreUnavailable
from perdure.stores.contract import Batch, Head, Member, Outcome, Status, Turn, shard_number
from servers import mariadb, postgres
from servers.postgres import PostgresServer

APP = "shop"


def a_turn(leases: list[Any], id: str) -> Batch:
    """The start of a run of this id."""
    ordered = sorted(leases, key=lambda lease: lease.number)
    lease = ordered[shard_number(id, len(ordered))]
    head = Head(id, APP, "buy", Status.RUNNING, f"e {id}", 1, 1, 5, 5)
    return Batch(lease, [Turn(lease.shard, id, head.execution, 1, None, 5, head, b"[1]")])


async def went_back(call: Callable[[], Any]) -> None:
    """The call notices it, if not at once then with the connection that takes the place of one that was cut."""
    for _ in range(5):
        try:
            await call()
        except StoreUnavailable:
            continue
        except StoreRolledBack:
            return
        break
    raise AssertionError("nobody noticed")


async def play(url: str, copy: Callable[[], None], restore: Callable[[], None]) -> None:
    first = open_store(url)
    await first.open()
    leases = await first.acquire(APP, "first")
    assert await first.commit([a_turn(leases, "known")], "t") == [Outcome.COMMITTED]
    await first.release(leases)
    await first.close()
    await asyncio.to_thread(copy)
    node = open_store(url)
    await node.open()
    leases = await node.acquire(APP, "node")
    assert await node.commit([a_turn(leases, "lost")], "t") == [Outcome.COMMITTED]
    await asyncio.to_thread(restore)
    await went_back(lambda: node.beat(APP, Member("node"), leases))
    await went_back(lambda: node.commit([a_turn(leases, "later")], "u"))
    await went_back(lambda: node.acquire(APP, "node"))
    await node.close()
    successor = open_store(url)
    await successor.open()
    found = [place.id for _, place in await successor.roll(APP)]
    assert found == ["known"], "what came after the copy is unknown to it"
    leases = await successor.acquire(APP, "successor")
    assert await successor.commit([a_turn(leases, "new")], "v") == [Outcome.COMMITTED], "and it goes on from there"
    await successor.close()


@pytest.mark.long
def test_nodes_notice_that_postgresql_is_an_older_copy() -> None:
    with postgres.running() as server:
        server.execute("create database live")

        def restore() -> None:
            server.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = 'live'")
            server.execute("drop database live with (force)")
            server.execute("alter database copy rename to live")

        url = server.address("live", options="?unsafe=fsync")
        asyncio.run(play(url, lambda: copied(server), restore))


def copied(server: PostgresServer) -> None:
    server.execute("create database copy template live")


@pytest.mark.mariadb
def test_nodes_notice_that_mariadb_is_an_older_copy() -> None:
    with mariadb.running(fsync=False) as server:
        live, copy = server.database(), server.database()

        def names() -> list[str]:
            sql = f"select table_name from information_schema.tables where table_schema = '{live}'"
            return [name for (name,) in server.run(f"{sql} and table_type = 'BASE TABLE'")]

        def save() -> None:
            for name in names():
                here, there = f"{live}.{name}", f"{copy}.{name}"
                server.run(f"create table {there} like {here}", f"insert into {there} select * from {here}")

        def restore() -> None:
            for name in names():
                server.run(f"delete from {live}.{name}", f"insert into {live}.{name} select * from {copy}.{name}")

        asyncio.run(play(server.url(live), save, restore))
