"""What a program publishes as the message that it means: wrapped as an event, or an event of its own. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from perdure.blocks.pubsub import Message
from perdure.clock import SECOND
from perdure.errors import InvalidArgument, MalformedMessage
from perdure.history.options import Trace
from perdure.remote.cloudevents import BYTES, RAW, is_event, read_event

TYPE = "com.dapr.event.sent"
PLAIN = "text/plain"
"""What data are of which nothing is said."""
ATTRIBUTE = "cloudevent."
"""Metadata that begin so replace an attribute of the event."""
TTL = "ttlInSeconds"
RAW_PAYLOAD = "rawPayload"
PARTITION_KEY = "partitionKey"
TTL_SECONDS_MAX = 100 * 365 * 86_400
_event = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_FIELDS = {"id": "id", "source": "source", "type": "type", "datacontenttype": "content_type"}


class Publish(msgspec.Struct, frozen=True, kw_only=True):
    """One event as a program sends it; `metadata` are for it alone."""

    pubsub: str
    topic: str
    data: bytes
    content_type: str = ""
    metadata: Mapping[str, str] = {}


def message_of(asked: Publish, app: str, id: str, now: int, trace: Trace | None = None) -> Message:
    """The message, under a fresh `id` unless the program has one. Raises InvalidArgument."""
    if not asked.topic:
        raise InvalidArgument(f"no topic is named for {asked.pubsub!r}; name one")
    metadata = {name.lower(): value for name, value in asked.metadata.items()}
    if _flag(metadata, RAW_PAYLOAD):
        message = _raw(asked, app, id, now)
    elif is_event(asked.content_type):
        message = _own_event(asked, app, id, now)
    else:
        message = _wrapped(asked, app, id, now, trace)
    return msgspec.structs.replace(
        _overridden(message, metadata),
        key=metadata.get(PARTITION_KEY.lower(), message.key),
        expires=_expires(metadata, now) or message.expires,
    )


def _raw(asked: Publish, app: str, id: str, now: int) -> Message:
    """It lies on the broker as it came, for readers that know no events."""
    kind = asked.content_type or BYTES
    return Message(
        id=id,
        topic=asked.topic,
        data=asked.data,
        content_type=kind,
        source=app,
        type=TYPE,
        time=now,
        extensions={RAW: "true"},
    )


def _own_event(asked: Publish, app: str, id: str, now: int) -> Message:
    """What the program left out of its event is filled in."""
    try:
        event = {"id": id, "source": app, "type": TYPE, **_event(asked.data)}
        found = read_event(msgspec.json.encode(event), asked.topic)
    except (msgspec.DecodeError, MalformedMessage) as error:
        raise InvalidArgument(f"the data is declared as a CloudEvent and is none: {error}") from None
    extensions = {name: value for name, value in found.extensions.items() if name != "pubsubname"}
    return msgspec.structs.replace(found, time=found.time or now, extensions=extensions)


def _wrapped(asked: Publish, app: str, id: str, now: int, trace: Trace | None) -> Message:
    found = {"traceid": trace.parent, "traceparent": trace.parent, "tracestate": trace.state or ""} if trace else {}
    return Message(
        id=id,
        topic=asked.topic,
        data=asked.data,
        content_type=asked.content_type or PLAIN,
        source=app,
        type=TYPE,
        time=now,
        extensions=found,
    )


def _overridden(message: Message, metadata: Mapping[str, str]) -> Message:
    told = {name[len(ATTRIBUTE) :]: value for name, value in metadata.items() if name.startswith(ATTRIBUTE)}
    fields: dict[str, Any] = {_FIELDS[name]: value for name, value in told.items() if name in _FIELDS and value}
    more = {name: value for name, value in told.items() if name not in _FIELDS}
    return msgspec.structs.replace(message, **fields, extensions={**message.extensions, **more})


def _expires(metadata: Mapping[str, str], now: int) -> int | None:
    text = metadata.get(TTL.lower())
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:12]) <= TTL_SECONDS_MAX):
        raise InvalidArgument(f"{TTL} is {text[:40]!r}; give a number of seconds from 1 on")
    return now + int(text) * SECOND


def _flag(metadata: Mapping[str, str], name: str) -> bool:
    return metadata.get(name.lower(), "").lower() in ("true", "1", "t", "y", "yes")
