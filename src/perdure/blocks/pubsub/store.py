"""The broker that is the store itself: topics are actors of the engine, and a node delivers what its shards own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from perdure.blocks.pubsub.broker import Handle, ReceiverDied
from perdure.blocks.pubsub.message import Message
from perdure.engine.engine import Engine
from perdure.engine.topic_lane import Lane
from perdure.errors import InvalidArgument
from perdure.history.events import MessagePublished
from perdure.history.handling import Handled, lost
from perdure.history.subscribing import DEFAULTS, SubscribeOptions
from perdure.sdk.cloud_event import bytes_of, payload_of
from perdure.sdk.options import checked_name
from perdure.sdk.publishing import checked_message, checked_topic


class StoreBroker:
    """Topics of one app; `engine` delivers on this node."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._subscriptions: set[StoreSubscription] = set()

    async def publish(self, messages: Sequence[Message]) -> None:
        """As `Broker.publish`; the same source and id again are the same event."""
        await self._engine.operations.publish([published(message, self._engine.clock.now()) for message in messages])

    async def subscribe(
        self,
        topic: str,
        group: str,
        handle: Handle,
        options: SubscribeOptions = DEFAULTS,
        lane: Lane | None = None,
    ) -> StoreSubscription:
        """As `Broker.subscribe`. It is given the messages of the partitions that this node owns."""
        checked_topic(topic)
        checked_name(group, "a group's name")
        subscription = StoreSubscription(self, topic, group, handle, options)
        await self._engine.operations.join(topic, group, options)
        self._engine.consumers.add(topic, group, subscription, lane)
        self._subscriptions.add(subscription)
        return subscription

    async def close(self) -> None:
        """Close all subscriptions; the engine is somebody else's."""
        await asyncio.gather(*(subscription.close() for subscription in list(self._subscriptions)))

    def forget(self, subscription: StoreSubscription) -> None:
        """It takes no more messages."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
            self._engine.consumers.remove(subscription.topic, subscription.group, subscription)

    def __repr__(self) -> str:
        return f"<StoreBroker of {self._engine!r}: {len(self._subscriptions)} subscriptions>"


class StoreSubscription:
    """A handler of a group on this node, which asks a program elsewhere."""

    is_remote = True

    def __init__(self, broker: StoreBroker, topic: str, group: str, handle: Handle, options: SubscribeOptions) -> None:
        self.topic = topic
        self.group = group
        self.in_hand_max = options.in_hand_max
        self._broker = broker
        self._handle = handle
        self._in_hand = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    def decide(self, message: MessagePublished) -> None:
        """A handler takes its time."""

    async def handle(self, message: MessagePublished, attempt: int) -> Handled:
        self._in_hand += 1
        self._is_idle.clear()
        try:
            return Handled(await self._handle(_shown(message)))
        except ReceiverDied as gone:
            return lost(str(gone))
        finally:
            self._in_hand -= 1
            if not self._in_hand:
                self._is_idle.set()

    async def close(self) -> None:
        self._broker.forget(self)
        await self._is_idle.wait()

    def __repr__(self) -> str:
        return f"<StoreSubscription of {self.group} to {self.topic}: {self._in_hand} in hand>"


def published(message: Message, now: int) -> MessagePublished:
    """The message as the engine keeps it. Raises InvalidArgument, PayloadTooLarge."""
    if not isinstance(message, Message):
        raise InvalidArgument(f"{type(message).__name__} is no Message")
    event = MessagePublished(
        at=message.time or now,
        topic=message.topic,
        id=message.id,
        data=payload_of(message.data, message.content_type),
        content_type=message.content_type,
        key=message.key,
        source=message.source,
        kind=message.type,
        expires=message.expires,
        extensions=dict(message.extensions) or None,
    )
    return checked_message(event)


def _shown(message: MessagePublished) -> Message:
    return Message(
        id=message.id,
        topic=message.topic,
        data=bytes_of(message.data),
        content_type=message.content_type,
        key=message.key,
        source=message.source,
        type=message.kind,
        time=message.at,
        expires=message.expires,
        extensions=dict(message.extensions or {}),
    )
