"""A message as the JSON of a CloudEvent 1.0, in the form that Dapr's components keep and its programs are sent."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from perdure.blocks.pubsub import Message
from perdure.clock import LATEST, to_datetime, to_microseconds
from perdure.errors import MalformedMessage

MEDIA_TYPE = "application/cloudevents+json"
SPEC_VERSION = "1.0"
BYTES = "application/octet-stream"
RAW = "rawpayload"
"""The extension of a message that lies on a broker as it came, without an event around it; it is not shown."""
KEY = "partitionkey"
"""The extension of CloudEvents that says which events are to be kept in order."""
EXPIRATION = "expiration"
"""Dapr's extension for the moment after which an event is of no use."""
_OWN = frozenset(
    ("specversion", "id", "source", "type", "datacontenttype", "time", "topic", "data", "data_base64", KEY, EXPIRATION)
)
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_text = msgspec.json.Decoder(str).decode
_any = msgspec.json.Decoder().decode


def kept_form(message: Message) -> bytes:
    """What a broker keeps of a message: its event, or its data alone for readers that know no events."""
    return message.data if RAW in message.extensions else write_event(message)


def attributes_of(message: Message) -> dict[str, str]:
    """What an event says beside its data, its type and where it is from: extensions, and its time."""
    found = {name: value for name, value in message.extensions.items() if name != RAW}
    if message.time:
        found["time"] = _moment(message.time)
    if message.key is not None:
        found[KEY] = message.key
    if message.expires is not None:
        found[EXPIRATION] = _moment(message.expires)
    return found


def write_event(message: Message, more: Mapping[str, str] | None = None) -> bytes:
    """The event, with `more` attributes beside its own. Data that is declared as JSON stands in it verbatim."""
    event: dict[str, Any] = {
        "specversion": SPEC_VERSION,
        "id": message.id,
        "source": message.source,
        "type": message.type,
        "datacontenttype": message.content_type,
        "topic": message.topic,
    }
    return _encode({**attributes_of(message), **event, **(more or {}), **_data(message)})


def read_event(data: bytes, topic: str) -> Message:
    """The message in an event that came on a topic. Raises MalformedMessage."""
    try:
        event = _decode(data)
        own = {name: _text(event[name]) for name in _OWN & event.keys() if name not in ("data", "data_base64")}
        id, source = own["id"], own["source"]
        return Message(
            id=id,
            topic=topic,
            data=_data_of(event, own.get("datacontenttype", "")),
            content_type=own.get("datacontenttype", "application/json"),
            key=own.get(KEY),
            source=source,
            type=own.get("type", ""),
            time=_microseconds(own["time"]) if own.get("time") else 0,
            expires=_microseconds(own[EXPIRATION]) if own.get(EXPIRATION) else None,
            extensions={name: _extension(raw) for name, raw in event.items() if name not in _OWN},
        )
    except (msgspec.DecodeError, KeyError, ValueError, binascii.Error) as error:
        raise MalformedMessage(f"{len(data):,} bytes on {topic!r} are no CloudEvent: {error}") from None


def is_json(content_type: str) -> bool:
    """Whether data of this type is JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def is_event(content_type: str) -> bool:
    """Whether data of this type is an event of itself, with its attributes."""
    return content_type.partition(";")[0].strip().lower() == MEDIA_TYPE


def _data(message: Message) -> dict[str, Any]:
    """What is not what it is declared as goes as bytes, because it would come back as something else."""
    try:
        if is_json(message.content_type):
            _any(message.data)
            return {"data": msgspec.Raw(message.data)}
        if not message.content_type.startswith(BYTES):
            return {"data": message.data.decode()}
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    return {"data_base64": base64.b64encode(message.data).decode()}


def _data_of(event: Mapping[str, msgspec.Raw], content_type: str) -> bytes:
    if "data_base64" in event:
        return base64.b64decode(_text(event["data_base64"]), validate=True)
    raw = bytes(event.get("data", b""))
    is_text = raw[:1] == b'"'
    return _text(raw).encode() if is_text and not is_json(content_type) else raw


def _extension(raw: msgspec.Raw) -> str:
    """A text as it is; numbers and truth values as their JSON."""
    data = bytes(raw)
    return _text(data) if data[:1] == b'"' else data.decode()


def _moment(at: int) -> str:
    return to_datetime(min(at, LATEST)).isoformat().replace("+00:00", "Z")


def _microseconds(text: str) -> int:
    return to_microseconds(datetime.fromisoformat(text))
