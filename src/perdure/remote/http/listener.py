"""The port: uvicorn inside a loop that is somebody else's, without its signal handlers and its logging."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Self

import uvicorn
from starlette.types import ASGIApp

from perdure.errors import InvalidArgument, PortNotFree, ServerUnavailable
from perdure.remote.settings import HTTP_PORT, LOOPBACK

CONNECTIONS_MAX = 1_000
"""Connections and requests at once; a request beyond it is answered with 503."""
DRAIN_SECONDS = 5.0
"""How long a stop waits for requests that are under way."""
CUT_SECONDS = 1.0
"""How long a stop then waits for those that it has cut off, to tell their clients."""
PORT_MAX = 65_535
IDLE_SECONDS = 30
"""How long a connection is kept without a request."""


class HttpListener:
    """Serves an application on a port of its own, from `start` until `stop`.

    `host` is an address or a name, whose every address is listened on; `port` 0 means a free one. With `tls`, HTTPS.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str = LOOPBACK,
        port: int = HTTP_PORT,
        tls: ssl.SSLContext | None = None,
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._server = _Server(_config(app, drain_seconds))
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that is listened on, once it is started."""
        return self._port

    async def start(self) -> None:
        """Listen; returns when connections are served. Raises InvalidArgument, PortNotFree."""
        config = self._server.config
        config.load()
        config.ssl = self._tls
        sockets = await _bound(self._host, self._port)
        self._port = sockets[0].getsockname()[1]
        self._serving = asyncio.create_task(self._server.serve(sockets), name="perdure.http")
        while not self._server.started and not self._serving.done():
            await asyncio.sleep(0)
        if self._serving.done():
            await self._serving

    def watch(self, failed: Callable[[BaseException], None]) -> None:
        """Tell `failed` if it ceases to listen before it is stopped."""

        def ended(serving: asyncio.Task[None]) -> None:
            if not self._server.should_exit:
                why = None if serving.cancelled() else serving.exception()
                gone = ServerUnavailable(f"the server listens no more on HTTP port {self._port}; start it again")
                failed(why or gone)

        if self._serving is not None:
            self._serving.add_done_callback(ended)

    async def stop(self) -> None:
        """Listen no more, let requests that are under way end for `drain_seconds`, then cut off the rest."""
        if self._serving is None:
            return
        self._server.should_exit = True
        await self._serving
        self._serving = None
        if self._server.server_state.tasks:
            await asyncio.wait(self._server.server_state.tasks, timeout=CUT_SECONDS)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    def __repr__(self) -> str:
        state = "serving" if self._serving is not None else "closed"
        return f"<HttpListener {self._host}:{self._port}: {state}>"


class _Config(uvicorn.Config):
    def configure_logging(self) -> None:
        """Leave logging as the program has it."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the program."""
        yield


def _config(app: ASGIApp, drain_seconds: float) -> uvicorn.Config:
    return _Config(
        app,
        http="h11",  # because the parser that is tested is the one that runs, whatever else is installed
        ws="none",
        lifespan="off",
        interface="asgi3",
        workers=1,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=drain_seconds,  # type: ignore[arg-type]  # any number of seconds will do
    )


async def _bound(host: str, port: int) -> list[socket.socket]:
    """Sockets on every address of a host, all on one port."""
    sockets: list[socket.socket] = []
    if not 0 <= port <= PORT_MAX:
        raise InvalidArgument(f"port is {port}; give one from 0 to {PORT_MAX:,}")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            if sockets and port == 0:
                address = (address[0], sockets[0].getsockname()[1], *address[2:])
            sockets.append(_socket(family, kind, protocol, address))
    except OSError as error:
        for one in sockets:
            one.close()
        raise PortNotFree(
            f"port {port} of {host} cannot be listened on ({error}); give another port or host"
        ) from error
    return sockets


def _socket(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made
