"""The way to a server, which a test can cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Wire:
    """A port of the loopback whose bytes go to a server and back."""

    def __init__(self, host: str, port: int) -> None:
        self._server = host, port
        self._is_cut = False
        self._links: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    @classmethod
    @asynccontextmanager
    async def to(cls, host: str, port: int) -> AsyncIterator[Wire]:
        wire = cls(host, port)
        listener = await asyncio.start_server(wire._connected, "127.0.0.1", 0)
        wire.port = listener.sockets[0].getsockname()[1]
        try:
            yield wire
        finally:
            listener.close()
            for writer in wire._writers:
                writer.close()
            for link in wire._links:
                link.cancel()
            await asyncio.gather(*wire._links, return_exceptions=True)
            await listener.wait_closed()

    def cut_answers(self) -> None:
        """From now on the server hears everything, and when it answers the connection is lost."""
        self._is_cut = True

    def mend(self) -> None:
        self._is_cut = False

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._server)
        self._writers |= {writer, far_writer}
        asked = asyncio.create_task(self._carry(reader, far_writer, may_be_cut=False))
        answered = asyncio.create_task(self._carry(far_reader, writer, may_be_cut=True))
        self._links |= {asked, answered}

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, may_be_cut: bool) -> None:
        try:
            while data := await reader.read(65_536):
                if may_be_cut and self._is_cut:
                    break
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
