"""The bytes that protobuf is made of: tags, lengths and varints, for what is written by hand."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.descriptor import FieldDescriptor

_SIZES_CACHED = 1 << 14
"""Lengths that take one or two bytes are looked up."""
_TEXT_SHORT = 125
"""Bytes of a text whose length, and that of what wraps it, takes one byte."""
VARINT, FIXED64, LENGTH = 0, 1, 2


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_sizes = tuple(_varint(size) for size in range(_SIZES_CACHED))


def varint(value: int) -> bytes:
    """An integer of 64 bits; negative ones take ten bytes, as protobuf has it."""
    if 0 <= value < _SIZES_CACHED:
        return _sizes[value]
    return _varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def tag(number: int, kind: int = LENGTH) -> bytes:
    """What stands before the value of field `number`."""
    return varint(number << 3 | kind)


def tag_of(field: FieldDescriptor, kind: int = LENGTH) -> bytes:
    """What stands before the value of a field."""
    return tag(field.number, kind)


def framed(data: bytes) -> bytes:
    """The data with its length in front."""
    size = len(data)
    return (_sizes[size] if size < _SIZES_CACHED else _varint(size)) + data


def wrapped(tag: bytes, text: bytes) -> bytes:
    """A StringValue under its tag: a message whose first field is the text."""
    size = len(text)
    if size > _TEXT_SHORT:
        return tag + framed(b"\n" + framed(text))
    return b"%b%c\n%c%b" % (tag, size + 2, size, text) if size else tag + b"\0"


def joined(tag: bytes, frames: Sequence[bytes]) -> bytes:
    """A repeated field of framed messages."""
    return tag + tag.join(frames) if frames else b""


def unframed(frame: bytes) -> bytes:
    """The data of a frame that `framed` has made."""
    size = shift = place = 0
    while True:
        byte = frame[place]
        size |= (byte & 0x7F) << shift
        shift, place = shift + 7, place + 1
        if byte <= 0x7F:
            assert len(frame) == place + size
            return frame[place:]
