"""What stands in the queues of an app, as the rows of those that wait and run tell it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from perdure.clock import SECOND, to_datetime
from perdure.history.options import Limits, Place, place_of
from perdure.stores.contract import ADMITTED, OpenCall


class QueueState(msgspec.Struct, frozen=True, kw_only=True):
    """A queue in which something waits or runs.

    The limits are those that were written last; `per` in seconds; `oldest`: since when the longest waiting one waits.
    """

    name: str
    waiting: int
    running: int
    concurrency: int | None = None
    per_key: int | None = None
    rate: int | None = None
    per: float | None = None
    oldest: datetime | None = None

    @property
    def limits(self) -> str:
        """The limits in words."""
        per = 0 if self.per is None else round(self.per * SECOND)
        return limits_told(Limits(self.concurrency, self.per_key, self.rate, per))


def queue_states(calls: Iterable[OpenCall]) -> list[QueueState]:
    """One for each queue, by name. Waits whose options cannot be read are left out."""
    by_name: dict[str, list[tuple[OpenCall, Place]]] = {}
    for call in calls:
        place = place_told(call)
        if place is not None:
            by_name.setdefault(place.queue, []).append((call, place))
    return [_state(name, by_name[name]) for name in sorted(by_name)]


def place_told(call: OpenCall) -> Place | None:
    """The place of a call; None if it cannot be read."""
    try:
        return place_of(call.wait.options)
    except ValueError:
        return None


def limits_told(limits: Limits) -> str:
    """The limits in words."""
    told = []
    if limits.concurrency is not None:
        told.append(f"{limits.concurrency} at once")
    if limits.per_key is not None:
        told.append(f"{limits.per_key} for each key")
    if limits.rate is not None:
        told.append(f"{limits.rate} starts in {limits.per / SECOND:g} s")
    return ", ".join(told)


def _state(name: str, members: list[tuple[OpenCall, Place]]) -> QueueState:
    waiting = [call.wait.since for call, _ in members if call.wait.state != ADMITTED]
    limits = max(members, key=lambda member: member[0].wait.since)[1].limits
    return QueueState(
        name=name,
        waiting=len(waiting),
        running=len(members) - len(waiting),
        concurrency=limits.concurrency,
        per_key=limits.per_key,
        rate=limits.rate,
        per=None if limits.rate is None else limits.per / SECOND,
        oldest=to_datetime(min(waiting)) if waiting else None,
    )
