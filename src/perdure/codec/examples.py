"""What data of a type looks like: the type's name, and the least value of it, for a person who has to write some."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import inspect

EXAMPLE_CHARACTERS_MAX = 500
"""Of a longer value nobody types one like it, so it is not told."""
TYPE_CHARACTERS_MAX = 100
"""What is told of a type's name."""


class Example(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The name of a type, and a value of it as JSON text; None where the type does not tell one."""

    type: str
    value: str | None = None


def example_of(expected: Any) -> Example | None:
    """What data of a type looks like. None: null is data of it, or it is no type that data is read as."""
    try:
        return _example_of(expected)
    except TypeError:
        return None  # because nothing is read as a type without a hash either


@lru_cache(maxsize=4096)
def _example_of(expected: Any) -> Example | None:
    name = (expected.__name__ if isinstance(expected, type) else repr(expected))[:TYPE_CHARACTERS_MAX]
    try:
        least = _least(inspect.type_info(expected))
    except Exception:  # noqa: BLE001 because types come from any library, and an example must not cost a run
        return Example(name)
    if least is None:
        return None
    value = msgspec.json.encode(least).decode()
    return Example(name, value if len(value) <= EXAMPLE_CHARACTERS_MAX else None)


class _Untold(Exception):
    """A value takes more than what the declaration of its type says."""


def _least(kind: inspect.Type) -> Any:
    """As JSON has it. No code of the type runs, because it could ask the workflow for something. Raises _Untold."""
    match kind:
        case inspect.UnionType() if not kind.includes_none:
            return _least(kind.types[0])
        case inspect.AnyType() | inspect.NoneType() | inspect.RawType() | inspect.UnionType():
            return None
        case inspect.CustomType() if kind.cls is object:
            return None
        case inspect.BoolType():
            return False
        case inspect.LiteralType():
            return kind.values[0]
        case inspect.EnumType():
            return next(iter(kind.cls)).value
        case inspect.TypedDictType() | inspect.DataclassType() | inspect.StructType() | inspect.NamedTupleType():
            return _record(kind)
    return _bounded(kind)


def _bounded(kind: Any) -> Any:
    """Of the kinds that may have bounds: a length from below, and a number's too, are kept to."""
    bounds = {bound for bound in _BOUNDS if getattr(kind, bound, None) is not None}
    match kind:
        case inspect.IntType() | inspect.FloatType() if bounds <= {"ge", "gt"}:
            return max(kind.ge or 0, kind.gt + 1 if kind.gt is not None else 0)
        case inspect.StrType() if bounds <= {"min_length", "max_length"}:
            return "x" * (kind.min_length or 0)
        case inspect.CollectionType() if bounds <= {"min_length", "max_length"}:
            return [_least(kind.item_type)] * (kind.min_length or 0)
        case inspect.TupleType():
            return [_least(each) for each in kind.item_types]
        case _ if not bounds:
            return _unbounded(kind)
    raise _Untold


_BOUNDS = ("ge", "gt", "le", "lt", "multiple_of", "pattern", "min_length", "max_length")


def _unbounded(kind: Any) -> Any:
    match kind:
        case inspect.DictType():
            return {}
        case inspect.BytesType() | inspect.ByteArrayType():
            return ""
        case inspect.DateTimeType() | inspect.TimeType() if kind.tz is False:
            return _TEXTS[type(kind)].rstrip("Z")
        case _ if type(kind) in _TEXTS:
            return _TEXTS[type(kind)]
    raise _Untold


_TEXTS: dict[type, str] = {
    inspect.DateTimeType: "2030-01-01T00:00:00Z",
    inspect.TimeType: "00:00:00Z",
    inspect.DateType: "2030-01-01",
    inspect.TimeDeltaType: "PT0S",
    inspect.UUIDType: "00000000-0000-0000-0000-000000000000",
    inspect.DecimalType: "0",
}
"""What JSON has as text of a form."""


def _record(kind: Any) -> Any:
    """Its fields that have no default."""
    if hasattr(kind.cls, "__post_init__"):
        raise _Untold  # because that may refuse whatever it likes
    fields: Sequence[inspect.Field] = kind.fields
    least = {field.encode_name: _least(field.type) for field in fields if field.required}
    tag = getattr(kind, "tag", None)
    if isinstance(kind, inspect.NamedTupleType) or getattr(kind, "array_like", False):
        return [*([] if tag is None else [tag]), *least.values()]
    return least if tag is None else {kind.tag_field: tag, **least}
