"""What a server's metrics say of the topics that its apps share."""

from __future__ import annotations

import asyncio

from perdure.blocks.pubsub import Message, Verdict
from perdure.remote.pubsub.publishing import Publish
from tests.remote.exposition.scrapes import Scrape, scrape
from tests.remote.pubsub.program import PATIENCE_SECONDS, components, serving

OF_SHOP = {"app_id": "perdure.pubsub", "topic": "orders", "group": "shop"}


def test_topics_of_programs_of_dapr_are_counted_once() -> None:
    async def scenario() -> tuple[Scrape, Scrape, Scrape]:
        resources = components(("bus", "pubsub.perdure", {}))
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            serving("shop", "desk", resources=resources) as server,
        ):
            pages = [f"http://127.0.0.1:{listener.http_port}/metrics" for listener in server.listeners]
            before = await scrape(pages[0])
            pubsub, taken, gate = server.hosted.pubsub, asyncio.Event(), asyncio.Event()

            async def handle(message: Message) -> Verdict:
                if message.data == b"2":
                    taken.set()
                    await gate.wait()
                return Verdict.SUCCESS

            channel = await pubsub.channel("shop", "bus")
            await channel.broker.subscribe("orders", channel.group, handle)
            for number in (1, 2):
                await pubsub.publish("shop", Publish(pubsub="bus", topic="orders", data=b"%d" % number))
            await taken.wait()
            while (found := await scrape(pages[0])).value("perdure_topic_left", **OF_SHOP) != 1:
                await asyncio.sleep(0.05)
            other = await scrape(pages[1])
            gate.set()
            return before, found, other

    before, found, other = asyncio.run(scenario())
    assert found.value("perdure_topic_published_total", app_id="perdure.pubsub", topic="orders") == 2
    assert found.value("perdure_topic_delivered_total", **OF_SHOP) == 1
    assert [labels for name, labels, _ in before.samples() if "topic" in name] == []
    assert [labels for name, labels, _ in other.samples() if "topic" in name] == []
    assert {
        labels["app_id"] for name, labels, _ in found.samples() if name.startswith("perdure_") and "topic" not in name
    } == {"shop"}
