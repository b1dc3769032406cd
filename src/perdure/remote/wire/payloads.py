"""Text of the wire as payloads and back, byte for byte.

Text that is JSON becomes a payload of JSON with the text as its data; any other becomes a JSON string of encoding
`text`. JSON between blanks is text too, because a reader of histories drops the blanks around a value.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from perdure.codec import ARGUMENTS, JSON, TEXT, Payload
from perdure.codec.values import unreadable

BRACKETS_SURE = 100
"""JSON with no more opening brackets is nested shallow enough to be read anywhere."""
_DEPTH_SPARE = 250
"""Levels that must be left above deeper JSON: it is stored inside of events, and read deeper in the stack."""

_read: msgspec.json.Decoder[Raw] = msgspec.json.Decoder(Raw)
_write = msgspec.json.Encoder().encode
_read_text: msgspec.json.Decoder[str] = msgspec.json.Decoder(str)


def payload_of(text: str) -> Payload:
    """The payload of a text that is there, be it empty."""
    data = text.encode()
    return Payload(JSON, None, Raw(data)) if _is_json(data) else Payload(TEXT, None, Raw(_write(text)))


def text_of(payload: Payload) -> bytes:
    """The text of a payload as UTF-8. Raises NotDecodable if it is packed or of an unknown encoding."""
    if payload.key is None:
        if payload.encoding in {JSON, ARGUMENTS}:
            return bytes(payload.data)
        if payload.encoding == TEXT:
            return _read_text.decode(payload.data).encode()
    raise unreadable(payload)


def _is_json(data: bytes) -> bool:
    try:
        if len(_read.decode(data)) != len(data):
            return False
        if data.count(b"[") + data.count(b"{") > BRACKETS_SURE:
            _read.decode(b"[" * _DEPTH_SPARE + data + b"]" * _DEPTH_SPARE)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
