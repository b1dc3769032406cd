"""What NATS remembers of messages that were handled with no other suspect: a stream with a subject for each of them."""

from __future__ import annotations

from nats.js import JetStreamContext
from nats.js.api import Header, StorageType, StreamConfig

STREAM = "perdure-accused"
ACCUSED_SECONDS = 24 * 3600.0
"""How long it is known of a message."""
DUPLICATE_SECONDS = 120.0
"""For how long the same attempt, which got no answer and is told again, counts once."""


class Accusations:
    """Those of one consumer's messages. All of it raises errors of NATS."""

    def __init__(self, context: JetStreamContext, consumer: str) -> None:
        self._context = context
        self._consumer = consumer

    async def add(self, sequence: int, attempt: str) -> int:
        """Remember that a message is handled in this attempt; the number of those in which it was."""
        subject = self._subject(sequence)
        headers = {Header.MSG_ID.value: f"{attempt}.{sequence}"}
        await self._context.publish(subject, b"", stream=STREAM, headers=headers)
        info = await self._context.stream_info(STREAM, subjects_filter=subject)
        return (info.state.subjects or {}).get(subject, 0)

    async def remove(self, sequence: int) -> None:
        await self._context.purge_stream(STREAM, subject=self._subject(sequence))

    def _subject(self, sequence: int) -> str:
        return f"{STREAM}.{self._consumer}.{sequence}"


async def opened(context: JetStreamContext, consumer: str) -> Accusations:
    """The stream is made when a message is accused for the first time, which most servers never see."""
    config = StreamConfig(
        name=STREAM,
        subjects=[f"{STREAM}.>"],
        max_age=ACCUSED_SECONDS,
        duplicate_window=DUPLICATE_SECONDS,
        storage=StorageType.FILE,  # because a server that starts again has to know who was accused
    )
    await context.add_stream(config)  # the same again is no error
    return Accusations(context, consumer)
