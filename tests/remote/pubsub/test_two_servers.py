"""Two servers on one store, each with an app of its own: what one app publishes comes to the other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from servers.valkey import Valkey
from tests.remote.pubsub.program import PATIENCE_SECONDS, Program, serving

pytestmark = pytest.mark.long
COUNT = 40


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = Valkey(tmp_path_factory.mktemp("valkey"), "no")
    yield server.url("?accept_durability=C&lease=2")
    server.stop()


def test_events_come_to_the_server_that_has_the_subscriber(store: str) -> None:
    async def play() -> None:
        async with (
            asyncio.timeout(2 * PATIENCE_SECONDS),
            serving("shop", store=store) as first,
            serving("bank", store=store) as second,
            Program(first.listeners[0].grpc_port) as shop,
            Program(second.listeners[0].grpc_port) as bank,
        ):
            there = await bank.subscribe("pubsub", "orders")
            here = await shop.subscribe("pubsub", "orders")
            for number in range(COUNT):
                publisher = (shop, bank)[number % 2]
                await publisher.publish("pubsub", "orders", str(number).encode(), partitionKey=str(number))
            for stream in (there, here):
                got: list[int] = []
                while set(got) != set(range(COUNT)):
                    event = await stream.event()
                    got.append(int(event.data))
                    await stream.answer(event.id)
                assert len(got) < 2 * COUNT  # some come twice where a shard changes its owner meanwhile

    asyncio.run(play())
