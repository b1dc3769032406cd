"""How a process that runs on is told to stop: by a signal, and at once by a second one."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopping:
    """`asked` is set by the first signal, whose name is in `by`. The second one ends the process, after `at_once`."""

    def __init__(self, signals: tuple[signal.Signals, ...] = SIGNALS) -> None:
        self.asked = asyncio.Event()
        self.by = ""
        self.at_once: Callable[[], None] | None = None
        self._signals = signals

    def watch(self) -> None:
        """From now on. In the main thread, with the event loop running."""
        for number in self._signals:
            asyncio.get_running_loop().add_signal_handler(number, self._first, number)

    def _first(self, number: signal.Signals) -> None:
        self.by = number.name
        self.asked.set()
        for each in self._signals:
            asyncio.get_running_loop().remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL if self.at_once is None else self._second)

    def _second(self, number: int, frame: FrameType | None) -> None:
        assert self.at_once is not None
        try:
            self.at_once()
        finally:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
