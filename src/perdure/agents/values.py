"""How a value of the user's types is stored and read again: as JSON from which pydantic makes the same value."""

from __future__ import annotations

from typing import Any

import msgspec
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from perdure.errors import NotEncodable

MISFITS_MAX = 3
"""How many of the places where a value does not fit its type are told."""


def stored(adapter: TypeAdapter[Any], value: Any) -> Any:
    """The value in JSON types. Raises NotEncodable."""
    try:
        # for the way back, which computed fields that a type does not take, and JSON in JSON, would block
        return adapter.dump_python(value, mode="json", round_trip=True)
    except PydanticSerializationError as error:
        raise NotEncodable(f"a {type(value).__name__} cannot be stored: {error}") from error


def loaded(adapter: TypeAdapter[Any], told: Any) -> Any:
    """The value of what was stored. Raises pydantic's ValidationError."""
    # read as JSON, because a strict type takes a date that is a text only there
    return adapter.validate_json(msgspec.json.encode(told), by_alias=True, by_name=True)


def misfit(error: ValidationError) -> str:
    """Where a value does not fit its type, in one line. Pure."""
    found = [
        f"{'.'.join(map(str, each['loc']))}: {each['msg']}".removeprefix(": ")
        for each in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    more = f" and {len(found) - MISFITS_MAX} more" if len(found) > MISFITS_MAX else ""
    return "; ".join(found[:MISFITS_MAX]) + more
