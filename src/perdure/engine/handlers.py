"""The tasks of a shard's topics: handlers that work on messages, and reads of pages."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Handlers:
    """Owns them, and puts them away with the shard."""

    __slots__ = ("_is_halted", "_tasks")

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_halted = False

    @property
    def is_halted(self) -> bool:
        """Whether nothing more is to be begun, because the shard leaves."""
        return self._is_halted

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it in a task."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def halt(self) -> None:
        """Begin nothing more."""
        self._is_halted = True

    async def drain(self, seconds: float) -> None:
        """Begin nothing more, give what runs some time, and cancel the rest."""
        self.halt()
        if self._tasks and seconds > 0:
            await asyncio.wait(set(self._tasks), timeout=seconds)
        await asyncio.sleep(0)  # because a task that is cancelled before its first step runs no `finally`
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def __repr__(self) -> str:
        return f"<Handlers: {len(self._tasks)} tasks>"
