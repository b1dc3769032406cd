"""Forms: a kind of record as the message that it is on the wire, whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from perdure.remote.wire.fields import Field, Read, Write
from perdure.remote.wire.framing import framed, tag_of
from perdure.remote.wire.schema import Schema

_ALWAYS = "__class__"
"""An attribute of every record, for fields that may be written whatever it is that a record lacks."""


class Form:
    """Writes and reads one kind of record as one flavour's message."""

    __slots__ = ("_kind", "_places", "_readers", "_writers", "name")

    def __init__(self, schema: Schema, name: str, kind: Callable[..., Any], fields: Sequence[Field]) -> None:
        known = schema.fields(name)
        bound = sorted(
            (
                (known[field.wire].number, *field.bind(schema, known[field.wire]), field.place or _ALWAYS)
                for field in fields
                if field.wire in known
            ),
            key=lambda one: one[0],
        )
        self.name = name
        self._kind = kind
        self._writers: tuple[Write, ...] = tuple(write for _, write, _, _ in bound)
        self._readers: tuple[Read, ...] = tuple(read for _, _, read, _ in bound)
        # with two more, because a lone name would give no tuple
        self._places = attrgetter(*(place for *_, place in bound), _ALWAYS, _ALWAYS)

    def write(self, record: Any) -> bytes:
        """The bytes of the message, its fields in the order of their numbers."""
        there = zip(self._writers, self._places(record), strict=False)
        return b"".join([write(record) for write, value in there if value is not None])

    def values(self, message: Any) -> dict[str, Any]:
        """What the message gives to a record's constructor."""
        values: dict[str, Any] = {}
        for read in self._readers:
            read(message, values)
        return values

    def read(self, message: Any, **more: Any) -> Any:
        """The record in a message, with `more` that the message does not know."""
        return self._kind(**self.values(message), **more)


class Shape:
    """What a kind of record looks like in both flavours: all fields of either."""

    __slots__ = ("_fields", "_forms", "kind", "name")

    def __init__(self, name: str, kind: Callable[..., Any], *fields: Field) -> None:
        self.name = name
        self.kind = kind
        self._fields = fields
        self._forms: dict[int, Form] = {}

    def form(self, schema: Schema) -> Form:
        """The form in one flavour."""
        found = self._forms.get(id(schema))
        if found is None:
            found = self._forms[id(schema)] = Form(schema, self.name, self.kind, self._fields)
        return found


def record(wire: str, place: str, shape: Callable[[], Shape], *, needed: bool = False) -> Field:
    """A message within a message; a `needed` one that is absent reads as an empty one."""

    def bind(schema: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head = tag_of(field)

        def write(owner: Any) -> bytes:
            found = getattr(owner, place)
            return head + framed(shape().form(schema).write(found)) if found is not None else b""

        def read(message: Any, values: dict[str, Any]) -> None:
            found = needed or message.HasField(wire)
            values[place] = shape().form(schema).read(getattr(message, wire)) if found else None

        return write, read

    return Field(wire, bind, place)
