"""What `explain` says of instances whose code is with remote workers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from perdure import Client
from perdure.clock import SECOND
from perdure.errors import StoreFull
from perdure.history.actions import CreateTimer
from perdure.history.state import Explanation
from perdure.remote.requests import Filters
from perdure.remote.server import Server
from perdure.remote.settings import Listener, ServerSettings
from perdure.remote.wire.codec import MICROSOFT
from perdure.stores.contract import Batch, Outcome
from perdure.stores.memory import MemoryStore
from tests.remote.peer import Peer, until
from tests.remote.test_server import CHARGE, DONE, port, scene, serving


class Full(MemoryStore):
    """A store that has no room for turns while it is told so."""

    has_room = True

    async def commit(self, batches: Sequence[Batch], token: str) -> list[Outcome]:
        if not self.has_room:
            raise StoreFull("no room is left")
        return await super().commit(batches, token)


async def told(server: Server, id: str) -> Explanation:
    return await (await server.hosted.operations("shop")).explain(id)


async def caused(server: Server, id: str, cause: str) -> Explanation:
    async def look() -> Explanation | None:
        found = await told(server, id)
        return found if found.cause == cause else None

    found: Explanation = await until(look)
    return found


@scene
async def test_a_start_that_no_worker_has_seen_says_that_none_is_connected(server: Server, peer: Peer) -> None:
    await peer.start("checkout", "order-1")
    assert (await told(server, "order-1")).sentence == (
        "checkout order-1 has not begun: no worker of app shop is connected; start the program that has its code."
    )


def test_a_start_that_no_worker_takes_names_the_workflow(tmp_path: Path) -> None:
    async def play() -> Explanation:
        async with serving(tmp_path) as server, Peer(port(server), MICROSOFT) as peer:
            work = peer.work(filters=Filters(workflows={"refund": frozenset()}))
            await peer.start("checkout", "order-1")
            await peer.start("refund", "order-2")
            await work.turn()
            return await told(server, "order-1")

    found = asyncio.run(play())
    assert found.cause == "no-code"
    assert found.sentence.endswith("the only worker of app shop that is connected has no workflow checkout.")


@scene
async def test_a_turn_that_is_out_says_for_how_long(server: Server, peer: Peer) -> None:
    work = peer.work()
    await peer.start("checkout", "order-1")
    await work.turn()
    found = await told(server, "order-1")
    assert found.cause == "with-worker"
    assert found.sentence.endswith("without a word it goes to another in 120 s, or when its connection ends.")


def test_a_turn_in_line_says_where(tmp_path: Path) -> None:
    async def play() -> Explanation:
        async with serving(tmp_path) as server, Peer(port(server), MICROSOFT) as peer:
            work = peer.work(turns_max=1)
            for id in ("order-1", "order-2", "order-3"):
                await peer.start("checkout", id)
            await work.turn()
            return await caused(server, "order-3", "no-room")

    assert asyncio.run(play()).sentence.endswith("it is number 2 of 2 in line until a worker has room.")


@scene
async def test_a_result_that_no_worker_takes_is_not_called_an_activity_that_runs(server: Server, peer: Peer) -> None:
    work = peer.work()
    await peer.start("checkout", "order-1")
    await peer.answer(await work.turn(), CHARGE)
    attempt = await work.activity()
    found = await caused(server, "order-1", "with-worker")
    assert "waits for activity charge, attempt 1: a worker was last heard of it" in found.sentence
    work.leave()
    found = await caused(server, "order-1", "no-worker")
    assert "waits for activity charge, attempt 1: no worker of app shop is connected" in found.sentence
    await peer.finish(attempt, "42")
    found = await caused(server, "order-1", "no-worker")
    assert found.sentence.startswith("checkout order-1 has a message to take: no worker of app shop is connected")


@pytest.mark.long
@scene
async def test_a_timer_that_is_due_is_not_said_to_lie_ahead(server: Server, peer: Peer) -> None:
    work = peer.work()
    await peer.start("checkout", "order-1")
    turn = await work.turn()
    due = server.hosted.clock.now() + SECOND
    await peer.answer(turn, CreateTimer(number=1, due=due))
    assert (await caused(server, "order-1", "timer")).since is not None
    work.leave()
    found = await caused(server, "order-1", "no-worker")
    assert found.sentence.startswith("checkout order-1 has a message to take: no worker")


@scene
async def test_what_waits_for_the_world_needs_no_worker(server: Server, peer: Peer) -> None:
    work = peer.work()
    await peer.start("checkout", "order-1")
    await peer.answer(await work.turn())
    work.leave()
    found = await caused(server, "order-1", "event-unnamed")
    assert found.command == "perdure terminate order-1"
    assert "has no call open, so it waits for an event" in found.sentence


@scene
async def test_an_entity_says_that_no_worker_is_there(server: Server, peer: Peer) -> None:
    await (await server.hosted.operations("shop")).entities.signal("@counter@a", "add", "r1")
    found = await caused(server, "@counter@a", "no-worker")
    assert found.sentence.startswith(
        "counter @counter@a has its first operations to run: no worker of app shop is connected"
    )


def test_an_entity_names_the_worker_that_has_its_operations(tmp_path: Path) -> None:
    async def play() -> str:
        async with serving(tmp_path) as server, Peer(port(server), MICROSOFT) as peer:
            work = peer.work(worker="pod-7")
            await (await server.hosted.operations("shop")).entities.signal("@counter@a", "add", "r1")
            await work.next()
            return (await caused(server, "@counter@a", "with-worker")).sentence

    assert "the worker pod-7 was last heard of it" in asyncio.run(play())


def test_the_store_alone_tells_that_nobody_runs_the_app(tmp_path: Path) -> None:
    async def play() -> list[Explanation]:
        async with serving(tmp_path) as server, Peer(port(server)) as peer:
            work = peer.work()
            await peer.start("checkout", "order-1")
            await peer.answer(await work.turn(), CHARGE)
            attempt = await work.activity()
            looks = []
            async with Client(f"sqlite:///{tmp_path}/shop.db", app_id="shop") as client:
                work.leave()
                looks.append(await client.get("order-1").explain())
                await peer.finish(attempt, "42")
                looks.append(await client.get("order-1").explain())
        async with Client(f"sqlite:///{tmp_path}/shop.db", app_id="shop") as client:
            looks.append(await client.get("order-1").explain())
        return looks

    running, answered, orphaned = asyncio.run(play())
    assert running.cause == "activity"
    assert answered.sentence.startswith("checkout order-1 has a message that its owner ")
    assert answered.sentence.endswith("if that is a server, `perdure explain --server` tells of its workers.")
    assert orphaned.sentence == "checkout order-1 has a message that nobody takes: no process runs its app."


@scene
async def test_a_resume_that_waits_for_a_worker_is_not_asked_for_again(server: Server, peer: Peer) -> None:
    work = peer.work()
    await peer.start("checkout", "order-1")
    await peer.answer(await work.turn(), CHARGE)
    work.leave()
    await caused(server, "order-1", "no-worker")
    await peer.suspend("order-1")
    assert (await caused(server, "order-1", "suspended")).command == "perdure resume order-1"
    await peer.resume("order-1")
    found = await caused(server, "order-1", "no-worker")
    assert found.sentence.startswith("checkout order-1 has a message to take: no worker")


def test_a_full_store_is_said_to_be_what_everything_waits_for() -> None:
    async def play() -> Explanation:
        store = Full()
        listeners = (Listener(app_id="shop", grpc_port=0, http_port=None),)
        server = Server(store, ServerSettings(listeners=listeners, store="memory:", drain_seconds=0.0))
        await server.open()
        try:
            async with Peer(port(server)) as peer:
                work = peer.work()
                await peer.start("checkout", "order-1")
                turn = await work.turn()
                store.has_room = False
                await peer.answer(turn, DONE)
                found = await caused(server, "order-1", "store-full")
                store.has_room = True
                await caused(server, "order-1", "finished")
                return found
        finally:
            await server.close()

    assert (
        "order-1 goes on when the store has room again: it has taken nothing since 20" in asyncio.run(play()).sentence
    )
