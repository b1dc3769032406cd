"""Messages of a broker come to an app's own topics, where they start workflows and raise events once."""

from __future__ import annotations

import asyncio
import logging

import pytest

from perdure import App, wait_for_event
from perdure.blocks.pubsub import Message
from perdure.brokers import open_broker, relay
from servers.valkey import Valkey
from tests.remote.brokers.stories import PATIENCE_SECONDS, a_message, until


def the_app() -> tuple[App, list[str]]:
    app = App("shop", store="memory:")
    begun: list[str] = []

    @app.activity
    async def note(order: str) -> None:
        begun.append(order)

    @app.workflow
    async def checkout(order: dict[str, str]) -> str:
        await note(order["id"])
        paid: str = await wait_for_event("paid", str)
        return f"{order['id']} {paid}"

    app.subscribe("orders", starts=checkout, id="data.id")
    app.subscribe("payments", raises="paid", id="extensions.order")
    return app, begun


def an_order(message: str, order: str) -> Message:
    return a_message(message, data=f'{{"id": "{order}"}}'.encode(), key=order)


def test_a_message_starts_one_run_however_often_it_comes(valkey: Valkey) -> None:
    async def play() -> None:
        app, begun = the_app()
        broker, again = open_broker(valkey.url("?dedup=0.1")), open_broker(valkey.url("?dedup=0.1"))
        async with asyncio.timeout(PATIENCE_SECONDS), app:
            one = await relay(broker, app.client, "orders", group="shop")
            await relay(broker, app.client, "paid-orders", group="shop", to="payments")
            await broker.publish([an_order(str(number), f"order-{number}") for number in range(10)])
            await until(lambda: len(begun) == 10)
            await asyncio.sleep(0.2)
            await broker.publish([an_order(str(number), f"order-{number}") for number in range(10)])
            await one.close()
            await relay(again, app.client, "orders", group="another")  # which is given all of them once more
            paid = {"order": "order-3"}
            await broker.publish([a_message("p", "paid-orders", data=b'"in cash"', extensions=paid)])
            assert await app.client.get("order-3").result() == "order-3 in cash"
            await broker.publish([an_order("last", "order-10")])
            await until(lambda: "order-10" in begun)
            assert sorted(begun) == sorted({f"order-{number}" for number in range(11)})
            await broker.close()
            await again.close()

    valkey.clear()
    asyncio.run(play())


def test_what_the_app_cannot_take_is_dropped_and_told(valkey: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        app, begun = the_app()
        broker = open_broker(valkey.url())
        async with asyncio.timeout(PATIENCE_SECONDS), app:
            await relay(broker, app.client, "orders", group="shop")
            await broker.publish([an_order("x" * 10_000, "no"), an_order("1", "order-1")])
            await until(lambda: begun == ["order-1"])
            await broker.close()

    valkey.clear()
    with caplog.at_level(logging.ERROR, "perdure"):
        asyncio.run(play())
    assert "is dropped" in caplog.text
