"""A batch: one operation on each of the instances that filters find, many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from perdure.errors import InstanceNotFound

if TYPE_CHECKING:
    from perdure.sdk.client import Client
    from perdure.sdk.handle import Handle
    from perdure.stores.contract import Status

BATCH_CONCURRENCY = 32
"""How many instances a batch operation works on at once."""


async def on_each(
    client: Client,
    work: Callable[[Handle[Any]], Awaitable[int | None]],
    statuses: tuple[Status, ...],
    filters: dict[str, Any],
) -> int:
    """How many instances there were, counted as the work says where it counts. `statuses`: unless the filters say."""
    if filters.get("status") is None:
        filters["status"] = statuses
    ids = [state.id async for state in client.list(**filters)]
    gate = asyncio.Semaphore(BATCH_CONCURRENCY)

    async def one(id: str) -> int:
        async with gate:
            try:
                count = await work(client.get(id))
            except InstanceNotFound:
                return 0  # because a parent's recursive purge may have taken it along
            return count if count is not None else 1

    return sum(await asyncio.gather(*map(one, ids)))
