"""What the store tells of each app, as it was a moment ago: anybody may ask, and it is asked for all together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from perdure.cancellation import cancel_and_wait
from perdure.errors import StoreError

LOOK_SECONDS = 2.0
"""How old an answer may be. Whoever reaches the port may ask, without a token, and each look counts rows."""


T = TypeVar("T")


class Loads(Generic[T]):
    """`look` reads the load of an app, or what else the store knows of it; `now` gives seconds."""

    def __init__(self, look: Callable[[str], Awaitable[T]], now: Callable[[], float]) -> None:
        self._look = look
        self._now = now
        self._known: dict[str, tuple[float, T]] = {}
        self._looking: dict[str, asyncio.Task[T]] = {}

    async def of(self, app: str) -> T:
        """Raises StoreError."""
        known = self._known.get(app)
        if known is not None and self._now() < known[0] + LOOK_SECONDS:
            return known[1]
        looking = self._looking.get(app)
        if looking is None:
            looking = self._looking[app] = asyncio.get_running_loop().create_task(self._look_at(app))
            looking.add_done_callback(lambda task: self._looked(app, task))
        return await asyncio.shield(looking)

    async def known(self, app: str) -> T | None:
        """The same; None if the store does not answer."""
        try:
            return await self.of(app)
        except StoreError:
            return None

    async def stop(self) -> None:
        """Look no more."""
        await cancel_and_wait(*self._looking.values())

    async def _look_at(self, app: str) -> T:
        found = await self._look(app)
        self._known[app] = (self._now(), found)
        return found

    def _looked(self, app: str, task: asyncio.Task[T]) -> None:
        del self._looking[app]
        if not task.cancelled():
            task.exception()  # because whoever asked may be gone

    def __repr__(self) -> str:
        return f"<Loads of {', '.join(self._known) or 'no app'}>"
