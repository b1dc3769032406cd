"""The members of a consumer group on Redis, and which of them reads which part."""

from __future__ import annotations

import redis.asyncio
from redis.asyncio.lock import Lock
from redis.exceptions import LockNotOwnedError

from perdure.blocks.pubsub import Begin
from perdure.clock import Clock
from perdure.remote.brokers.port import Part
from perdure.remote.brokers.settings import BrokerSettings
from perdure.remote.brokers.streams import names
from perdure.remote.brokers.streams.client import asking
from perdure.remote.brokers.streams.part import RedisPart


class RedisGroup:
    """One member of the group that reads a topic."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        settings: BrokerSettings,
        clock: Clock,
        topic: str,
        group: str,
        member: str,
        parts: int,
        begin: Begin,
    ) -> None:
        self.parts = parts
        self._client = client
        self._settings = settings
        self._clock = clock
        self._topic, self._group, self._member = topic, group, member
        self._begin = begin
        self._leases: dict[int, Lock] = {}

    async def beat(self) -> list[str]:
        key = names.members(self._topic, self._group)
        async with asking(self._settings):
            seconds, micros = await self._client.time()
            now = seconds + micros / 1_000_000
            async with self._client.pipeline(transaction=True) as pipeline:
                pipeline.zadd(key, {self._member: now + self._settings.lease})
                pipeline.zremrangebyscore(key, "-inf", now)
                pipeline.zrange(key, 0, -1)
                pipeline.expire(key, int(2 * self._settings.lease) + 1)
                _, _, members, _ = await pipeline.execute()
        return [member.decode() for member in members]

    async def take(self, part: int) -> Part | None:
        lease = Lock(
            self._client,
            names.lease(self._topic, self._group, part),
            timeout=self._settings.lease,
            blocking=False,
            thread_local=False,
        )
        async with asking(self._settings):
            if not await lease.acquire():
                return None
        self._leases[part] = lease
        stream = names.stream(self._topic, self.parts, part)
        found = RedisPart(
            self._client, self._settings, self._clock, stream, self._group, self._member, self._topic, self._begin
        )
        await found.open()
        return found

    async def keep(self, part: int) -> bool:
        lease = self._leases.get(part)
        if lease is None:
            return False  # because it is being given back at this moment
        async with asking(self._settings):
            try:
                await lease.reacquire()
            except LockNotOwnedError:
                return False
        return True

    async def give_back(self, part: int) -> None:
        lease = self._leases.pop(part)
        async with asking(self._settings):
            try:
                await lease.release()
            except LockNotOwnedError:
                return  # because it ran out, which is as good

    async def leave(self) -> None:
        async with asking(self._settings):
            await self._client.zrem(names.members(self._topic, self._group), self._member)
