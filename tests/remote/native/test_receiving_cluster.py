"""Two servers of one app on one store: a worker at either is given the messages of both."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from perdure import App, Client
from servers.valkey import Valkey
from tests.remote.native.serving import served

pytestmark = pytest.mark.long
SECONDS = 60.0
COUNT = 40


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = Valkey(tmp_path_factory.mktemp("valkey"), "no")
    yield server.url("?accept_durability=C&lease=2")
    server.stop()


def made() -> App:
    app = App("shop")

    @app.workflow
    async def checkout(number: int) -> int:
        return number

    return app


def test_a_worker_at_one_server_handles_what_lies_on_the_other(store: str) -> None:
    plain, subscribed = made(), made()
    got: set[int] = set()
    subscribed.subscribe("orders", starts=subscribed.definitions.workflows["checkout"], id="order-{data}")

    @subscribed.subscribe("orders")
    async def handle(number: int) -> None:
        got.add(number)

    async def scenario() -> None:
        async with asyncio.timeout(SECONDS), served(store) as first, served(store) as second:
            await plain.open(server=first.url)
            await subscribed.open(server=second.url)
            engines = [each.server.hosted._engines["shop"] for each in (first, second)]
            while not all(engine.owned for engine in engines):
                await asyncio.sleep(0.05)
            async with Client(first.url) as client:
                for number in range(COUNT):
                    await client.publish("orders", number, key=str(number))
                while sum(group.left for topic in await client.topics() for group in topic.groups):
                    await asyncio.sleep(0.05)
                results = [await client.get(f"order-{number}").result() for number in range(COUNT)]
            assert results == list(range(COUNT))
            await subscribed.close()
            await plain.close()

    asyncio.run(scenario())
    assert got == set(range(COUNT))
