"""When a reminder or timer comes, as Dapr's SDKs write it: Go's durations, ISO 8601, instants, repetitions."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

from perdure.clock import LATEST, SECOND, to_microseconds
from perdure.errors import InvalidArgument

TEXT_SHOWN_MAX = 60
REPEATS_MAX = 1_000_000_000
_GO = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3_600.0}
_ISO = re.compile(
    r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?",
)
_ISO_SECONDS = (604_800.0, 86_400.0, 3_600.0, 60.0, 1.0)


class Period(NamedTuple):
    """How often something comes, in microseconds, None for once; and how many times in all, None for ever."""

    every: int | None
    repeats: int | None


def due_of(text: str, now: int) -> int:
    """When it comes first, microseconds since 1970 UTC; empty means now. Raises InvalidArgument."""
    return min(now if not text else _instant(text, now, "due time"), LATEST)


def ends_of(text: str, due: int) -> int | None:
    """Until when it comes, counted from when it comes first; empty means for ever. Raises InvalidArgument."""
    return min(_instant(text, due, "ttl"), LATEST) if text else None


def period_of(text: str) -> Period:
    """`5s`, `PT5S`, `R3/PT5S`; empty means once. Raises InvalidArgument."""
    if not text:
        return Period(None, None)
    lead, slash, rest = text.partition("/")
    repeats: int | None = None
    if slash or re.fullmatch(r"R\d+", text):
        if not re.fullmatch(r"R\d{1,9}", lead) or not 1 <= int(lead[1:]) <= REPEATS_MAX:
            raise _unreadable("period", text)
        repeats = int(lead[1:])
        text = rest
        if not slash:
            return Period(None, repeats)
    seconds = seconds_of(text)
    if seconds is None:
        raise _unreadable("period", text)
    every = round(seconds * SECOND)
    return Period(every or None, repeats)


def seconds_of(text: str) -> float | None:
    """The seconds of a duration of Go's or of ISO 8601 without months and years; None if it is none."""
    if text == "0":
        return 0.0
    if text[:1] == "P":
        match = _ISO.fullmatch(text)
        if match is None or not any(match.groups()):
            return None
        return sum(float(part) * unit for part, unit in zip(match.groups(), _ISO_SECONDS, strict=True) if part)
    parts = list(_GO.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        return None
    return sum(float(part[1]) * _UNITS[part[2]] for part in parts)


def _instant(text: str, start: int, what: str) -> int:
    seconds = seconds_of(text)
    if seconds is not None:
        return start + round(seconds * SECOND)
    try:
        found = datetime.fromisoformat(text)
        return to_microseconds(found if found.tzinfo is not None else found.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        raise _unreadable(what, text) from error


def _unreadable(what: str, text: str) -> InvalidArgument:
    return InvalidArgument(
        f"the {what} {text[:TEXT_SHOWN_MAX]!r} cannot be read; write a duration such as 1h30m or PT5S, "
        f"{'repetitions such as R3/PT5S' if what == 'period' else 'or an instant such as 2030-01-31T12:00:00Z'}"
    )
