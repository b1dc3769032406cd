"""Redis Streams as a broker: a stream for each part of a topic, a consumer group for each group."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from perdure.blocks.pubsub import Handle, Message, SubscribeOptions, Subscription
from perdure.clock import SystemClock
from perdure.engine.topic_lane import Lane
from perdure.gathering import Gathering
from perdure.history.subscribing import DEFAULTS
from perdure.remote.brokers.parts import part_of
from perdure.remote.brokers.settings import BrokerSettings
from perdure.remote.brokers.streams import names
from perdure.remote.brokers.streams.client import asking, connected, script
from perdure.remote.brokers.streams.group import RedisGroup
from perdure.remote.brokers.streams.writing import kept, written
from perdure.remote.brokers.subscribers import Subscribers
from perdure.stores.options import shown

TOPICS_MAX = 10_000
"""Topics whose number of parts a process remembers."""


class RedisBroker:
    """A server of Redis or Valkey. Belongs to the event loop that first uses it."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._client = connected(settings)
        self._publish = script(self._client, "publish")
        self._outgoing = Gathering(self._write)
        self._parts: dict[str, int] = {}
        self._turns = itertools.count()
        self._subscribers = Subscribers(self._clock, settings.lease)

    async def publish(self, messages: Sequence[Message]) -> None:
        await self._outgoing.add_all(messages)

    async def subscribe(
        self,
        topic: str,
        group: str,
        handle: Handle,
        options: SubscribeOptions = DEFAULTS,
        lane: Lane | None = None,
    ) -> Subscription:
        parts = await self._parts_of(topic)

        def join(member: str) -> RedisGroup:
            return RedisGroup(self._client, self._settings, self._clock, topic, group, member, parts, options.begin)

        return await self._subscribers.start(topic, group, handle, options, join, lane)

    async def close(self) -> None:
        await self._subscribers.close()
        await self._client.aclose()

    async def _write(self, messages: Sequence[Message]) -> list[None]:
        keys: list[str] = []
        for message in messages:
            parts = await self._parts_of(message.topic)
            part = part_of(message.key, parts, next(self._turns))
            keys += (names.stream(message.topic, parts, part), names.seen(message, message.topic))
        data = [written(message, message.topic) for message in messages]
        async with asking(self._settings):
            await self._publish(keys=keys, args=[*kept(self._settings, self._clock), *data])
        return [None] * len(messages)

    async def _parts_of(self, topic: str) -> int:
        """How many a topic has is said once, by who uses it first, because a key stays in its part for good."""
        known = self._parts.get(topic)
        if known is not None:
            return known
        async with asking(self._settings):
            await self._client.hsetnx(names.about(topic), "parts", str(self._settings.parts))
            found = int(await self._client.hget(names.about(topic), "parts") or 1)
        if len(self._parts) < TOPICS_MAX:
            self._parts[topic] = found
        return found

    def __repr__(self) -> str:
        return f"<RedisBroker at {shown(self._settings.url)}: {len(self._subscribers)} subscriptions>"
