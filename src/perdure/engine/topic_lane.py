"""Lets the suspects among the messages of one node run one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from weakref import WeakKeyDictionary

LANE_SECONDS = 60.0
"""How long suspects together keep other messages of the node waiting; from then on those run beside them."""
SUSPECT_SECONDS = 5.0
"""How long one suspect does."""


_here: WeakKeyDictionary[asyncio.AbstractEventLoop, Lane] = WeakKeyDictionary()


def lane_here() -> Lane:
    """The one of this process, as far as it has one event loop: for all who hand messages out to its own code."""
    return _here.setdefault(asyncio.get_running_loop(), Lane())


class Lane:
    """Who is told that there is no room is called when there may be: `again`."""

    __slots__ = ("_is_taken", "_left", "_seconds", "_until", "_waiting", "_waking")

    def __init__(self, seconds: float = SUSPECT_SECONDS, total_seconds: float = LANE_SECONDS) -> None:
        self._is_taken = False
        self._seconds = seconds
        self._left = total_seconds
        self._until = 0.0
        self._waiting: dict[int, Callable[[], None]] = {}
        self._waking: asyncio.TimerHandle | None = None

    def enter(self, is_suspect: bool, again: Callable[[], None]) -> bool:
        """Whether a message may be handed out now. A suspect has the lane to itself until it leaves."""
        if self._is_taken and (is_suspect or self._keeps_others_waiting()):
            self._waiting[id(getattr(again, "__self__", again))] = again
            return False
        if is_suspect:
            self._take()
        return True

    def leave(self) -> None:
        """The suspect is no more in hand."""
        self._is_taken = False
        self._left -= max(0.0, min(self._seconds, self._left) - max(0.0, self._until - self._now()))
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None
        self._wake()

    def _take(self) -> None:
        share = max(0.0, min(self._seconds, self._left))
        self._is_taken = True
        self._until = self._now() + share
        self._waking = asyncio.get_running_loop().call_later(share, self._wake)

    def _keeps_others_waiting(self) -> bool:
        return self._now() < self._until

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for again in waiting.values():
            again()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def __repr__(self) -> str:
        return f"<Lane: {'taken' if self._is_taken else 'free'}, {len(self._waiting)} wait>"
