"""The task that removes what has expired from a state store, a bounded batch at a time."""

from __future__ import annotations

import asyncio
import logging

from perdure.cancellation import cancel_and_wait
from perdure.errors import PerdureError
from perdure.stores.values.contract import SWEEP_ROWS, StateStore

PAUSE_SECONDS = 0.2
"""Between two sweeps while there is more to remove, so that others can write."""

log = logging.getLogger("perdure")


class Sweeper:
    """Sweeps from `start` to `stop`. What it misses is removed by another process, or the next time."""

    def __init__(self, store: StateStore, seconds: float) -> None:
        self._store = store
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="perdure-sweep")

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await cancel_and_wait(task)

    async def _run(self) -> None:
        pause = self._seconds
        while True:
            await asyncio.sleep(pause)
            pause = PAUSE_SECONDS if await self._round() == SWEEP_ROWS else self._seconds

    async def _round(self) -> int:
        try:
            return await self._store.sweep()
        except PerdureError as error:
            log.warning("expired values of %r stay for now: %s", self._store, error)
            return 0
