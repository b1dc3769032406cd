"""Two servers on one store, each with a worker of few slots: a fan-out of one workflow goes to both."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from perdure import App
from perdure.remote.server import Server
from perdure.remote.settings import Listener, ServerSettings
from perdure.stores.memory import MemoryStore

CALLS = 40
SLOTS = 4
SHARDS = 8
LEASE_SECONDS = 2.0


@asynccontextmanager
async def served(store: MemoryStore, name: str) -> AsyncIterator[Server]:
    listener = Listener(app_id="shop", grpc_port=0, http_port=None)
    server = Server(store, ServerSettings(listeners=(listener,), store="memory:", drain_seconds=0.5))
    server.hosted._owner = name  # because two of one process have one name else
    await server.open()
    try:
        yield server
    finally:
        await server.close()


def worker(name: str, ran: Counter[str]) -> App:
    app = App("shop", slots=SLOTS, drain_seconds=0.0)

    @app.activity
    async def pack(seconds: float) -> str:
        ran[name] += 1
        await asyncio.sleep(seconds)
        return name

    @app.activity
    async def lines(count: int):
        ran[name] += 1
        for number in range(count):
            yield number

    @app.workflow
    async def fan(count: int) -> list[str]:
        return await asyncio.gather(*(pack(0.05) for _ in range(count)))

    @app.workflow
    async def streaming(count: int) -> int:
        return sum(await asyncio.gather(*(lines(3) for _ in range(count))))

    return app


@pytest.mark.long
def test_servers_claim_calls_for_their_workers_and_give_back_what_yields() -> None:
    async def scenario() -> None:
        store = MemoryStore(SHARDS, LEASE_SECONDS)
        ran: Counter[str] = Counter()
        async with served(store, "first") as first, served(store, "second") as second:
            apps = []
            for server, name in ((first, "one"), (second, "two")):
                app = worker(name, ran)
                await app.open(server=f"grpc://127.0.0.1:{server.listeners[0].grpc_port}")
                apps.append(app)
            async with asyncio.timeout(30):
                while any(len(server.hosted._engines["shop"].owned) != SHARDS // 2 for server in (first, second)):
                    await asyncio.sleep(0.05)
            handle = await apps[0].client.workflow("fan").start(CALLS)
            assert len(await handle.result(30)) == CALLS
            assert ran.total() == CALLS
            assert min(ran["one"], ran["two"]) > CALLS // 5, ran
            ran.clear()
            handle = await apps[0].client.workflow("streaming").start(CALLS)
            assert await handle.result(30) == 3 * CALLS
            for app in apps:
                await app.close()

    asyncio.run(scenario())
