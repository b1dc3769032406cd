"""A message of a topic as a receiver's code sees it."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

import msgspec

from perdure.clock import to_datetime
from perdure.codec import JSON, Payload, decode
from perdure.errors import NotDecodable
from perdure.history.events import MessagePublished

BYTES = "bytes"
"""Encoding of data that is no JSON: a JSON text of base64."""


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A CloudEvent 1.0. `data` is what its JSON says, or bytes if it is none. `time` is in UTC, and `key` is that by
    which it is kept in order. Attributes that have no field here, `subject` among them, are `extensions`."""

    id: str
    topic: str
    source: str
    type: str
    time: datetime
    data: Any = None
    key: str | None = None
    content_type: str = "application/json"
    extensions: dict[str, str] = {}


def shown(message: MessagePublished) -> CloudEvent:
    """The message for code. Raises NotDecodable."""
    return CloudEvent(
        id=message.id,
        topic=message.topic,
        source=message.source,
        type=message.kind,
        time=to_datetime(message.at),
        data=data_of(message.data, Any),
        key=message.key,
        content_type=message.content_type,
        extensions=dict(message.extensions or {}),
    )


def data_of(payload: Payload | None, expected: Any) -> Any:
    """The data of a message as a type. Raises NotDecodable."""
    if payload is None or payload.encoding != BYTES:
        return decode(payload, expected)
    if expected not in (Any, bytes, object):
        raise NotDecodable(f"the data is no JSON, so it is no {expected!r}; take bytes")
    return base64.b64decode(msgspec.json.decode(payload.data, type=str))


def payload_of(data: bytes, content_type: str) -> Payload:
    """Data as it came from outside: JSON as itself, anything else as base64."""
    if content_type.partition(";")[0].strip().endswith("json"):
        try:
            msgspec.json.decode(data)
            return Payload(JSON, None, msgspec.Raw(data))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # because a sender may say what it likes, and the receiver is to have what it sent
    return Payload(BYTES, None, msgspec.Raw(msgspec.json.encode(base64.b64encode(data).decode())))


def bytes_of(payload: Payload | None) -> bytes:
    """The data as it goes outside."""
    if payload is None:
        return b""
    if payload.encoding == BYTES:
        return base64.b64decode(msgspec.json.decode(payload.data, type=str))
    return bytes(payload.data)
