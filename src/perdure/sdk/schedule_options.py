"""Options of schedules: what their authors write, checked, and in the form that a schedule keeps."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, get_args

import msgspec

from perdure.clock import LATEST, SECOND, to_microseconds
from perdure.errors import InvalidArgument
from perdure.scheduler import schedule as core
from perdure.scheduler.schedule import Overlap, Spec
from perdure.scheduler.ticks import Calendar, check
from perdure.sdk.options import checked_id, checked_moment, checked_text

ID_BYTES_MAX = 512
"""Bound of a schedule's id, so that the ids of its runs, which begin with it, are valid."""
SECONDS_MAX = 100 * 366 * 86_400
"""The longest interval, jitter and catch-up: a hundred years."""


def calendar_of(
    cron: str | None,
    every: float | timedelta | None,
    timezone: str | None,
    start: datetime | None,
    end: datetime | None,
    old: Calendar | None,
) -> Calendar:
    """The calendar of these options, None meaning that of `old`; `cron` takes the place of `every` and vice versa."""
    old = old or Calendar()
    if cron is None and every is None:
        cron, period = old.cron, old.every
    else:
        period = _duration("every", every, least=1.0) if every is not None else None
    zone = timezone if timezone is not None else "UTC" if cron is None else old.timezone
    calendar = Calendar(
        cron=checked_text("cron", cron) if cron is not None else None,
        every=period,
        timezone=checked_text("timezone", zone),
        start=micros("start", start) if start is not None else old.start,
        end=micros("end", end) if end is not None else old.end,
    )
    check(calendar)
    return calendar


def with_bounds(
    spec: Spec, overlap: Overlap | None, jitter: float | timedelta | None, catch_up: float | timedelta | None
) -> Spec:
    """The specification with these options, None meaning those that it has."""
    changes: dict[str, Any] = {}
    if overlap is not None:
        changes["overlap"] = checked_overlap(overlap)
    if jitter is not None:
        changes["jitter"] = _duration("jitter", jitter)
    if catch_up is not None:
        changes["catch_up"] = _duration("catch_up", catch_up)
    return msgspec.structs.replace(spec, **changes)


def require_ahead(spec: Spec, now: int) -> None:
    """Raise InvalidArgument for a schedule that would never do anything."""
    if core.first(spec, now).next is None:
        raise InvalidArgument("the schedule has no tick ahead: its end has passed; give a later end")


def checked_schedule_id(id: str) -> str:
    """An instance id that leaves room for what the ids of runs add."""
    size = len(checked_id(id).encode())
    if size > ID_BYTES_MAX:
        raise InvalidArgument(f"a schedule's id has at most {ID_BYTES_MAX} bytes; {id[:40]!r}... has {size:,}")
    return id


def checked_overlap(overlap: Overlap) -> Overlap:
    """One of the four words."""
    if overlap not in get_args(Overlap):
        raise InvalidArgument(f"overlap is {overlap!r}; it is one of {', '.join(get_args(Overlap))}")
    return overlap


def _duration(what: str, value: float | timedelta, least: float = 0.0) -> int:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not least <= seconds <= SECONDS_MAX:
        raise InvalidArgument(f"{what} is {value!r}; give seconds from {least:g} to {SECONDS_MAX:,}, or a timedelta")
    return round(seconds * SECOND)


def micros(what: str, at: datetime) -> int:
    """A point in time, in microseconds since 1970 UTC; a naive one means UTC."""
    return min(to_microseconds(checked_moment(what, at)), LATEST)
