"""Reads a run while it goes on: its entries, and the pieces of answers as they come, from any offset on.

An offset is "E.I": E events of the history are told, and I items of the stream of the request that the last one began.
Histories and streams only grow, so an offset means the same to every reader, in every process, at any time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Any, Protocol

import msgspec

from perdure import Handle
from perdure.errors import InstanceNotFound, InvalidArgument, OutcomeError
from perdure.events import ActivityCancelled, ActivityCompleted, ActivityFailed
from perdure.transcript import AnyEntry, Delta, Restarted, Transcript, kind_of

PAGE = 200
"""Segments of the history that one look reads."""
ENDS = (ActivityCompleted, ActivityFailed, ActivityCancelled)
LOOK_SECONDS = 0.02
LOOK_SECONDS_MAX = 0.5
"""How soon the history is looked at again, and how far that pause grows while nothing happens."""
_OFFSET = re.compile(r"(\d{1,9})(?:\.(\d{1,9}))?")


class Told(msgspec.Struct, frozen=True):
    """An entry, and the offset with which a reader goes on behind it."""

    offset: str
    entry: AnyEntry


class Offset(msgspec.Struct, frozen=True, order=True):
    """How far a reader is: events of the history, and items of the stream that the last of them began."""

    events: int = 0
    items: int = 0

    def __str__(self) -> str:
        return f"{self.events}.{self.items}"


def offset_of(text: str) -> Offset:
    """An offset as it was given out; "" is the beginning. Raises InvalidArgument."""
    found = _OFFSET.fullmatch(text or "0")
    if found is None:
        raise InvalidArgument(f"{text[:100]!r} is no offset of a run; give one that a reader was given, or none")
    return Offset(int(found[1]), int(found[2] or 0))


class _Piece(msgspec.Struct):
    text: str = ""
    thinking: str = ""
    attempt: int = 0


class Reads(Protocol):
    """What is asked of a client: a `perdure.Client`, or the `client` of an app."""

    @property
    def gateway(self) -> Any: ...

    def get(self, id: str, /) -> Handle[Any]: ...


async def follow(client: Reads, id: str, after: str = "") -> AsyncGenerator[Told, None]:
    """The entries of a run behind an offset, live, until it has ended. Raises InstanceNotFound, InvalidArgument."""
    seen = offset_of(after)
    entries, run = Transcript(), _Run(client, id)
    try:
        async for at, event in run.events():
            for entry in entries.read(event):
                if at > seen.events:
                    yield Told(str(Offset(at)), entry)
            if kind_of(event) == "model" and at >= seen.events:
                behind = seen.items if at == seen.events else 0
                async with aclosing(run.pieces(event.number, behind)) as pieces:
                    async for item, piece in pieces:
                        yield Told(str(Offset(at, item)), _entry(event, piece))
    finally:
        run.close()


def _entry(event: Any, piece: _Piece) -> AnyEntry:
    if piece.attempt:
        return Restarted(at=event.at, number=event.number, attempt=piece.attempt)
    return Delta(at=event.at, number=event.number, text=piece.text, thinking=piece.thinking)


class _Run:
    """A run as one reader knows it: its history so far, and whether it has ended."""

    def __init__(self, client: Reads, id: str) -> None:
        self._client = client
        self._handle = client.get(id)
        self._known: list[Any] = []
        self._over: set[int] = set()
        """Numbers of calls that have ended."""
        self._cursor = 0
        self._before_cursor = 0
        self._end: asyncio.Future[None] = asyncio.ensure_future(_ended(self._handle))

    def close(self) -> None:
        self._end.cancel()

    async def events(self) -> AsyncIterator[tuple[int, Any]]:
        """The events, each with its place from 1, until the run has ended and all are told."""
        at, pause = 0, LOOK_SECONDS
        while True:
            while at < len(self._known):
                at, pause = at + 1, LOOK_SECONDS
                yield at, self._known[at - 1]
            was_over = self._end.done()
            if await self._look():
                continue
            if was_over:
                self._end.result()  # raises what kept us from knowing the end
                return
            await asyncio.wait({self._end}, timeout=pause)
            pause = min(2 * pause, LOOK_SECONDS_MAX)

    async def pieces(self, number: int, after: int) -> AsyncGenerator[tuple[int, _Piece], None]:
        """The items of a request's stream behind an offset, until it has ended; none where the agent is not live."""
        reader = self._handle.stream(None, _Piece, call=number, after=after)
        coming = asyncio.ensure_future(_next(reader))
        pause = LOOK_SECONDS
        try:
            while number not in self._over and not self._end.done():
                waited: set[asyncio.Future[Any]] = {coming, self._end}
                await asyncio.wait(waited, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    await self._look()  # because a request that is not live has no stream that could end
                    pause = min(2 * pause, LOOK_SECONDS_MAX)
                    continue
                piece = coming.result()
                if piece is None:
                    return
                after = reader.offset
                yield after, piece
                coming = asyncio.ensure_future(_next(reader))
                pause = LOOK_SECONDS_MAX
        finally:
            coming.cancel()
        # behind what was told, because the reader may have one more that was not
        rest = self._handle.stream(None, _Piece, call=number, after=after, follow=False)
        async for piece in rest:
            yield rest.offset, piece

    async def _look(self) -> bool:
        """Read on; whether there was more. What is behind the last full page is read again, and is the same."""
        before = len(self._known)
        while True:
            page, cursor = await self._client.gateway.events(self._handle.id, self._cursor, PAGE)
            self._known[self._before_cursor :] = page
            self._over.update(event.number for event in page if isinstance(event, ENDS))
            if cursor is None:
                return len(self._known) > before
            self._cursor, self._before_cursor = cursor, len(self._known)


async def _next(reader: Any) -> _Piece | None:
    piece: _Piece | None = await anext(reader, None)
    return piece


async def _ended(handle: Handle[Any]) -> None:
    with suppress(OutcomeError, InstanceNotFound):
        await handle.result()
