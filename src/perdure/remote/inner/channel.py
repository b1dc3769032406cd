"""Calls of a worker to the server that it is part of: no network between them, and no token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from perdure.errors import StoreOwned
from perdure.remote.native.channel import Channel
from perdure.remote.rpc.caller import Caller
from perdure.remote.rpc.table import Table

STANDBY_SECONDS = 0.5
"""How often it is looked whether the server has the work by now."""


class InnerChannel(Channel):
    """Asks the handlers of a table, as one caller. What they raise is raised as it is."""

    def __init__(self, table: Table, caller: Caller) -> None:
        self._table = table
        self._caller = caller

    async def send(self, path: str, data: bytes, timeout: float | None = None) -> bytes:
        async with asyncio.timeout(timeout):
            return await self._table.unary[path](data, self._caller)

    async def stream(self, path: str, data: bytes) -> AsyncIterator[bytes]:
        """Waits while the server stands by: it is no fault of either."""
        while True:
            try:
                async for item in self._items(path, data):
                    yield item
            except StoreOwned:
                await asyncio.sleep(STANDBY_SECONDS)
            else:
                return

    async def _items(self, path: str, data: bytes) -> AsyncIterator[bytes]:
        opened: Any = self._table.streaming[path](data, self._caller)
        items: AsyncGenerator[bytes] = opened
        async with aclosing(items):  # because the server notices that way that its worker is gone
            async for item in items:
                yield item

    async def close(self) -> None:
        """There is no connection."""

    def __repr__(self) -> str:
        return f"<InnerChannel of {self._caller.app}>"
