"""NATS JetStream as a broker: a subject for each part of a topic, a durable consumer for each group."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import nats.js.errors

from perdure.blocks.pubsub import Handle, Message, SubscribeOptions, Subscription
from perdure.clock import SystemClock
from perdure.engine.topic_lane import Lane
from perdure.history.subscribing import DEFAULTS
from perdure.remote.brokers.jetstream import names
from perdure.remote.brokers.jetstream.client import ANSWER_SECONDS, Link, asking
from perdure.remote.brokers.jetstream.group import NatsGroup
from perdure.remote.brokers.jetstream.topics import Topics
from perdure.remote.brokers.parts import part_of
from perdure.remote.brokers.settings import BrokerSettings
from perdure.remote.brokers.subscribers import Subscribers
from perdure.remote.cloudevents import kept_form
from perdure.stores.options import shown

MESSAGE_ID = "Nats-Msg-Id"


class NatsBroker:
    """A server of NATS that has JetStream. Belongs to the event loop that first uses it."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._link = Link(settings)
        self._topics = Topics(settings)
        self._turns = itertools.count()
        self._subscribers = Subscribers(self._clock, settings.lease)

    async def publish(self, messages: Sequence[Message]) -> None:
        context = await self._link.stream_context()
        async with asking(self._settings), asyncio.timeout(ANSWER_SECONDS + len(messages) / 1_000):
            sent = []
            for message in messages:
                stream, parts = await self._topics.of(context, message.topic)
                part = part_of(message.key, parts, next(self._turns))
                sent.append(
                    await context.publish_async(
                        names.subject(message.topic, parts, part),
                        kept_form(message),
                        stream=stream,
                        headers={MESSAGE_ID: names.message(message.source, message.id, message.topic)},
                    )
                )
            try:
                await asyncio.gather(*sent)
            except nats.js.errors.Error:
                for message in messages:
                    self._topics.forget(message.topic)
                raise

    async def subscribe(
        self,
        topic: str,
        group: str,
        handle: Handle,
        options: SubscribeOptions = DEFAULTS,
        lane: Lane | None = None,
    ) -> Subscription:
        context = await self._link.stream_context()
        async with asking(self._settings):
            stream, parts = await self._topics.of(context, topic)

        def join(member: str) -> NatsGroup:
            return NatsGroup(
                self._link, self._settings, self._publish, topic, group, member, stream, parts, options.begin
            )

        return await self._subscribers.start(topic, group, handle, options, join, lane)

    async def close(self) -> None:
        await self._subscribers.close()
        await self._link.close()

    async def _publish(self, message: Message) -> None:
        await self.publish([message])

    def __repr__(self) -> str:
        return f"<NatsBroker at {shown(self._settings.url)}: {len(self._subscribers)} subscriptions>"
