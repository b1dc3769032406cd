"""The lifecycle feed as a client follows it: pages of the newest events, and a pause while there are none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from perdure.history.lifecycle import ANCIENT, LifecycleEvent, Wanted, read

if TYPE_CHECKING:
    from perdure.sdk.client import Client

FEED_PAGE = 200
"""Events that one read of `Client.lifecycle` takes."""
FEED_SECONDS = 0.02
FEED_SECONDS_MAX = 0.5
"""How soon `Client.lifecycle` looks again, and how far that pause grows while there is nothing."""


class Announced(msgspec.Struct, frozen=True):
    """An event of the lifecycle feed, and the cursor with which `Client.lifecycle` goes on behind it."""

    cursor: str
    event: LifecycleEvent


async def announced(
    client: Client,
    after: str | None,
    type: str | Sequence[str] | None,
    name: str | None,
    instance: str | None,
    follow: bool,
) -> AsyncIterator[Announced]:
    """As of `Client.lifecycle`."""
    wanted = Wanted.of(type, name, instance)
    cursor = ANCIENT if after == "" or (after is None and not follow) else after
    pause = FEED_SECONDS
    while True:
        page = await client.gateway.notices(cursor, FEED_PAGE)
        cursor = page.cursor
        for behind, stored in page.events:
            event = read(stored)
            if wanted.fits(event):
                yield Announced(behind, event)
        if page.events:
            pause = FEED_SECONDS
        elif follow:
            await asyncio.sleep(pause)
            pause = min(2 * pause, FEED_SECONDS_MAX)
        else:
            return
