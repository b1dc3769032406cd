"""What topics do on a store of any kind: a backlog, order for each key, a start that is one, and a place that stays."""

from __future__ import annotations

import asyncio

from perdure import App, CloudEvent
from perdure.app import Client
from perdure.errors import InstanceNotFound
from perdure.sdk.client import Client as AnyClient

SECONDS = 60.0
MESSAGES = 60
KEYS = 3


def app_of(url: str, got: list[tuple[str, int]]) -> App:
    app = App("shop", store=url)

    @app.workflow
    async def checkout(number: int) -> int:
        return number

    @app.subscribe("orders")
    async def handle(number: int, event: CloudEvent) -> None:
        assert event.key is not None
        got.append((event.key, number))

    app.subscribe("orders", starts=checkout, id="order-{data}")
    return app


async def result_of(app: App, id: str) -> int:
    """Of an instance that may be on its way to another shard still."""
    while True:
        try:
            return await app.client.get(id).result()  # type: ignore[no-any-return]
        except InstanceNotFound:
            await asyncio.sleep(0.01)


async def publish_all(client: AnyClient) -> None:
    for number in range(MESSAGES):
        await client.publish("orders", number, key=f"k{number % KEYS}", id=str(number))


async def tell(url: str, *, publishes_outside: bool = True) -> None:
    """Play it on an empty store. The backlog is published by a client elsewhere, or by an app without the receivers."""
    got: list[tuple[str, int]] = []
    async with asyncio.timeout(SECONDS):
        if publishes_outside:
            async with Client(url, app_id="shop") as outside:
                await publish_all(outside)
        else:
            async with App("shop", store=url) as other:
                await publish_all(other.client)
        app = app_of(url, got)
        async with app:
            while len(got) < MESSAGES:
                await asyncio.sleep(0.01)
            while any(group.left for topic in await app.client.topics() for group in topic.groups):
                await asyncio.sleep(0.01)
            for number in range(MESSAGES):
                assert await result_of(app, f"order-{number}") == number
        for key in range(KEYS):
            assert [n for k, n in got if k == f"k{key}"] == list(range(key, MESSAGES, KEYS))
        async with app:
            await app.client.publish("orders", 5, id="5", source="client", key="k2")  # the same event again
            await app.client.publish("orders", 1_000, key="k2")
            while ("k2", 1_000) not in got:
                await asyncio.sleep(0.01)
        assert len(got) == MESSAGES + 1
