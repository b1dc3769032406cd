"""What is written to a stream, and how much of it is kept."""

from __future__ import annotations

import msgspec

from perdure.blocks.pubsub import Message
from perdure.clock import Clock
from perdure.remote.brokers.settings import BrokerSettings
from perdure.remote.cloudevents import kept_form


def written(message: Message, topic: str) -> bytes:
    """The event of a message that goes to a topic."""
    return kept_form(msgspec.structs.replace(message, topic=topic))


def kept(settings: BrokerSettings, clock: Clock) -> list[str | int]:
    """The first arguments of the scripts that add: the window of doubles, and what is trimmed away."""
    window = int(settings.dedup * 1_000)
    if settings.keep_messages is not None:
        return [window, "MAXLEN", settings.keep_messages]
    return [window, "MINID", max(0, clock.now() // 1_000 - int(settings.keep * 1_000))]
