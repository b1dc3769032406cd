"""A message of a topic, which is a CloudEvent 1.0."""

from __future__ import annotations

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One CloudEvent on a topic. Who publishes it again under the same `source` and `id` means the same event.

    Messages of one `key` are handled in the order in which they were published; without one, in any. `time` and
    `expires` (None: never) are microseconds since 1970 UTC; a message that is not handled by then is dropped.
    Attributes that have no field here (`subject`, `dataschema`, `traceparent` and the sender's own) are `extensions`.
    """

    id: str
    topic: str
    data: bytes
    content_type: str = "application/json"
    key: str | None = None
    source: str = ""
    type: str = "perdure.message"
    time: int = 0
    expires: int | None = None
    extensions: dict[str, str] = {}
