"""Where the payloads and failures are in an event or action, and the same record with others in their place."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from perdure.codec import Payload
from perdure.history.events import Failure, RunResumed, RunSuspended

Part = Payload | Failure
Exchange = Callable[[Part], Part]

LEFT_ALONE = (RunSuspended, RunResumed)
"""Their payload is a reason in an operator's words, which the engine shows as it is."""


def parts(record: Any) -> Iterator[Part]:
    """The payloads and failures of an event or action, those of events that it carries among them."""
    if isinstance(record, LEFT_ALONE):
        return
    for name in _fields(type(record)):
        value = getattr(record, name)
        if isinstance(value, (Payload, Failure)):
            yield value
        elif isinstance(value, list):
            for carried in value:
                yield from parts(carried)


def exchanged(record: Any, exchange: Exchange) -> Any:
    """The record with what `exchange` makes of each of its parts; itself if nothing changes."""
    if isinstance(record, LEFT_ALONE):
        return record
    changes: dict[str, Any] = {}
    for name in _fields(type(record)):
        value = getattr(record, name)
        other = _exchanged(value, exchange)
        if other is not value:
            changes[name] = other
    return msgspec.structs.replace(record, **changes) if changes else record


def _exchanged(value: Any, exchange: Exchange) -> Any:
    if isinstance(value, (Payload, Failure)):
        return exchange(value)
    if isinstance(value, list) and value:
        return [exchanged(carried, exchange) for carried in value]
    return value


_known: dict[type, tuple[str, ...]] = {}


def _fields(kind: type) -> tuple[str, ...]:
    """The fields of a record that may hold parts, read from its annotations so that no new one is forgotten."""
    found = _known.get(kind)
    if found is None:
        hints = typing.get_type_hints(kind)
        names = getattr(kind, "__struct_fields__", ())
        found = _known[kind] = tuple(name for name in names if _may_hold(hints[name]))
    return found


def _may_hold(hint: Any) -> bool:
    kinds = typing.get_args(hint)
    if typing.get_origin(hint) is list:
        return any(
            map(_is_record, kinds)
        )  # because a list of records is, in an action, the events that it carries over
    return not {Payload, Failure}.isdisjoint((hint, *kinds))


def _is_record(hint: Any) -> bool:
    if hint is Any or (isinstance(hint, type) and issubclass(hint, msgspec.Struct)):
        return True
    return any(map(_is_record, typing.get_args(hint)))
