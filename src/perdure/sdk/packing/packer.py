"""Records packed and unpacked: their payloads by the codec, their failures whole as a payload of their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw

from perdure.codec import Codec, Payload
from perdure.errors import (
    BlobMissing,
    BlobsUnavailable,
    KeyMissing,
    NotDecodable,
    PayloadTampered,
    PayloadTooLarge,
)
from perdure.history.actions import (
    AnswerUpdate,
    CallEntity,
    CreateChild,
    CreateDetached,
    PublishMessage,
    PublishState,
    SetReminder,
    SetStatus,
    SignalEntity,
)
from perdure.history.events import Failure, MessagePublished
from perdure.history.work import Stall
from perdure.sdk.packing.fields import Part, exchanged, parts

FAILURE = "failure"
"""Encoding of a failure as a payload: message, stack and causes."""
WHOLE = (
    SetStatus,
    PublishState,
    AnswerUpdate,
    CallEntity,
    SignalEntity,
    SetReminder,
    PublishMessage,
    MessagePublished,
)
"""What is never offloaded. Of what is stored to be looked at a look reads one row; what actors are asked, and keep,
and the messages of topics lie in rows that a sweep need not search."""


class Packer:
    """Applies one codec to events and actions. `key` is the id of the key to write under, None without keys."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec

    def is_quick(self, records: Iterable[Any]) -> bool:
        """Whether all that the records hold can be worked on without waiting."""
        return all(self._is_quick(part) for record in records for part in parts(record))

    def pack(self, record: Any, key: str | None) -> Any:
        """A quick record, packed."""
        key = self._key_of(record, key)
        return exchanged(record, lambda part: self._packed(part, key))

    async def pack_slowly(self, record: Any, key: str | None) -> Any:
        """A record, packed, with its blobs written."""
        key = self._key_of(record, key)
        offloads = not isinstance(record, WHOLE)
        ready: dict[int, Part] = {}
        for part in parts(record):
            if isinstance(part, Payload) and id(part) not in ready:
                ready[id(part)] = await self.codec.packed(part, key, offloads=offloads)
        return exchanged(record, lambda part: ready.get(id(part)) or self._packed(part, key))

    def pack_at_hand(self, record: Any, key: str | None) -> Any:
        """A record, packed and never offloaded, for one who cannot wait."""

        def packed(part: Part) -> Part:
            whole = isinstance(part, Payload)
            return self.codec.pack(part, key, offloads=False)[0] if whole else part  # type: ignore[arg-type]

        return exchanged(record, packed)

    def unpack(self, record: Any) -> Any:
        """A quick record, plain."""
        return exchanged(record, self._unpacked)

    async def unpack_slowly(self, record: Any) -> Any:
        """A record, plain, whatever has to be read for it."""
        ready: dict[int, Part] = {}
        for part in parts(record):
            if isinstance(part, Payload) and id(part) not in ready:
                ready[id(part)] = await self.codec.unpacked(part)
        return exchanged(record, lambda part: ready.get(id(part)) or self._unpacked(part))

    async def show(self, record: Any) -> Any:
        """A record for people to see: what cannot be unpacked stays as it is stored."""
        ready: dict[int, Part] = {}
        for part in parts(record):
            try:
                whole = isinstance(part, Payload)
                ready[id(part)] = await self.codec.unpacked(part) if whole else self._unpacked(part)  # type: ignore[arg-type]
            except (NotDecodable, BlobsUnavailable):
                ready[id(part)] = part
        return exchanged(record, lambda part: ready[id(part)])

    def pack_failure(self, failure: Failure, key: str | None) -> Failure:
        """Its type stays readable, because retry policies ask for it; the rest is encrypted if there are keys."""
        if key is None or failure.packed is not None:
            return failure
        whole = Payload(FAILURE, None, Raw(msgspec.json.encode(failure)))
        packed, _ = self.codec.pack(whole, key, offloads=False)
        return Failure(failure.type, f"<encrypted, key {key}>", non_retryable=failure.non_retryable, packed=packed)

    def unpack_failure(self, failure: Failure) -> Failure:
        """The failure as it was before it was packed."""
        if failure.packed is None:
            return failure
        return msgspec.json.decode(self.codec.unpack(failure.packed).data, type=Failure)

    def _is_quick(self, part: Part) -> bool:
        return isinstance(part, Failure) or self.codec.is_quick(part)

    def _packed(self, part: Part, key: str | None) -> Part:
        return self.pack_failure(part, key) if isinstance(part, Failure) else self.codec.pack(part, key)[0]

    def _unpacked(self, part: Part) -> Part:
        return self.unpack_failure(part) if isinstance(part, Failure) else self.codec.unpack(part)

    def _key_of(self, record: Any, key: str | None) -> str | None:
        """A new instance may be another person's than the one that asks for it."""
        return self.codec.key_for(record.tags, key) if isinstance(record, (CreateChild, CreateDetached)) else key


def stall_of(error: Exception) -> Stall:
    """Why something cannot be packed or unpacked. Without a fingerprint, so that each new owner tries again."""
    for kind, reason in _REASONS.items():
        if isinstance(error, kind):
            return Stall(reason, str(error)[:2_000])
    return Stall("codec-failed", f"the codec raised {type(error).__name__}: {error}"[:2_000])


_REASONS: dict[type[Exception], str] = {
    KeyMissing: "key-missing",
    PayloadTampered: "payload-tampered",
    BlobMissing: "blob-missing",
    BlobsUnavailable: "blobs-unavailable",
    PayloadTooLarge: "payload-too-large",
    NotDecodable: "payload-not-decodable",
}
