"""Signs of life of attempts on their way to the server: one call at a time, with the newest of each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from perdure.codec import Payload

PAUSE_SECONDS = 0.05
"""Between two calls with heartbeats, however often activities give them."""
RUNNING_SECONDS = 60.0
"""How often the server hears of attempts that run on without a heartbeat, so that their lease does not end."""

Send = Callable[[dict[str, Payload | None], list[str]], Awaitable[None]]


class Beats:
    """Collects heartbeats, from any thread, and hands them to `send` with the attempts that only run."""

    def __init__(self, send: Send, running: Callable[[], list[str]]) -> None:
        self._send = send
        self._running = running
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, Payload | None] = {}
        self._wake = asyncio.Event()
        self._task = self._loop.create_task(self._go(), name="perdure-beats")

    def beat(self, token: str, details: Payload | None) -> None:
        """A heartbeat; without details it leaves those of the one before."""
        self._loop.call_soon_threadsafe(self._beat, token, details)

    def forget(self, token: str) -> None:
        """The attempt is over."""
        self._waiting.pop(token, None)

    def close(self) -> None:
        self._task.cancel()

    def _beat(self, token: str, details: Payload | None) -> None:
        self._waiting[token] = details if details is not None else self._waiting.get(token)
        self._wake.set()

    async def _go(self) -> None:
        while True:
            try:
                async with asyncio.timeout(RUNNING_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass  # because those that only run are to be told of as well
            self._wake.clear()
            beats, self._waiting = self._waiting, {}
            running = [] if beats else self._running()
            if beats or running:
                await self._send(beats, running)
            await asyncio.sleep(PAUSE_SECONDS)
