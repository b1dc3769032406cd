"""Timers of actors: they come while the program has the actor in memory, and are nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from perdure.clock import SECOND
from perdure.errors import InvalidArgument
from perdure.remote.actors.memory import Asked
from perdure.remote.actors.operations import Timed
from perdure.remote.actors.times import due_of, ends_of, period_of

TIMERS_MAX = 100_000
"""Timers of the actors of one app."""
PERIOD_SECONDS_MIN = 0.001
_LONGEST_SECONDS = 86_400.0
"""How long the event loop is asked to wait at once."""


class _Timer(msgspec.Struct):
    asked: Asked
    number: int
    due: int
    every: int | None
    left: int | None
    ends: int | None
    handle: asyncio.TimerHandle | None = None
    is_out: bool = False
    """It has come, and the actor has not heard of it yet: what comes meanwhile is the same for it."""


class Timers:
    """`came` is told what is to be done with which entity."""

    def __init__(self, came: Callable[[str, Timed], None]) -> None:
        self._came = came
        self._timers: dict[str, dict[str, _Timer]] = {}
        self._count = 0
        self._number = 0

    def set(self, entity: str, asked: Asked, now: int) -> None:
        """In the place of one of the same name. Raises InvalidArgument."""
        due, period = due_of(asked.due_time, now), period_of(asked.period)
        ends = ends_of(asked.ttl, due)
        self.unset(entity, asked.name)
        if self._count >= TIMERS_MAX:
            raise InvalidArgument(f"there are {TIMERS_MAX:,} timers of actors already; unregister some")
        self._number += 1
        self._count += 1
        timer = _Timer(asked, self._number, due, period.every, period.repeats, ends)
        self._timers.setdefault(entity, {})[asked.name] = timer
        self._wait(entity, timer, now)

    def unset(self, entity: str, name: str) -> None:
        timers = self._timers.get(entity, {})
        timer = timers.pop(name, None)
        if timer is not None:
            self._count -= 1
            if timer.handle is not None:
                timer.handle.cancel()
        if not timers:
            self._timers.pop(entity, None)

    def end(self, entity: str) -> None:
        """All of an entity's."""
        for name in list(self._timers.get(entity, ())):
            self.unset(entity, name)

    def clear(self) -> None:
        for entity in list(self._timers):
            self.end(entity)

    def is_current(self, entity: str, name: str, number: int) -> bool:
        """Whether this one still comes; one that has come for the last time does not."""
        timer = self._timers.get(entity, {}).get(name)
        if timer is None or timer.number != number:
            return False
        timer.is_out = False
        if timer.handle is None:
            self.unset(entity, name)
        return True

    def _wait(self, entity: str, timer: _Timer, now: int) -> None:
        seconds = min(max(timer.due - now, 0) / SECOND, _LONGEST_SECONDS)
        timer.handle = asyncio.get_running_loop().call_later(seconds, self._due, entity, timer, now)

    def _due(self, entity: str, timer: _Timer, began: int) -> None:
        now = began + round(min(max(timer.due - began, 0) / SECOND, _LONGEST_SECONDS) * SECOND)
        if now < timer.due:
            self._wait(entity, timer, now)
            return
        timer.handle = None
        if timer.ends is not None and timer.ends < now:
            self.unset(entity, timer.asked.name)
            return
        timer.left = timer.left - 1 if timer.left is not None else None
        if timer.every is not None and timer.left != 0:
            timer.due = now + max(timer.every, round(PERIOD_SECONDS_MIN * SECOND))
            self._wait(entity, timer, now)
        if timer.is_out:
            return
        timer.is_out = True
        self._came(entity, Timed(timer.asked.name, timer.number, timer.asked))

    def __repr__(self) -> str:
        return f"<Timers: {self._count}>"
