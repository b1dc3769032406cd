"""A cable of the suite's own: a TCP proxy on loopback, which needs no rights."""

from __future__ import annotations

import asyncio

from tests.chaos.cable import TO_NODE, TO_STORE, Mode

PIECE_BYTES = 65_536
"""What is carried at once."""
UNDER_WAY_SECONDS = 0.1
"""Between a request that goes through and the end of its connection, where answers are swallowed."""


class Proxy:
    """A `Cable`. What is held back in a cut arrives when it is over, as TCP would send it again."""

    host = "127.0.0.1"
    prefix: tuple[str, ...] = ()
    modes = frozenset(Mode)

    def __init__(self, target: int) -> None:
        self.port = 0
        self.swallowed = 0
        self._target = target
        self._mode = Mode.OPEN
        self._changed = asyncio.Event()
        self._links: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def turn(self, mode: Mode) -> None:
        """From now on."""
        self._mode = mode
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        if mode is Mode.REFUSED:
            self.drop()

    def drop(self) -> None:
        """Reset the connections that there are."""
        for link in list(self._links):
            link.cancel()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.drop()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        try:
            await self._carry(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # either side is gone, or the connection is to be reset
        finally:
            writer.transport.abort()
            self._links.discard(link)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while self._mode in (Mode.CUT, Mode.MUTE, Mode.DEAF):
            await self._changed.wait()
        if self._mode is Mode.REFUSED:
            return
        store_reader, store_writer = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            ways = [
                asyncio.ensure_future(self._pump(reader, store_writer, TO_STORE)),
                asyncio.ensure_future(self._pump(store_reader, writer, TO_NODE)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            store_writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passing: tuple[Mode, ...]
    ) -> None:
        """Carry one way, while the mode lets it through, until one side is gone."""
        while piece := await reader.read(PIECE_BYTES):
            while self._mode not in passing:
                if self._mode is Mode.SWALLOWED:
                    self.swallowed += 1
                    await asyncio.sleep(UNDER_WAY_SECONDS)
                    return
                await self._changed.wait()
            writer.write(piece)
            await writer.drain()
