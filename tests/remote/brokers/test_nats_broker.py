"""NATS JetStream as a broker."""

from __future__ import annotations

import asyncio

import nats as driver
import pytest

from perdure.blocks.pubsub import Begin, Message, SubscribeOptions, Verdict
from perdure.remote.brokers.jetstream.client import Link
from perdure.remote.brokers.jetstream.group import NatsGroup
from perdure.remote.brokers.jetstream.topics import Topics
from perdure.remote.brokers.settings import read_settings
from servers.nats import Nats
from tests.remote.brokers.stories import Desk, OnBrokers, a_message, told, until


async def cleared(url: str) -> None:
    client = await driver.connect(url)
    context = client.jetstream()
    for info in await context.streams_info():
        await context.delete_stream(info.config.name)
    await client.close()


@pytest.mark.long
class TestNats(OnBrokers):
    @pytest.fixture
    def address(self, nats: Nats) -> str:
        asyncio.run(cleared(nats.url()))
        return nats.url()

    @pytest.fixture
    def server(self, nats: Nats) -> Nats:
        return nats

    def test_a_stream_of_the_users_is_used_as_it_is(self, address: str) -> None:
        async def story(desk: Desk) -> None:
            client = await driver.connect(address)
            context = client.jetstream()
            await context.add_stream(name="SHOP", subjects=["orders", "orders-dead", "shop.>"])

            async def drop(message: Message) -> Verdict:
                return Verdict.DROP

            broker = desk.node("lease=1&parts=4")
            options = SubscribeOptions(dead_letter="orders-dead")
            await broker.subscribe("orders", "g", drop, options)
            await broker.subscribe("orders-dead", "g", desk.take)
            await broker.publish([a_message("ours")])
            await until(lambda: desk.ids == ["ours"])
            await context.publish("orders-dead", b"theirs")
            await until(lambda: len(desk.got) == 2)
            assert desk.got[1].data == b"theirs"
            assert {info.config.name for info in await context.streams_info()} == {"SHOP", "perdure-readers-1000"}
            await client.close()

        told(address, story)

    def test_a_part_that_is_given_back_while_it_is_kept_is_free_at_once(self, address: str) -> None:
        async def story() -> None:
            settings = read_settings(f"{address}?lease=30")
            link, topics = Link(settings), Topics(settings)
            context = await link.stream_context()
            stream, parts = await topics.of(context, "orders")
            one, other = (
                NatsGroup(link, settings, _nowhere, "orders", "g", member, stream, parts, Begin.EARLIEST)
                for member in ("one", "other")
            )
            assert await one.take(0) is not None
            readers = await one._stream_of_readers()
            put_if = readers.put_if

            async def overtaken(key: str, revision: int) -> int | None:
                readers.put_if = put_if
                written = await put_if(key, revision)
                await one.give_back(0)  # as a close does, between the renewal and its answer
                return written

            readers.put_if = overtaken
            assert await one.keep(0) is False
            assert await other.take(0) is not None
            await link.close()

        asyncio.run(story())


async def _nowhere(message: Message) -> None:
    raise AssertionError(message)
