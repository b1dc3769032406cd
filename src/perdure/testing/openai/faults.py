"""Knows what can go wrong between an application and its model, and which request it happens to."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """What happens to one request instead of, or before, its answer.

    `status`: this HTTP status instead of an answer, with `retry_after` seconds as its header where given.
    `latency`: seconds until anything is answered. `drop`: the connection ends without an answer.
    `drop_after`: the connection ends after so many events of a stream.
    """

    status: int | None = None
    retry_after: float | None = None
    latency: float = 0.0
    drop: bool = False
    drop_after: int | None = None


class Faults:
    """What is still to happen, each to one request, in the order in which it was asked for."""

    def __init__(self) -> None:
        self._waiting: deque[Fault] = deque()
        self._lock = threading.Lock()  # because each connection has a thread
        self.met = 0
        """Requests that have asked what happens to them."""

    def add(self, fault: Fault, times: int) -> None:
        with self._lock:
            self._waiting.extend([fault] * times)

    def next(self) -> Fault:
        with self._lock:
            self.met += 1
            return self._waiting.popleft() if self._waiting else Fault()
