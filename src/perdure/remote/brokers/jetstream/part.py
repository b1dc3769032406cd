"""A part of a topic on JetStream: a subject, read through the durable consumer of a group."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable

import msgspec
import nats.js.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from perdure.blocks.pubsub import Begin, Message
from perdure.errors import MalformedMessage
from perdure.remote.brokers.jetstream.accusations import Accusations, opened
from perdure.remote.brokers.jetstream.client import Link, asking
from perdure.remote.brokers.port import FETCH_SECONDS, Delivery
from perdure.remote.brokers.settings import BrokerSettings
from perdure.remote.cloudevents import read_event

ACK_SHARE = 0.6
"""How much of a lease a message may be in hand unconfirmed: less than all, so that what a dead reader had in hand
comes to the next one before what is new."""
ACK_PENDING_MAX = 10_000
"""Messages that a consumer has handed out and not heard of."""
STATUS = "Status"
IS_ALIVE = "100"
Publish = Callable[[Message], Awaitable[None]]


class NatsPart:
    """The consumer of one part, for one reader of one group."""

    def __init__(
        self,
        link: Link,
        settings: BrokerSettings,
        stream: str,
        subject: str,
        consumer: str,
        topic: str,
        publish: Publish,
    ) -> None:
        self._link = link
        self._publish = publish
        self._settings = settings
        self._stream, self._subject, self._consumer, self._topic = stream, subject, consumer, topic
        self._came: asyncio.Queue[Msg] = asyncio.Queue()
        self._subscription: Subscription | None = None
        self._inbox = ""
        self._asked = 0
        """Messages that were asked for and have not come."""
        self._in_hand: dict[int, Msg] = {}
        self._accused: set[int] = set()
        self._left = 0
        """Messages of a former reader that have not come yet."""
        self._until = 0.0
        """When those come no more that have not."""
        self._ordered: deque[Delivery] = deque()

    async def open(self, begin: Begin) -> None:
        """Make the consumer if it is new, and listen. Raises StoreError."""
        client = await self._link.client()
        context = await self._link.stream_context()
        async with asking(self._settings):
            self._left = await self._make(context, begin)
            self._until = asyncio.get_running_loop().time() + self._settings.lease
            self._inbox = client.new_inbox()
            self._subscription = await client.subscribe(self._inbox, cb=self._came.put)

    async def _make(self, context: JetStreamContext, begin: Begin) -> int:
        """How many messages a former reader had in hand."""
        try:
            found = await context.consumer_info(self._stream, self._consumer)
            return found.num_ack_pending or 0
        except nats.js.errors.NotFoundError:
            pass
        config = ConsumerConfig(
            name=self._consumer,
            durable_name=self._consumer,
            filter_subject=self._subject,
            deliver_policy=DeliverPolicy.ALL if begin is Begin.EARLIEST else DeliverPolicy.NEW,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._settings.lease * ACK_SHARE,
            max_deliver=-1,  # because the dead letter is ours, and what the server gives up it tells nobody
            max_ack_pending=ACK_PENDING_MAX,
        )
        await context.add_consumer(self._stream, config)
        return 0

    async def fetch(self, most: int) -> list[Delivery]:
        if self._left:
            await self._collect()
        if self._ordered:
            return [self._ordered.popleft() for _ in range(min(most, len(self._ordered)))]
        return await self._next(most)

    async def _collect(self) -> None:
        """Those that a former reader had in hand, in their order, because the server hands them out in any."""
        came: list[Delivery] = []
        while self._left > 0 and asyncio.get_running_loop().time() < self._until:
            found = await self._next(self._left)
            self._left -= sum(delivery.attempts > 1 for delivery in found)
            came += found
        self._left = 0
        self._ordered.extend(sorted(came, key=lambda delivery: delivery.mark))

    async def _next(self, most: int) -> list[Delivery]:
        if self._asked <= 0:
            await self._ask(most)
        try:
            async with asyncio.timeout(FETCH_SECONDS + 1.0):
                came = [await self._came.get()]
        except TimeoutError:
            self._asked = 0  # because the connection was lost, and the question with it
            return []
        while not self._came.empty():
            came.append(self._came.get_nowait())
        return [delivery for one in came for delivery in self._taken(one)]

    async def _ask(self, most: int) -> None:
        question = {"batch": most, "expires": int(FETCH_SECONDS * 1e9)}
        client = await self._link.client()
        async with asking(self._settings):
            await client.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}",
                json.dumps(question).encode(),
                reply=self._inbox,
            )
        self._asked = most

    def _taken(self, one: Msg) -> list[Delivery]:
        status = (one.headers or {}).get(STATUS)
        if status is not None:
            if status != IS_ALIVE:
                self._asked = 0  # no more comes of what was asked for
            return []
        self._asked -= 1
        sequence = one.metadata.sequence.stream
        is_in_hand = sequence in self._in_hand
        self._in_hand[sequence] = one  # the newest, because it is the one that is acknowledged
        if is_in_hand:
            return []
        return [Delivery(mark=sequence, message=self._message(one), attempts=one.metadata.num_delivered)]

    def _message(self, one: Msg) -> Message:
        """What is no event is a message all the same, because programs that know no events publish here too."""
        try:
            return read_event(one.data, self._topic)
        except MalformedMessage:
            return Message(
                id=str(one.metadata.sequence.stream),
                topic=self._topic,
                data=one.data,
                content_type="application/octet-stream",
                source=self._stream,
                time=int(one.metadata.timestamp.timestamp() * 1e6),
            )

    async def hold(self) -> None:
        """Tell that what is in hand is being seen to. Raises StoreError."""
        async with asking(self._settings):
            for one in list(self._in_hand.values()):
                await one.in_progress()

    async def again(self, delivery: Delivery, attempts: int) -> None:
        """The server counts how often it hands a message out, and no attempts beyond."""

    async def accuse(self, delivery: Delivery, attempts: int) -> int:
        self._accused.add(delivery.mark)
        async with asking(self._settings):
            accusations = await self._accusations()
            return await accusations.add(delivery.mark, f"{self._inbox}.{attempts}")

    async def _accusations(self) -> Accusations:
        return await opened(await self._link.stream_context(), self._consumer)

    async def _acquit(self, sequence: int) -> None:
        if sequence in self._accused:
            async with asking(self._settings):
                await (await self._accusations()).remove(sequence)
            self._accused.discard(sequence)

    async def done(self, delivery: Delivery) -> None:
        await self._acquit(delivery.mark)
        one = self._in_hand.get(delivery.mark)
        if one is not None:
            async with asking(self._settings):
                await one.ack()
            del self._in_hand[delivery.mark]

    async def bury(self, delivery: Delivery, topic: str) -> None:
        await self._publish(msgspec.structs.replace(delivery.message, topic=topic))
        await self.done(delivery)

    async def close(self) -> None:
        """Give back what is in hand, in its order, so that the next reader need not wait for it."""
        if self._subscription is None:
            return
        subscription, self._subscription = self._subscription, None
        async with asking(self._settings):
            await subscription.unsubscribe()
            while not self._came.empty():
                self._taken(self._came.get_nowait())
            for sequence in sorted(self._in_hand):
                await self._in_hand[sequence].nak()
        self._in_hand.clear()

    def __repr__(self) -> str:
        return f"<NatsPart {self._consumer} of {self._stream}: {len(self._in_hand)} in hand>"
