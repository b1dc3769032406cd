"""The calls of Dapr's pub/sub: publishing, and a stream of a topic's events that the program answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from perdure.remote.hosted import Hosted
from perdure.remote.pubsub.desk import Channel
from perdure.remote.pubsub.streamed import Opened, streamed
from perdure.remote.requests import Origin, TopicSubscription
from perdure.remote.rpc.caller import Caller
from perdure.remote.rpc.calls import Calls
from perdure.remote.wire import pubsub as wire


def pubsub_calls(hosted: Hosted) -> Calls:
    """Those of one app after the other, by their names in Dapr's service."""
    calls = _PubsubCalls(hosted)
    return Calls(
        unary={
            "PublishEvent": calls.publish,
            "BulkPublishEvent": calls.publish_bulk,
            "BulkPublishEventAlpha1": calls.publish_bulk,
        },
        conversing={"SubscribeTopicEventsAlpha1": calls.subscribe},
    )


class _PubsubCalls:
    def __init__(self, hosted: Hosted) -> None:
        self._desk = hosted.pubsub

    async def publish(self, data: bytes, caller: Caller) -> bytes:
        await self._desk.publish(caller.app, wire.read_publish(data), caller.trace)
        return b""

    async def publish_bulk(self, data: bytes, caller: Caller) -> bytes:
        bulk = wire.read_bulk(data)
        events = [event for _, event in bulk.events]
        return wire.write_bulk(bulk, await self._desk.publish_all(caller.app, bulk.pubsub, events, caller.trace))

    async def subscribe(self, asked: AsyncIterator[bytes], caller: Caller) -> AsyncIterator[bytes]:
        told: list[TopicSubscription] = []

        async def channel_of(opened: Opened) -> Channel:
            channel = await self._desk.channel(caller.app, opened.pubsub)
            told.append(_shown(opened))
            self._desk.began(caller.app, told[0])
            return channel

        frames = (wire.read_frame(data) async for data in asked)
        try:
            async with aclosing(streamed(frames, channel_of)) as messages:
                async for message in messages:
                    yield wire.SUBSCRIBED if message is None else wire.write_event(message, told[0].pubsub)
        finally:
            for one in told:
                self._desk.ended(caller.app, one)


def _shown(opened: Opened) -> TopicSubscription:
    return TopicSubscription(
        pubsub=opened.pubsub,
        topic=opened.topic,
        origin=Origin.STREAMING,
        metadata=opened.metadata,
        dead_letter_topic=opened.dead_letter or "",
    )
