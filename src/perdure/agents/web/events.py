"""Server-sent events: how they are written, and a sign of life between them, because proxies close what is idle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

SIGN_SECONDS = 15.0
"""How long nothing is sent before a comment is."""
SIGN = b": waiting\n\n"


def event(data: str, *, id: str = "", name: str = "") -> bytes:
    """One event. `data` has no line breaks, as JSON has none."""
    head = (f"id: {id}\n" if id else "") + (f"event: {name}\n" if name else "")
    return f"{head}data: {data}\n\n".encode()


async def with_signs(events: AsyncGenerator[bytes, None], seconds: float = SIGN_SECONDS) -> AsyncIterator[bytes]:
    """The events, and comments between them whenever none has come for so long. Closes them when nobody reads on."""
    coming = asyncio.ensure_future(_next(events))
    try:
        while True:
            await asyncio.wait({coming}, timeout=seconds)
            if not coming.done():
                yield SIGN
                continue
            found = coming.result()
            if found is None:
                return
            yield found
            coming = asyncio.ensure_future(_next(events))
    finally:
        coming.cancel()
        await asyncio.wait({coming})
        await events.aclose()


async def _next(events: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(events, None)
