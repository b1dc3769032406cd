"""What the measured workflows carry and do: the same arguments and activity bodies for every engine."""

import asyncio
import time
from typing import Any

ORDER = {"order": 1, "amount": 12.5, "sku": "abc"}


def receipt(argument: Any) -> dict[str, Any]:
    """The result of the ordinary activity: a small JSON object, so that encoding is part of the cost."""
    return {"ok": True, "x": argument}


class Marks:
    """The process's CPU clock, in seconds, at each call of one long workflow."""

    def __init__(self) -> None:
        self._cpu: list[float] = []

    def clear(self) -> None:
        self._cpu.clear()

    def mark(self) -> None:
        self._cpu.append(time.process_time())

    def per_step(self, first: int, last: int) -> float:
        """Mean CPU seconds of a step, over the steps `first` to `last`."""
        return (self._cpu[last] - self._cpu[first]) / (last - first)


class Gate:
    """Which workflows have entered their activity, and whether they may leave it."""

    def __init__(self) -> None:
        self.entered: set[int] = set()
        self.repeated = 0
        self.expected = 0
        self.last_entered_at = 0.0
        self._everyone = asyncio.Event()
        self._opened = asyncio.Event()

    def open(self) -> None:
        self._opened.set()

    async def enter(self, number: int) -> None:
        """Count `number` in, then stay until the gate is open."""
        self.entered.add(number)
        self.last_entered_at = time.monotonic()
        if len(self.entered) == self.expected:
            self._everyone.set()
        await self._opened.wait()

    async def everyone(self, expected: int, timeout: float) -> None:
        """Wait until `expected` different workflows have entered; TimeoutError says how many did."""
        self.expected = expected
        if len(self.entered) >= expected:
            return
        try:
            await asyncio.wait_for(self._everyone.wait(), timeout)
        except TimeoutError:
            raise TimeoutError(f"{len(self.entered)} of {expected} entered within {timeout:.0f} s") from None


class Lateness:
    """By how many seconds each timer was late when the activity after it began."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def woke(self, due: float) -> None:
        self.seconds.append(time.time() - due)


MARKS = Marks()
GATE = Gate()
LATENESS = Lateness()
