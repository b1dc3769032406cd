"""Text of the command line to values: JSON, pairs, instants, durations. A mistake is an InvalidArgument."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from perdure.errors import InvalidArgument

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")
TEXT_SHOWN_MAX = 60
"""Characters of a bad value that its error repeats."""


def json_value(text: str, what: str) -> Any:
    """The value of a JSON text; `what` names the argument in the error."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(
            f"{what} {text[:TEXT_SHOWN_MAX]!r} is not JSON: {error}; text needs quotes of its own: '\"text\"'"
        ) from error


def pairs(given: Sequence[str], option: str) -> dict[str, str]:
    """`key=value` texts as a mapping."""
    found: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InvalidArgument(f"{option} {text[:TEXT_SHOWN_MAX]!r} is no pair; write {option} key=value")
        found[key] = value
    return found


def seconds(text: str, option: str) -> float:
    """A duration: `90`, `90s`, `1.5m`, `2h`, `7d`."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise InvalidArgument(
            f"{option} {text[:TEXT_SHOWN_MAX]!r} is no duration; write seconds, or a number with s, m, h or d"
        )
    return float(match[1]) * _UNITS[match[2]]


def instant(text: str, option: str, now: datetime) -> datetime:
    """A point in time: ISO 8601, taken as UTC if it names no zone; or relative to now, `+2h` and `-30m`."""
    try:
        if text[:1] in ("+", "-"):
            offset = timedelta(seconds=seconds(text[1:], option))
            return now + offset if text[0] == "+" else now - offset
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(
            f"{option} {text[:TEXT_SHOWN_MAX]!r} is no time; write 2030-01-31T12:00:00+01:00, or +2h, or -30m"
        ) from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _no_constant(name: str) -> Any:
    raise ValueError(f"JSON has no {name}")
