"""What an attempt yields, on its way to the server: in order, and only a few items ahead of what is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from perdure.codec import Payload
from perdure.errors import PerdureError, ServerUnavailable, StoreOwned, StreamRefused
from perdure.remote.native.calls import BEGIN, PUT, Call

AHEAD_MAX = 16
"""Items that a generator may be ahead of what is durable of them; it is held at its `yield` while there are more."""
OWNER_SECONDS = 30.0
"""How long an outlet looks for the server that executes and knows the attempt: it may be starting again, or a proxy may
send each call where it likes."""
PAUSE_SECONDS = 0.05

Ask = Callable[..., Awaitable[Any]]


class RemoteOutlet:
    """Takes the items of one attempt. `token` gives the name under which the attempt is out now, `is_known` tells
    whether the server that is there now has given it.

    `refused` is told if the server takes none, and cancels the attempt if nobody wants it any more. `overtaken` is told
    if another worker had the attempt meanwhile and has yielded: what is yielded here would not follow from that.
    """

    def __init__(
        self,
        ask: Ask,
        token: Callable[[], str],
        is_known: Callable[[str], bool],
        refused: Callable[[str], Awaitable[None]],
        overtaken: Callable[[], None],
    ) -> None:
        self.offset = 0
        self.last: Payload | None = None
        self._ask = ask
        self._token = token
        self._is_known = is_known
        self._refused = refused
        self._overtaken = overtaken
        self._waiting: list[Payload] = []
        self._in_flight: list[Payload] = []
        self._sending: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()
        self._refusal: PerdureError | None = None

    async def begin(self) -> None:
        """Learn where earlier attempts have left the stream."""
        place = await self._asked(BEGIN)
        self.offset, self.last = place.offset, place.last

    async def put(self, value: Payload) -> None:
        """Take an item, and return when at most AHEAD_MAX are not durable. Raises what stands against it."""
        self._check()
        self._waiting.append(value)
        self._go_on()
        await self._until_ahead(AHEAD_MAX)

    async def flush(self) -> int:
        """Return when every item is durable: how many the stream has. Raises what stands against it."""
        await self._until_ahead(0)
        self._check()
        return self.offset

    def close(self) -> None:
        """The attempt is over: no more items."""
        self._waiting.clear()
        self._refusal = self._refusal or StreamRefused("the attempt is over and yields no more")
        self._moved.set()

    async def _until_ahead(self, count: int) -> None:
        while self._refusal is None and len(self._waiting) + len(self._in_flight) > count:
            self._moved.clear()
            await self._moved.wait()

    def _check(self) -> None:
        if self._refusal is not None:
            raise self._refusal

    def _go_on(self) -> None:
        if self._sending is None and self._waiting:
            self._in_flight, self._waiting = self._waiting, []
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        try:
            self._settled(await self._asked(PUT, self._in_flight, self.offset))
        except PerdureError as error:
            self._refusal = self._refusal or error
            self._waiting.clear()
        self._in_flight, self._sending = [], None
        self._go_on()
        self._moved.set()

    def _settled(self, durable: int | None) -> None:
        if durable != self.offset + len(self._in_flight):
            if self._refusal is None:  # because an outlet that is closed is that of an earlier making
                self._overtaken()
            raise StreamRefused("another worker has had the attempt meanwhile, and its items are durable")
        self.offset, self.last = durable, self._in_flight[-1]

    async def _asked(self, call: Call, *arguments: Any) -> Any:
        """Ask under the attempt's token, and again if it was handed out anew meanwhile."""
        ends = asyncio.get_running_loop().time() + OWNER_SECONDS
        while True:
            token = self._token()
            try:
                return await self._ask(call, token, *arguments)
            except (ServerUnavailable, StoreOwned):
                if asyncio.get_running_loop().time() > ends:
                    raise
                await asyncio.sleep(PAUSE_SECONDS)  # because a proxy may send the next call to the owner
            except StreamRefused:
                is_over = self._is_known(token) or asyncio.get_running_loop().time() > ends
                if self._token() == token and is_over:
                    await self._refused(token)
                    raise
                await asyncio.sleep(PAUSE_SECONDS)  # because a server that was started again gives it another token

    def __repr__(self) -> str:
        ahead = len(self._waiting) + len(self._in_flight)
        return f"<RemoteOutlet {self._token()}: {self.offset} items, {ahead} ahead>"
