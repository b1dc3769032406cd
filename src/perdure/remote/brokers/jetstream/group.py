"""The members of a group on NATS, and which of them reads which part."""

from __future__ import annotations

from perdure.blocks.pubsub import Begin
from perdure.remote.brokers.jetstream import names
from perdure.remote.brokers.jetstream.client import Link, asking
from perdure.remote.brokers.jetstream.part import NatsPart, Publish
from perdure.remote.brokers.jetstream.readers import Readers, opened
from perdure.remote.brokers.port import Part
from perdure.remote.brokers.settings import BrokerSettings


class NatsGroup:
    """One member of the group that reads a topic."""

    def __init__(
        self,
        link: Link,
        settings: BrokerSettings,
        publish: Publish,
        topic: str,
        group: str,
        member: str,
        stream: str,
        parts: int,
        begin: Begin,
    ) -> None:
        self.parts = parts
        self._link = link
        self._settings = settings
        self._publish = publish
        self._topic, self._group, self._member, self._stream = topic, group, member, stream
        self._begin = begin
        self._place = names.place(topic, group)
        self._readers: Readers | None = None
        self._leases: dict[int, int] = {}
        """The revision of each lease that this member has."""
        self._reading: dict[int, NatsPart] = {}

    async def beat(self) -> list[str]:
        prefix = f"{self._place}.member."
        async with asking(self._settings):
            readers = await self._stream_of_readers()
            await readers.put(prefix + self._member)
            return await readers.with_prefix(prefix)

    async def take(self, part: int) -> Part | None:
        async with asking(self._settings):
            readers = await self._stream_of_readers()
            revision = await readers.put_if(self._lease(part), 0)
        if revision is None:
            return None
        self._leases[part] = revision
        found = NatsPart(
            self._link,
            self._settings,
            self._stream,
            names.subject(self._topic, self.parts, part),
            names.consumer(self._group, self._topic, self.parts, part),
            self._topic,
            self._publish,
        )
        await found.open(self._begin)
        self._reading[part] = found
        return found

    async def keep(self, part: int) -> bool:
        known = self._leases.get(part)
        if known is None:
            return False  # because it is being given back at this moment
        async with asking(self._settings):
            readers = await self._stream_of_readers()
            revision = await readers.put_if(self._lease(part), known)
            reading = self._reading.get(part)
            if revision is not None and reading is None:
                await readers.remove(self._lease(part))  # because it was given back meanwhile, at the revision before
        if revision is None or reading is None:
            self._reading.pop(part, None)
            return False
        self._leases[part] = revision
        await reading.hold()
        return True

    async def give_back(self, part: int) -> None:
        self._reading.pop(part, None)
        revision = self._leases.pop(part)
        async with asking(self._settings):
            readers = await self._stream_of_readers()
            if await readers.put_if(self._lease(part), revision) is not None:  # else it ran out, which is as good
                await readers.remove(self._lease(part))

    async def leave(self) -> None:
        async with asking(self._settings):
            readers = await self._stream_of_readers()
            await readers.remove(f"{self._place}.member.{self._member}")

    def _lease(self, part: int) -> str:
        return f"{self._place}.part.{part}"

    async def _stream_of_readers(self) -> Readers:
        if self._readers is None:
            self._readers = await opened(await self._link.stream_context(), self._settings.lease)
        return self._readers
