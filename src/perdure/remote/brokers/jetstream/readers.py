"""What NATS remembers of readers for the length of a lease: a stream that keeps the last message of each subject."""

from __future__ import annotations

import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import Header, StorageType, StreamConfig

STREAM = "perdure-readers"
WRONG_SEQUENCE = frozenset((10_071, 10_164))
"""What JetStream calls it when a subject has another last message than was expected."""


class Readers:
    """The keys of one such stream. All of it raises errors of NATS."""

    def __init__(self, context: JetStreamContext, name: str) -> None:
        self._context = context
        self._name = name

    async def put(self, key: str) -> None:
        """Remember it for another lease."""
        await self._context.publish(self._subject(key), b"", stream=self._name)

    async def put_if(self, key: str, revision: int) -> int | None:
        """The same, if it has this revision, 0 being none; returns the new one, None if it has another."""
        headers = {Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(revision)}
        try:
            done = await self._context.publish(self._subject(key), b"", stream=self._name, headers=headers)
        except nats.js.errors.APIError as error:
            if error.err_code in WRONG_SEQUENCE:
                return None
            raise
        return done.seq

    async def with_prefix(self, prefix: str) -> list[str]:
        """What follows the prefix in the keys that are remembered."""
        info = await self._context.stream_info(self._name, subjects_filter=self._subject(f"{prefix}*"))
        return [subject.removeprefix(self._subject(prefix)) for subject in info.state.subjects or {}]

    async def remove(self, key: str) -> None:
        await self._context.purge_stream(self._name, subject=self._subject(key))

    def _subject(self, key: str) -> str:
        return f"{self._name}.{key}"


async def opened(context: JetStreamContext, lease_seconds: float) -> Readers:
    """The stream for leases of this length; one for each length, because a stream has one age."""
    name = f"{STREAM}-{int(lease_seconds * 1_000)}"
    config = StreamConfig(
        name=name,
        subjects=[f"{name}.>"],
        max_age=lease_seconds,
        max_msgs_per_subject=1,
        duplicate_window=lease_seconds,
        storage=StorageType.FILE,  # because a server that starts again has to know who reads
    )
    await context.add_stream(config)  # the same again is no error
    return Readers(context, name)
