"""Values of JSON as protobuf has them, in the properties of a failure."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

from perdure.remote.wire.framing import FIXED64, VARINT, framed, tag, varint

_KEY, _VALUE = tag(1), tag(2)
_NULL, _NUMBER, _TEXT, _FLAG, _MAP, _LIST = tag(1, VARINT), tag(2, FIXED64), tag(3), tag(4, VARINT), tag(5), tag(6)
_ENTRY = tag(1)


def map_entries(values: Mapping[str, Any]) -> list[bytes]:
    """The entries of a map of values, each without tag and length."""
    return [_KEY + framed(key.encode()) + _VALUE + framed(value_bytes(values[key])) for key in sorted(values)]


def value_bytes(value: Any) -> bytes:
    """One value. What is no value of JSON is written as its text."""
    if value is None:
        return _NULL + varint(0)
    if isinstance(value, bool):
        return _FLAG + varint(value)
    if isinstance(value, (int, float)):
        return _NUMBER + struct.pack("<d", value)
    if isinstance(value, Mapping):
        return _MAP + framed(b"".join([_ENTRY + framed(entry) for entry in map_entries(value)]))
    if isinstance(value, (list, tuple)):
        return _LIST + framed(b"".join([_ENTRY + framed(value_bytes(one)) for one in value]))
    return _TEXT + framed(str(value).encode())


def read_map(message: Any) -> dict[str, Any]:
    """The values of a map. A number that JSON cannot hold, such as infinity, is read as its text."""
    return {key: read_value(message[key]) for key in message}


def read_value(message: Any) -> Any:
    """One value; None where nothing is set."""
    match message.WhichOneof("kind"):
        case "number_value":
            number = message.number_value
            return number if math.isfinite(number) else str(number)
        case "string_value":
            return message.string_value
        case "bool_value":
            return message.bool_value
        case "struct_value":
            return read_map(message.struct_value.fields)
        case "list_value":
            return [read_value(one) for one in message.list_value.values]
        case _:
            return None
