"""The due times that lie near: a heap over what the store keeps, read in windows, so that sleepers cost no memory."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from perdure.clock import SECOND
from perdure.scheduler.pace import PACE
from perdure.stores.contract import Due

Entry = tuple[int, int, str, int]
"""(due, shard, instance id, number of the wait)."""


class Window:
    """Pure: times come in as arguments, in microseconds since 1970 UTC.

    An entry may be there twice, or for a wait that has gone: whoever is woken knows better.
    """

    def __init__(self, seconds: float = PACE.window_seconds) -> None:
        self.length = round(seconds * SECOND)
        self.end = 0
        self._heap: list[Entry] = []

    def add(self, due: int, shard: int, id: str, number: int) -> bool:
        """Take in a due time that lies in the window; whether it is the earliest now."""
        if due >= self.end:
            return False
        earliest = self._heap[0][0] if self._heap else None
        heapq.heappush(self._heap, (due, shard, id, number))
        return earliest is None or due < earliest

    def wants_reading(self, now: int) -> bool:
        """Whether half of the window is used up, so that the store must be read for the next."""
        return now + self.length // 2 > self.end

    def extend(self, now: int) -> tuple[int, Entry]:
        """Move the end; the bound to read up to, and the key to read after."""
        start, self.end = self.end, now + self.length
        return self.end, (start - 1, 0, "", 0) if start else (-1, 0, "", 0)

    def take_in(self, page: Iterable[Due]) -> None:
        for due in page:
            heapq.heappush(self._heap, (due.due, due.shard, due.instance, due.number))

    def pop_due(self, now: int, limit: int) -> list[Entry]:
        """What is due by `now`, earliest first, `limit` at most."""
        heap = self._heap
        found: list[Entry] = []
        while heap and heap[0][0] <= now and len(found) < limit:
            found.append(heapq.heappop(heap))
        return found

    def pause(self, now: int) -> float:
        """Seconds until something is due or the store must be read again."""
        rest = self.end - self.length // 2 - now
        if self._heap:
            rest = min(rest, self._heap[0][0] - now)
        return max(rest / SECOND, 0.001)

    def __len__(self) -> int:
        return len(self._heap)
