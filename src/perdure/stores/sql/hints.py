"""Hints that leave a store: which shards of other nodes have something new, gathered while one is on its way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from perdure.errors import PerdureError

log = logging.getLogger("perdure")


class Hints:
    """Sends the shards that were told, none for everybody; those told meanwhile go with the next. A hint that fails is
    lost, which harms nothing."""

    def __init__(self, send: Callable[[frozenset[int]], Awaitable[None]]) -> None:
        self._send = send
        self._told: set[int] = set()
        self._is_for_all = False
        self._sending: asyncio.Task[None] | None = None

    def tell(self, shards: Iterable[int]) -> None:
        self._told.update(shards)
        self._send_soon()

    def tell_all(self) -> None:
        """Something is there for whoever comes first."""
        self._is_for_all = True
        self._send_soon()

    def _send_soon(self) -> None:
        if (self._told or self._is_for_all) and (self._sending is None or self._sending.done()):
            self._sending = asyncio.get_running_loop().create_task(self._send_all(), name="perdure-store-hints")

    async def stop(self) -> None:
        """Return when none is on its way."""
        if self._sending is not None and self._sending.get_loop() is asyncio.get_running_loop():
            await asyncio.gather(self._sending, return_exceptions=True)

    async def _send_all(self) -> None:
        while self._told or self._is_for_all:
            told = frozenset() if self._is_for_all else frozenset(self._told)
            self._told, self._is_for_all = set(), False
            try:
                await self._send(told)
            except PerdureError as error:
                log.debug("a hint is lost: %s", error)
