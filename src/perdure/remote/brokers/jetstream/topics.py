"""Which stream a topic is in, and how many parts it has."""

from __future__ import annotations

import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import StorageType, StreamConfig

from perdure.remote.brokers.jetstream import names
from perdure.remote.brokers.settings import BrokerSettings

TOPICS_MAX = 10_000
"""Topics whose stream a process remembers."""


class Topics:
    """What is known of the topics, and made of those that are new."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._known: dict[str, tuple[str, int]] = {}

    async def of(self, context: JetStreamContext, topic: str) -> tuple[str, int]:
        """The stream and the number of parts. Raises InvalidArgument, and errors of NATS."""
        known = self._known.get(topic)
        if known is None:
            known = await self._find(context, topic)
            if len(self._known) < TOPICS_MAX:
                self._known[topic] = known
        return known

    def forget(self, topic: str) -> None:
        """It may be in another stream by now."""
        self._known.pop(topic, None)

    async def _find(self, context: JetStreamContext, topic: str) -> tuple[str, int]:
        """A stream of the user's that has the subject is taken as it is, and one is made if there is none."""
        for subject in (names.subject(topic, 1, 0), names.subject(topic, 2, 0)):
            try:
                name = await context.find_stream_name_by_subject(subject)
            except nats.js.errors.NotFoundError:
                continue
            info = await context.stream_info(name)
            parts = int((info.config.metadata or {}).get(names.PARTS_KEY, "1"))
            if parts > 1 or subject == topic:
                return name, parts
        return await self._make(context, topic), self._settings.parts

    async def _make(self, context: JetStreamContext, topic: str) -> str:
        parts = self._settings.parts
        config = StreamConfig(
            name=names.stream(topic),
            subjects=[topic if parts == 1 else f"{topic}.*"],
            max_age=self._settings.keep,
            max_msgs=self._settings.keep_messages or -1,
            duplicate_window=min(self._settings.dedup, self._settings.keep),
            storage=StorageType.FILE,
            metadata={names.PARTS_KEY: str(parts)},
        )
        info = await context.add_stream(config)
        assert info.config.name is not None, "it was given one"
        return info.config.name
