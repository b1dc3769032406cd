"""The lifecycle feed over HTTP, as server-sent events: an answer that goes on until one of both sides ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import StreamingResponse

from perdure.errors import InvalidArgument
from perdure.history.lifecycle import ANCIENT, NoticePage, Wanted, read
from perdure.remote.http.hub import Hub
from perdure.sdk.gateway import Gateway
from perdure.sdk.lifecycle import FEED_PAGE, FEED_SECONDS, FEED_SECONDS_MAX

PATH = "/perdure/v1/events"
SILENCE_SECONDS = 15.0
"""After so long without an event a comment is sent, so that nobody between takes the connection for dead."""
STREAMS_MAX = 200
"""Streams of one listener at once; each looks at the store by itself."""


class Feeds:
    """Answers requests for the feed of one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._streams = 0

    async def answer(self, request: Request, app: str) -> StreamingResponse:
        """Events behind the header `last-event-id`, or the parameter `after`; those to come without either.

        `type` (several, with commas), `name` and `instance` choose. Raises InvalidArgument.
        """
        if self._streams >= STREAMS_MAX:
            raise InvalidArgument(f"{STREAMS_MAX} streams are open already; close one, or use a webhook")
        query = request.query_params
        kinds = [kind for kind in query.get("type", "").split(",") if kind] or None
        wanted = Wanted.of(kinds, query.get("name"), query.get("instance"))
        after = request.headers.get("last-event-id") or query.get("after")
        gateway = await self._hub.gateway(app)
        # before the answer begins, because a mistake is still told by a status then
        page = await gateway.notices(ANCIENT if after == "" else after, FEED_PAGE)
        return StreamingResponse(
            self._stream(gateway, wanted, page),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def _stream(self, gateway: Gateway, wanted: Wanted, page: NoticePage) -> AsyncIterator[bytes]:
        self._streams += 1
        pause, silent = FEED_SECONDS, 0.0
        try:
            yield f"id: {page.cursor}\n: the feed goes on from here\n\n".encode() if not page.events else b": \n\n"
            while self._hub.is_ready():
                lines = [_lines(cursor, stored) for cursor, stored in page.events if wanted.fits(read(stored))]
                if lines:
                    yield b"".join(lines)
                    silent = 0.0
                if not page.events:
                    await asyncio.sleep(pause)
                    silent += pause
                if silent >= SILENCE_SECONDS:
                    # with an id, so that who was told nothing of what he chose goes on from here as well
                    yield f"id: {page.cursor}\n: \n\n".encode()
                    silent = 0.0
                pause = FEED_SECONDS if page.events else min(2 * pause, FEED_SECONDS_MAX)
                page = await gateway.notices(page.cursor, FEED_PAGE)
        finally:
            self._streams -= 1


def _lines(cursor: str, stored: str) -> bytes:
    """One event; its JSON has no line breaks."""
    return f"id: {cursor}\nevent: {read(stored).type}\ndata: {stored}\n\n".encode()
