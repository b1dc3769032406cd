"""Work that is done in the background until nothing is left, and again with a pause when the store does not answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from perdure.cancellation import cancel_and_wait
from perdure.errors import PerdureError

PAUSE_SECONDS_MAX = 1.0
"""Bound of the pause between two tries."""
CLOSE_SECONDS = 2.0
"""How long closing waits for what is under way; whoever comes next does the rest."""


class Carrier:
    """Calls `work` as long as `has_work`; what `work` could not do because the store failed it leaves to be done."""

    def __init__(self, has_work: Callable[[], bool], work: Callable[[], Awaitable[None]]) -> None:
        self._has_work = has_work
        self._work = work
        self._task: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def wake(self) -> None:
        """There may be work."""
        if not self._has_work():
            return
        self._idle.clear()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="perdure-outbox")

    async def emptied(self) -> None:
        """Return when nothing is left to do."""
        await self._idle.wait()

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._idle.wait()
        await cancel_and_wait(task)
        self._idle.set()

    async def _run(self) -> None:
        pause = 0.0
        while self._has_work():
            try:
                await self._work()
                pause = 0.0
            except PerdureError:
                # because what is not done is in the store, and may be done twice
                pause = min(2 * pause + 0.02, PAUSE_SECONDS_MAX)
                await asyncio.sleep(pause)
        self._idle.set()
