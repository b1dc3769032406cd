"""When a schedule ticks: a cron expression in a time zone, or an interval, as points in time. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from itertools import islice
from typing import Any

import msgspec

from perdure.clock import LATEST, SECOND, to_datetime, to_microseconds
from perdure.errors import InvalidArgument

EVERY_MIN = SECOND
"""The shortest interval, in microseconds."""
CRON_FIELDS = 5
CRON_CHARACTERS_MAX = 256
NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""What the short names of a crontab stand for."""


class Calendar(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Either `cron`, read on the clocks of `timezone`, or `every`; ticks lie in `start` <= tick < `end`.

    Times in microseconds: `every` as a duration, the others since 1970 UTC. An interval counts from `start`, or from
    1970 UTC, so that a restart does not shift it.
    """

    cron: str | None = None
    every: int | None = None
    timezone: str = "UTC"
    start: int | None = None
    end: int | None = None


def check(calendar: Calendar) -> None:
    """Raise InvalidArgument if the calendar cannot be read, or would never tick."""
    if (calendar.cron is None) == (calendar.every is None):
        raise InvalidArgument('a schedule has either cron="0 3 * * *" or every=<seconds>; give one of them')
    if calendar.every is not None and calendar.every < EVERY_MIN:
        raise InvalidArgument(f"every is {calendar.every / SECOND:g} s; give 1 second or more")
    if calendar.every is not None and calendar.timezone != "UTC":
        raise InvalidArgument(
            f"every counts elapsed time and knows no time zone; leave timezone={calendar.timezone!r} away, or use cron"
        )
    if calendar.start is not None and calendar.end is not None and calendar.end <= calendar.start:
        raise InvalidArgument("the end of a schedule lies before its start; give an end after it")
    if next(ticks(calendar, (calendar.start or 0) - 1), None) is None:
        raise InvalidArgument(f"{_told(calendar)} never ticks; give a time that comes, and an end after it")


def ticks(calendar: Calendar, after: int) -> Iterator[int]:
    """The ticks later than `after`, in order.

    On the spring change, times of day that do not exist tick once, at the end of the gap; on the autumn change, those
    that come twice tick at the first. An expression with a star for minute or hour follows elapsed time instead, so
    that `*/30 * * * *` ticks every half hour on both days. The rules are those of Debian's cron, as cronsim has them.
    """
    if calendar.start is not None:
        after = max(after, calendar.start - 1)
    every, end = calendar.every, LATEST if calendar.end is None else calendar.end
    found = _cron(calendar, after) if every is None else _interval(every, calendar.start or 0, after)
    for tick in found:
        if tick >= end:
            return
        yield tick


def count(calendar: Calendar, start: int, end: int, most: int) -> int:
    """How many ticks lie in `start` <= tick < `end`, counted no further than `most`."""
    bounded = msgspec.structs.replace(calendar, end=min(end, LATEST if calendar.end is None else calendar.end))
    return sum(1 for _ in islice(ticks(bounded, start - 1), most))


def _interval(every: int, anchor: int, after: int) -> Iterator[int]:
    tick = anchor + ((after - anchor) // every + 1) * every
    while True:
        yield tick
        tick += every


def _cron(calendar: Calendar, after: int) -> Iterator[int]:
    assert calendar.cron is not None
    last = after
    try:
        for found in _simulated(calendar.cron, to_datetime(after).astimezone(zone(calendar.timezone))):
            tick = to_microseconds(found)
            if tick > last:  # because times of day around a change of the clocks may be given twice, or late
                last = tick
                yield tick
    except OverflowError:
        return  # because the year 9999 has an end


def _simulated(cron: str, after: datetime) -> Iterator[datetime]:
    parser, error = _cronsim()
    expression = NAMED.get(cron.strip().lower(), cron)
    if len(expression) > CRON_CHARACTERS_MAX or len(expression.split()) != CRON_FIELDS:
        raise InvalidArgument(
            f"cron {cron[:40]!r} has not five fields: minute, hour, day of month, month, day of week; "
            'write "30 2 * * *", or use every= for seconds'
        )
    try:
        return parser(expression, after)  # type: ignore[no-any-return]
    except error as wrong:
        raise InvalidArgument(f'cron {cron[:40]!r}: {wrong}; write five fields such as "30 2 * * mon-fri"') from wrong


def _cronsim() -> tuple[Any, type[Exception]]:
    try:
        from cronsim import CronSim, CronSimError
    except ImportError:
        raise InvalidArgument('cron needs a parser: pip install "perdure[schedule]", or use every=') from None
    return CronSim, CronSimError


def zone(name: str) -> tzinfo:
    """The time zone of that name. Raises InvalidArgument."""
    if name == "UTC":
        return UTC  # because it is there even where the system has no zones
    from zoneinfo import ZoneInfo  # because it is not needed before the first schedule

    try:
        return ZoneInfo(name)
    except (ValueError, KeyError, OSError):
        raise InvalidArgument(
            f'time zone {name[:40]!r} is not known here; write one like "Europe/Berlin", and '
            'pip install "perdure[schedule]" where the system has no zones'
        ) from None


def _told(calendar: Calendar) -> str:
    return f"cron {calendar.cron!r}" if calendar.cron is not None else f"every {(calendar.every or 0) / SECOND:g} s"
