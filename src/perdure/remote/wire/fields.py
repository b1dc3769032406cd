"""Kinds of fields: how a field of a message and an attribute of a record become each other.

Each function names the field as the .proto files do, and the attribute where its name is another. What it returns is
bound to one flavour's message, which may lack the field: then it is neither written nor read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor

from perdure.codec import Payload
from perdure.errors import InvalidArgument, MalformedMessage
from perdure.remote.wire.framing import VARINT, framed, tag, tag_of, varint, wrapped
from perdure.remote.wire.payloads import payload_of, text_of
from perdure.remote.wire.schema import Schema
from perdure.remote.wire.times import read_time, time_bytes

Write = Callable[[Any], bytes]
"""From a record to the bytes of the field, empty if it is absent."""
Read = Callable[[Any, dict[str, Any]], None]
"""From a message to the values of a record."""
Bind = Callable[[Schema, FieldDescriptor], tuple[Write, Read]]

FIRST = tag(1)
"""The tag of a first field with a length: all that a wrapper of a string holds."""
SECOND = tag(2)


class Field(NamedTuple):
    """A field by its name on the wire, and how it is bound to a flavour's message.

    `place` is the attribute that leaves nothing to write where it is None, "" if there is no such attribute.
    """

    wire: str
    bind: Bind
    place: str = ""


def text(wire: str, place: str = "") -> Field:
    """A string; empty is absent."""
    place = place or wire

    def bind(_: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head, get = tag_of(field), attrgetter(place)

        def write(record: Any) -> bytes:
            value = get(record)
            return head + framed(value.encode()) if value else b""

        def read(message: Any, values: dict[str, Any]) -> None:
            values[place] = getattr(message, wire)

        return write, read

    return Field(wire, bind, place)


def name(wire: str, place: str = "") -> Field:
    """A string that is None where it is empty."""
    place = place or wire

    def bind(schema: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        write, _ = text(wire, place).bind(schema, field)

        def read(message: Any, values: dict[str, Any]) -> None:
            values[place] = getattr(message, wire) or None

        return write, read

    return Field(wire, bind, place)


def optional(wire: str, place: str = "") -> Field:
    """A string, or bytes, whose presence is told apart from emptiness."""
    place = place or wire

    def bind(_: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head, get = tag_of(field), attrgetter(place)

        def write(record: Any) -> bytes:
            value = get(record)
            if value is None:
                return b""
            return head + framed(value if isinstance(value, bytes) else value.encode())

        def read(message: Any, values: dict[str, Any]) -> None:
            values[place] = getattr(message, wire) if message.HasField(wire) else None

        return write, read

    return Field(wire, bind, place)


def blob(wire: str) -> Field:
    """Bytes; empty is absent."""

    def bind(_: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head, get = tag_of(field), attrgetter(wire)

        def write(record: Any) -> bytes:
            value = get(record)
            return head + framed(value) if value else b""

        def read(message: Any, values: dict[str, Any]) -> None:
            values[wire] = getattr(message, wire)

        return write, read

    return Field(wire, bind, wire)


def note(wire: str, place: str = "", absent: str | None = None) -> Field:
    """A wrapped string that is no payload; `absent` stands for one that is not there."""
    place = place or wire

    def bind(_: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head, get = tag_of(field), attrgetter(place)

        def write(record: Any) -> bytes:
            value = get(record)
            return wrapped(head, value.encode()) if value != absent else b""

        def read(message: Any, values: dict[str, Any]) -> None:
            values[place] = getattr(message, wire).value if message.HasField(wire) else absent

        return write, read

    return Field(wire, bind, place if absent is None else "")


def value(wire: str, place: str = "") -> Field:
    """A wrapped string that is a payload. Writing raises NotDecodable for one that is packed."""
    place = place or wire

    def bind(_: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head, get = tag_of(field), attrgetter(place)

        def write(record: Any) -> bytes:
            payload = get(record)
            return wrapped(head, text_of(payload)) if payload is not None else b""

        def read(message: Any, values: dict[str, Any]) -> None:
            values[place] = read_value(message, wire)

        return write, read

    return Field(wire, bind, place)


def read_value(message: Any, wire: str) -> Payload | None:
    """The payload in a wrapped string of a message, None if it is absent."""
    return payload_of(getattr(message, wire).value) if message.HasField(wire) else None


def number(wire: str, place: str = "") -> Field:
    """An integer or a flag; 0 is absent."""
    place = place or wire

    def bind(_: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head, get = tag_of(field, VARINT), attrgetter(place)

        def write(record: Any) -> bytes:
            found = get(record)
            return head + varint(found) if found else b""

        def read(message: Any, values: dict[str, Any]) -> None:
            values[place] = getattr(message, wire)

        return write, read

    return Field(wire, bind, place)


def count(wire: str, place: str = "") -> Field:
    """A wrapped integer, None if it is absent. Reading raises MalformedMessage for a negative one."""
    place = place or wire

    def bind(_: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head, get = tag_of(field), attrgetter(place)

        def write(record: Any) -> bytes:
            found = get(record)
            if found is None:
                return b""
            return head + framed(tag(1, VARINT) + varint(found) if found else b"")

        def read(message: Any, values: dict[str, Any]) -> None:
            found = getattr(message, wire).value if message.HasField(wire) else None
            if found is not None and found < 0:
                raise MalformedMessage(f"{wire} is {found}; send 0 or more")
            values[place] = found

        return write, read

    return Field(wire, bind, place)


def scope(wire: str, place: str = "") -> Field:
    """An integer whose presence is told apart from 0."""
    place = place or wire

    def bind(_: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head, get = tag_of(field, VARINT), attrgetter(place)

        def write(record: Any) -> bytes:
            found = get(record)
            return head + varint(found) if found is not None else b""

        def read(message: Any, values: dict[str, Any]) -> None:
            values[place] = getattr(message, wire) if message.HasField(wire) else None

        return write, read

    return Field(wire, bind, place)


def code(wire: str, place: str, numbers: Mapping[str, int], otherwise: int | None = None) -> Field:
    """An enum of the wire as a word.

    `otherwise` is written for an unlisted word, and lets an unlisted number be read as its digits; without it such a
    number raises MalformedMessage.
    """
    words = {number: word for word, number in reversed(list(numbers.items()))}

    def bind(_: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head, get = tag_of(field, VARINT), attrgetter(place)

        def write(record: Any) -> bytes:
            word = get(record)
            found = numbers.get(word)
            if found is None:
                if otherwise is None:
                    raise InvalidArgument(f"{word!r} is none of {', '.join(numbers)}")
                found = int(word) if word.isdecimal() else otherwise
            return head + varint(found) if found else b""

        def read(message: Any, values: dict[str, Any]) -> None:
            found = getattr(message, wire)
            if found not in words and otherwise is None:
                raise MalformedMessage(f"{wire} is {found}; send one of {sorted(words)}")
            values[place] = words.get(found) or str(found)

        return write, read

    return Field(wire, bind)


def moment(wire: str, place: str, rest: str = "", *, absent: int | None = None) -> Field:
    """A timestamp as microseconds and, if `rest` names a place for them, nanoseconds. None is absent.

    `absent` stands for one that is not there.
    """

    def bind(_: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head, get = tag_of(field), attrgetter(place)

        def write(record: Any) -> bytes:
            micros = get(record)
            return head + time_bytes(micros, getattr(record, rest) if rest else 0) if micros is not None else b""

        def read(message: Any, values: dict[str, Any]) -> None:
            if message.HasField(wire):
                values[place], nanos = read_time(getattr(message, wire))
                if rest:
                    values[rest] = nanos
            else:
                values[place] = absent

        return write, read

    return Field(wire, bind, place)


def within(wire: str, inner: str, place: str) -> Field:
    """The one string of a message of its own."""

    def bind(_: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head, get = tag_of(field), attrgetter(place)

        def write(record: Any) -> bytes:
            found = get(record)
            return wrapped(head, found.encode()) if found is not None else b""

        def read(message: Any, values: dict[str, Any]) -> None:
            values[place] = getattr(getattr(message, wire), inner) if message.HasField(wire) else None

        return write, read

    return Field(wire, bind, place)


def texts(wire: str, place: str = "") -> Field:
    """A list of strings."""
    place = place or wire

    def bind(_: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head, get = tag_of(field), attrgetter(place)

        def write(record: Any) -> bytes:
            return b"".join([head + framed(one.encode()) for one in get(record) or ()])

        def read(message: Any, values: dict[str, Any]) -> None:
            values[place] = list(getattr(message, wire))

        return write, read

    return Field(wire, bind, place)


def tags() -> Field:
    """A map of strings; empty is None."""

    def bind(_: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head, get = tag_of(field), attrgetter("tags")

        def write(record: Any) -> bytes:
            found = get(record)
            return b"".join([head + framed(_entry(key, found[key])) for key in sorted(found)]) if found else b""

        def read(message: Any, values: dict[str, Any]) -> None:
            found = message.tags
            values["tags"] = dict(found) if found else None  # because an empty map is slow to copy

        return write, read

    return Field("tags", bind, "tags")


def _entry(key: str, value: str) -> bytes:
    return FIRST + framed(key.encode()) + SECOND + framed(value.encode())
