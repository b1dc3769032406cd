"""The frame of a native message: the address fields of the public messages, and one field with all else."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from perdure.errors import MalformedMessage
from perdure.remote.wire.framing import FIXED64, LENGTH, VARINT, framed, tag, varint
from perdure.remote.wire.schema import MESSAGE_BYTES_MAX

BODY, CANCEL, PING = 100, 101, 102
"""Fields of which a message has one; no public message has a field of these numbers."""
TURN_ANSWER, ATTEMPT_ANSWER, ITEM, ACTOR_ANSWER = 110, 111, 112, 113
"""Fields of a batch, in the order in which they are to be taken."""
_INSTANCE, _NUMBER, _TURN_TOKEN, _ATTEMPT_TOKEN, _ITEM_TOKEN = 1, 2, 4, 5, 10
_FIXED32 = 5
_VARINT_BITS = 64


class Envelope(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`instance` and `number` are empty in an item, `body` in one that only says what it is."""

    instance: str = ""
    number: int = 0
    token: str = ""
    kind: int = BODY
    body: bytes = b""


def write_envelope(envelope: Envelope, *, is_item: bool = False, is_attempt: bool = False) -> bytes:
    """The message. Answers to attempts and items have their token in another field than answers to turns."""
    parts = []
    if envelope.instance:
        parts.append(tag(_INSTANCE) + framed(envelope.instance.encode()))
    if envelope.number:
        parts.append(tag(_NUMBER, VARINT) + varint(envelope.number))
    if envelope.token:
        parts.append(tag(_token_field(is_item, is_attempt)) + framed(envelope.token.encode()))
    parts.append(tag(envelope.kind) + framed(envelope.body))
    return b"".join(parts)


def read_envelope(data: bytes, *, is_item: bool = False, is_attempt: bool = False) -> Envelope:
    """The parts of a message; fields of other numbers are passed over. Raises MalformedMessage."""
    if len(data) > MESSAGE_BYTES_MAX:
        raise MalformedMessage(f"a message of {len(data):,} bytes; send at most {MESSAGE_BYTES_MAX:,}")
    token_field = _token_field(is_item, is_attempt)
    instance, number, token, kind, body = "", 0, "", 0, b""
    for field, value in _fields(data):
        if field == _INSTANCE and isinstance(value, bytes):
            instance = _text(value)
        elif field == _NUMBER and isinstance(value, int):
            number = value
        elif field == token_field and isinstance(value, bytes):
            token = _text(value)
        elif field in (BODY, CANCEL, PING) and isinstance(value, bytes):
            kind, body = field, value
    if not kind:
        raise MalformedMessage("a message of Perdure's own has no body; is the peer of another kind?")
    return Envelope(instance=instance, number=number, token=token, kind=kind, body=body)


def write_batch(parts: Iterable[tuple[int, bytes]]) -> bytes:
    """Several messages as one, each under the number that says what it is."""
    return b"".join(tag(kind) + framed(data) for kind, data in parts)


def read_batch(data: bytes) -> list[tuple[int, bytes]]:
    """The messages of a batch; fields of other kinds are passed over. Raises MalformedMessage."""
    if len(data) > MESSAGE_BYTES_MAX:
        raise MalformedMessage(f"a batch of {len(data):,} bytes; send at most {MESSAGE_BYTES_MAX:,}")
    return [(field, value) for field, value in _fields(data) if isinstance(value, bytes)]


def _token_field(is_item: bool, is_attempt: bool) -> int:
    return _ITEM_TOKEN if is_item else _ATTEMPT_TOKEN if is_attempt else _TURN_TOKEN


def _fields(data: bytes) -> list[tuple[int, bytes | int]]:
    found: list[tuple[int, bytes | int]] = []
    place = 0
    while place < len(data):
        key, place = _read_varint(data, place)
        kind = key & 7
        if kind == VARINT:
            value, place = _read_varint(data, place)
            found.append((key >> 3, value))
            continue
        if kind == LENGTH:
            size, place = _read_varint(data, place)
        elif kind in (FIXED64, _FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise MalformedMessage(f"a field of the unknown kind {kind}; is the peer of another kind?")
        if place + size > len(data):
            raise MalformedMessage("a message of Perdure's own is cut short")
        found.append((key >> 3, data[place : place + size]))
        place += size
    return found


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= len(data) or shift >= _VARINT_BITS:
            raise MalformedMessage("a message of Perdure's own is cut short")
        byte = data[place]
        value |= (byte & 0x7F) << shift
        shift, place = shift + 7, place + 1
        if byte <= 0x7F:
            return value, place


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise MalformedMessage("an address of a message of Perdure's own is no text") from None
