"""What is counted over all instances, kept for a while, because a count of many costs more than a page may."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")
KEPT_SECONDS = 2.0
"""How long what was counted is shown at least."""
KEPT_TIMES = 20.0
"""It is shown for so many times what counting took, so that counting takes a twentieth of the time at most."""
KEPT_MAX = 1_000
"""Targets and apps of which something is kept; the oldest gives way."""


class Counted(Generic[T]):
    """Values by key, each counted by one at a time, however many ask."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._kept: dict[tuple[str, str], tuple[float, T]] = {}
        self._counting: dict[tuple[str, str], asyncio.Task[T]] = {}

    async def get(self, key: tuple[str, str], count: Callable[[], Awaitable[T]], patience: float) -> T | None:
        """What was counted lately, else what `count` gives; None if that takes longer than `patience` seconds.

        The counting goes on behind the answer, and whoever asks next may have it.
        """
        kept = self._kept.get(key)
        if kept is not None and self._now() < kept[0]:
            return kept[1]
        counting = self._counting.get(key)
        if counting is None:
            counting = asyncio.ensure_future(self._count(key, count))
            self._counting[key] = counting
            counting.add_done_callback(lambda done: self._counted(key, done))
        await asyncio.wait({counting}, timeout=patience)
        return counting.result() if counting.done() else None

    def _counted(self, key: tuple[str, str], done: asyncio.Task[T]) -> None:
        self._counting.pop(key, None)
        if not done.cancelled():
            done.exception()  # because nobody may be there any more to hear of it

    async def _count(self, key: tuple[str, str], count: Callable[[], Awaitable[T]]) -> T:
        begun = self._now()
        value = await count()
        took = self._now() - begun
        self._kept.pop(key, None)
        if len(self._kept) >= KEPT_MAX:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = (self._now() + max(KEPT_SECONDS, took * KEPT_TIMES), value)
        return value
