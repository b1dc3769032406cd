"""Who in this process waits to hear that something was written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator


class Watchers:
    """One event for each, because the first to hear would else keep it from others."""

    def __init__(self) -> None:
        self._events: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    def tell(self) -> None:
        for event in self._events:
            event.set()

    async def watch(self) -> AsyncIterator[None]:
        event = asyncio.Event()
        self._events[event] = asyncio.get_running_loop()
        try:
            while True:
                await event.wait()
                event.clear()
                yield
        finally:
            self._events.pop(event, None)

    def begin(self) -> None:
        """Forget who watched on another loop than this one, because they have died with it."""
        here = asyncio.get_running_loop()
        self._events = {event: loop for event, loop in self._events.items() if loop is here}
