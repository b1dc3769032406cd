"""Queues as their authors write them: how much may run at once, in all and for each key, and how many may start."""

from __future__ import annotations

from datetime import timedelta

from perdure.clock import SECOND
from perdure.errors import InvalidArgument
from perdure.history.options import Limits, Place
from perdure.sdk.options import checked_count, checked_name, checked_seconds, checked_text

RATE_MAX = 10_000
"""Starts that a rate may allow within its window, because each of them is remembered for so long."""
KEY_CHARACTERS_MAX = 256
PRIORITY_MAX = 1_000_000


class Rate:
    """At most `limit` starts within any `per` seconds."""

    def __init__(self, limit: int, per: float | timedelta = 1.0) -> None:
        self.limit = checked_count("the limit of a rate", limit, 1)
        if limit > RATE_MAX:
            raise InvalidArgument(f"a rate of {limit:,} is beyond {RATE_MAX:,}; give a smaller one for a shorter time")
        self.per = checked_seconds("per", per)

    def __repr__(self) -> str:
        return f"Rate({self.limit}, per={self.per:g})"


class Queue:
    """What may run of the calls and workflows that are put into it, over the whole app.

    `concurrency`: so many at once; `per_key`: so many at once of one key; `rate`: so many starts in a time, for which
    each attempt counts. None: no such limit. Two queues of one name are one queue, and have the same limits.
    """

    def __init__(
        self, name: str, *, concurrency: int | None = None, per_key: int | None = None, rate: Rate | None = None
    ) -> None:
        self.name = checked_name(name, "a queue's name")
        if rate is not None and not isinstance(rate, Rate):
            raise InvalidArgument(f"rate is {rate!r}; write rate=Rate(100, per=60.0)")
        if concurrency is None and per_key is None and rate is None:
            raise InvalidArgument(f"queue {name!r} limits nothing; give it concurrency, per_key or rate")
        self.limits = Limits(
            concurrency=None if concurrency is None else checked_count("concurrency", concurrency, 1),
            per_key=None if per_key is None else checked_count("per_key", per_key, 1),
            rate=None if rate is None else rate.limit,
            per=0 if rate is None else round(rate.per * SECOND),
        )

    def __repr__(self) -> str:
        limits = ", ".join(f"{name}={value!r}" for name, value in self._told().items())
        return f"Queue({self.name!r}, {limits})"

    def _told(self) -> dict[str, object]:
        limits = self.limits
        rate = None if limits.rate is None else Rate(limits.rate, limits.per / SECOND)
        told = {"concurrency": limits.concurrency, "per_key": limits.per_key, "rate": rate}
        return {name: value for name, value in told.items() if value is not None}


def place(queue: Queue | None, key: str | None, priority: int | None, base: Place | None) -> Place | None:
    """The place that options name; what they leave open is as in `base`."""
    if queue is None and base is None:
        if key is not None or priority is not None:
            raise InvalidArgument("key and priority say nothing without a queue; give queue=Queue(...) too")
        return None
    if queue is not None and not isinstance(queue, Queue):
        raise InvalidArgument(f"queue is a {type(queue).__name__}; write queue=Queue({queue!r}, concurrency=...)")
    if key is not None and len(checked_text("key", key)) > KEY_CHARACTERS_MAX:
        raise InvalidArgument(f"key {key[:40]!r}... has more than {KEY_CHARACTERS_MAX} characters; shorten it")
    if priority is not None:
        _check_priority(priority)
    known = base or Place("", Limits())
    return Place(
        queue=queue.name if queue is not None else known.queue,
        limits=queue.limits if queue is not None else known.limits,
        key=known.key if key is None else key,
        priority=known.priority if priority is None else priority,
    )


def _check_priority(priority: int) -> None:
    is_whole = isinstance(priority, int) and not isinstance(priority, bool)
    if not is_whole or abs(priority) > PRIORITY_MAX:
        raise InvalidArgument(f"priority is {priority!r}; give a whole number, a higher one to go first")
