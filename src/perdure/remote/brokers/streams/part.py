"""A part of a topic in Redis: a stream, read by a consumer group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis.asyncio

from perdure.blocks.pubsub import Begin, Message
from perdure.clock import Clock
from perdure.errors import MalformedMessage, StoreError
from perdure.gathering import Gathering
from perdure.remote.brokers.parts import part_of
from perdure.remote.brokers.port import FETCH_SECONDS, Delivery
from perdure.remote.brokers.settings import BrokerSettings
from perdure.remote.brokers.streams import names
from perdure.remote.brokers.streams.client import asking, is_without_group, script
from perdure.remote.brokers.streams.writing import kept, written
from perdure.remote.cloudevents import read_event

DATA = b"data"
ACCUSED_SECONDS = 24 * 3600
"""How long it is known of a message that it was handled with no other suspect."""


class RedisPart:
    """The stream of one part, for one reader of one group."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        settings: BrokerSettings,
        clock: Clock,
        stream: str,
        group: str,
        member: str,
        topic: str,
        begin: Begin,
    ) -> None:
        self._client = client
        self._settings = settings
        self._clock = clock
        self._stream, self._group, self._member, self._topic = stream, group, member, topic
        self._begin = "0" if begin is Begin.EARLIEST else "$"
        self._bury = script(client, "bury")
        self._done = Gathering(self._acknowledge)
        self._in_hand: set[bytes] = set()
        self._accused: set[bytes] = set()
        self._claimed: bytes | None = b"0-0"
        """From where on there may be messages that a former reader left; None if there are none."""

    async def open(self) -> None:
        """Make the group if it is new. Raises StoreError."""
        async with asking(self._settings):
            try:
                await self._client.xgroup_create(self._stream, self._group, id=self._begin, mkstream=True)
            except redis.exceptions.ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    async def fetch(self, most: int) -> list[Delivery]:
        try:
            if self._claimed is not None:
                return await self._left(most)
            return await self._new(most)
        except StoreError as error:
            self._claimed = b"0-0"  # because an answer that was lost had messages that are in hand by now
            if not is_without_group(error.__cause__):
                raise
        self._begin = "0"  # because what was published since it was lost is for the group
        await self.open()
        return []

    async def _left(self, most: int) -> list[Delivery]:
        """Those that were handed out and not done, to whomever."""
        async with asking(self._settings):
            cursor, entries, *_ = await self._client.xautoclaim(
                self._stream, self._group, self._member, 0, start_id=self._claimed or b"0-0", count=most
            )
            fresh = [(id, fields) for id, fields in entries if id not in self._in_hand]
            counts = await self._counts([id for id, _ in fresh])
        self._claimed = None if cursor == b"0-0" else cursor
        return await self._deliveries([(id, fields, counts.get(id, 1)) for id, fields in fresh])

    async def _counts(self, ids: Sequence[bytes]) -> dict[bytes, int]:
        """How often each was handed out."""
        if not ids:
            return {}
        found: Any = await self._client.xpending_range(
            self._stream, self._group, min=ids[0], max=ids[-1], count=len(self._in_hand) + len(ids)
        )
        return {one["message_id"]: one["times_delivered"] for one in found}

    async def _new(self, most: int) -> list[Delivery]:
        async with asking(self._settings):
            found: Any = await self._client.xreadgroup(
                self._group, self._member, {self._stream: ">"}, count=most, block=int(FETCH_SECONDS * 1_000)
            )
        entries = [entry for _, of_stream in found or [] for entry in of_stream]
        return await self._deliveries([(id, fields, 1) for id, fields in entries])

    async def _deliveries(self, entries: Sequence[tuple[bytes, Any, int]]) -> list[Delivery]:
        found = []
        for id, fields, attempts in entries:
            data = fields.get(DATA) if fields else None
            if data is None:  # it was trimmed away, or is none of ours
                await self._done.add(id)
                continue
            self._in_hand.add(id)
            found.append(Delivery(mark=id, message=self._message(id, data), attempts=attempts))
        return found

    def _message(self, id: bytes, data: bytes) -> Message:
        """What is no event is a message all the same, because programs that know no events publish here too."""
        try:
            return read_event(data, self._topic)
        except MalformedMessage:
            at = int(id.partition(b"-")[0]) * 1_000
            return Message(
                id=id.decode(),
                topic=self._topic,
                data=data,
                content_type="application/octet-stream",
                source=self._stream,
                time=at,
            )

    async def again(self, delivery: Delivery, attempts: int) -> None:
        async with asking(self._settings):
            await self._client.xclaim(
                self._stream, self._group, self._member, 0, [delivery.mark], retrycount=attempts, justid=True
            )

    async def accuse(self, delivery: Delivery, attempts: int) -> int:
        self._accused.add(delivery.mark)
        key = self._accusations(delivery.mark)
        async with asking(self._settings), self._client.pipeline(transaction=True) as pipeline:
            pipeline.sadd(key, f"{self._member}.{attempts}")  # a set, because who got no answer tells it again
            pipeline.scard(key)
            pipeline.expire(key, ACCUSED_SECONDS)
            _, times, _ = await pipeline.execute()
        return int(times)

    def _accusations(self, id: bytes) -> str:
        return names.accused(self._topic, self._group, self._stream, id)

    async def _acquit(self, id: bytes) -> None:
        if id in self._accused:
            async with asking(self._settings):
                await self._client.delete(self._accusations(id))
            self._accused.discard(id)

    async def done(self, delivery: Delivery) -> None:
        await self._acquit(delivery.mark)
        await self._done.add(delivery.mark)
        self._in_hand.discard(delivery.mark)

    async def _acknowledge(self, ids: Sequence[bytes]) -> list[None]:
        async with asking(self._settings):
            await self._client.xack(self._stream, self._group, *ids)
        return [None] * len(ids)

    async def bury(self, delivery: Delivery, topic: str) -> None:
        message = delivery.message
        async with asking(self._settings):
            parts = int(await self._client.hget(names.about(topic), "parts") or 1)
            stream = names.stream(topic, parts, part_of(message.key, parts, 0))
            await self._bury(
                keys=[stream, names.seen(message, topic), self._stream],
                args=[*kept(self._settings, self._clock), written(message, topic), self._group, delivery.mark],
            )
        await self._acquit(delivery.mark)
        self._in_hand.discard(delivery.mark)

    async def close(self) -> None:
        """The next reader claims what is in hand."""
