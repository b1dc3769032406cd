"""The one loop for background work: rounds that say when to come again, with waking and cancellation done right."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from perdure.cancellation import cancel_and_wait
from perdure.errors import StoreError, StoreUnavailable

log = logging.getLogger("perdure")
RETRY_SECONDS = (0.1, 0.3, 1.0, 3.0, 5.0)
"""Waits after a round whose store did not answer; the last one repeats."""


class Rounds:
    """Calls `body` again and again: it returns the seconds until the next round, None for "when woken".

    `gap` is how many seconds at least lie between a round and the next one, so that many wakes make few rounds; it is
    not kept by a body that says 0.
    """

    def __init__(
        self, name: str, body: Callable[[], Awaitable[float | None]], gap: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.name = name
        self._body = body
        self._gap = gap
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"perdure-{self.name}")

    def wake(self) -> None:
        """Let the next round begin now; a wake during a round is not lost."""
        self._woken.set()

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await cancel_and_wait(task)

    async def _run(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            self._woken.clear()
            delay = await self._round()
            if self._task is None:
                # because the `wait_for` of Python 3.11, which drivers use, swallows a cancellation that comes with its
                # answer, and who stops waits for this
                return
            ended = now()
            if delay is None:
                await self._woken.wait()
            elif delay > 0:
                await self._pause(delay)
            else:
                await asyncio.sleep(0)
            rest = ended + self._gap() - now()
            if rest > 0 and delay != 0:
                await asyncio.sleep(rest)

    async def _round(self) -> float | None:
        try:
            delay = await self._body()
        except StoreUnavailable as error:
            pause = self._pause_after_failure()
            log.warning("%s: the store did not answer (%s); next try in %.1f s", self.name, error, pause)
            return pause
        except StoreError as error:
            pause = self._pause_after_failure()
            log.error("%s: %s; next try in %.1f s", self.name, error, pause)
            return pause
        except Exception:
            pause = self._pause_after_failure()
            log.exception("%s: a round failed; next try in %.1f s", self.name, pause)
            return pause
        self._failures = 0
        return delay

    def _pause_after_failure(self) -> float:
        self._failures += 1
        return RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS)) - 1]

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return

    def __repr__(self) -> str:
        return f"<Rounds {self.name}: {'running' if self._task else 'stopped'}, {self._failures} failures in a row>"
