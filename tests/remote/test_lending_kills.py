"""Two server processes on PostgreSQL whose workers have different code: each is killed, and nothing is lost."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure import App, Client, step
from perdure.events import ActivityCompleted, ActivityScheduled, RunCompleted
from servers.ports import free_port
from servers.postgres import running
from tests.remote.native.processes import Process

INSTANCES = 24
PATIENCE_SECONDS = 100.0


class Served:
    """`perdure serve` on one port, however often it is killed."""

    def __init__(self, folder: Path, store: str, name: str) -> None:
        self.port = free_port()
        self.url = f"grpc://127.0.0.1:{self.port}"
        self._folder, self._store, self._name = folder, store, name
        self._starts = 0
        self.start()

    def start(self) -> None:
        self._starts += 1
        command = (sys.executable, "-m", "perdure", "serve", "--app-id", "shop", "--no-http", "--json")
        log = self._folder / f"{self._name}-{self._starts}.log"
        self.process = Process(log, *command, "--store", self._store, "--grpc-port", str(self.port))
        self.process.until("grpc_port")

    def kill(self) -> None:
        self.process.kill()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Served]]:
    started: list[Served] = []
    with running() as postgres:
        store = postgres.address(options="?unsafe=fsync&lease=2&shards=6")
        try:
            for name in ("red", "blue"):
                started.append(Served(tmp_path, store, name))
            yield started
        finally:
            for server in started:
                server.kill()


def red(url: str, ran: Counter[str]) -> App:
    app = App("shop", server=url, drain_seconds=0.0)

    @app.activity
    async def paint_red(id: str) -> str:
        ran[f"red of {id}"] += 1
        return "red"

    @app.workflow
    def order(ctx: Any, id: str):  # type: ignore[no-untyped-def]
        first = yield ctx.call_activity("paint_red", input=id)
        second = yield ctx.call_activity("paint_blue", input=id)
        third = yield ctx.call_child_workflow("frame", input=id)
        return f"{first}, {second}, {third}"

    return app


def blue(url: str, ran: Counter[str]) -> App:
    app = App("shop", server=url, drain_seconds=0.0)

    @app.activity
    async def paint_blue(id: str) -> str:
        ran[f"blue of {id}"] += 1
        return "blue"

    @app.workflow
    async def frame(id: str) -> str:
        async def framed() -> str:
            ran[f"frame of {id}"] += 1
            return "framed"

        return await step("framed", framed, type=str)

    return app


async def persistently(ask: Callable[[], Any]) -> Any:
    """Ask as a client does whose server may be away."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                return await ask()
            except Exception:  # noqa: BLE001 because a server that is killed fails in many ways, and the bound tells
                await asyncio.sleep(0.1)


async def once(client: Client, id: str) -> None:
    """What happened to an instance happened once."""
    events = [event async for event in client.get(id).history()]
    done = Counter(event.number for event in events if isinstance(event, ActivityCompleted))
    asked = [event.number for event in events if isinstance(event, ActivityScheduled)]
    assert sorted(done) == sorted(asked), id
    assert set(done.values()) == {1}, id
    assert sum(isinstance(event, RunCompleted) for event in events) == 1, id


@pytest.mark.long
@pytest.mark.timeout(240)
def test_servers_that_lend_each_other_work_are_killed_and_nothing_is_lost(servers: list[Served]) -> None:
    async def play() -> None:
        ran: Counter[str] = Counter()
        one, two = servers
        ids = [f"order-{number}" for number in range(INSTANCES)]
        async with red(one.url, ran), blue(two.url, ran), Client(one._store, app_id="shop") as client:
            for id in ids:
                await client.workflow("order").with_options(id=id).start(id)
            for count, victim in ((4, two), (INSTANCES, one), (2 * INSTANCES, two)):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while ran.total() < count:
                        await asyncio.sleep(0.005)
                await asyncio.to_thread(victim.kill)
                await asyncio.sleep(0.5)
                await asyncio.to_thread(victim.start)
            for id in ids:
                result = await persistently(lambda id=id: client.get(id).result(60))
                assert result == "red, blue, framed"
            for id in ids:
                await once(client, id)
        assert set(ran) == {f"{what} of {id}" for id in ids for what in ("red", "blue", "frame")}

    asyncio.run(play())
