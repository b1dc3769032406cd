"""A server of this process on a free port, for tests whose processes need not die."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from perdure.app import open_store
from perdure.remote.attributes import Attributes
from perdure.remote.grpc import GrpcListener
from perdure.remote.hosted import Hosted
from perdure.remote.requests import Flavour
from perdure.remote.rpc.caller import Caller
from perdure.remote.rpc.table import Runtime, Table, table_of
from perdure.remote.rpc.workers import Bounds
from perdure.remote.security import Policy, admit
from perdure.remote.server import Server
from perdure.remote.settings import Listener, ServerSettings


@asynccontextmanager
async def served(store: str, *app_ids: str, **settings: Any) -> AsyncIterator[Served]:
    """A server of the apps from entry to exit, on their store; of "shop" if none is named."""
    listeners = tuple(Listener(app_id=app_id, grpc_port=0, http_port=None) for app_id in app_ids or ("shop",))
    given = ServerSettings(listeners=listeners, store=store, drain_seconds=0.5, **settings)
    server = Server(open_store(store), given)
    await server.open()
    try:
        yield Served(server)
    finally:
        await server.close()


class Served:
    """A server that is open."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.urls = [f"grpc://127.0.0.1:{listener.grpc_port}" for listener in server.listeners]
        """By app, in the order in which they were named."""
        self.url = self.urls[0]


@asynccontextmanager
async def foreign(store: str, flavour: Flavour, app_id: str = "shop") -> AsyncIterator[str]:
    """The address of a server that knows the public protocol of one flavour, and nothing of Perdure's own."""
    hosted = Hosted(open_store(store))
    await hosted.open([app_id])
    table = table_of(hosted, Runtime("0", lambda app: Attributes(), lambda: None), Bounds(10, 100))
    hidden = ("/perdure.",) if flavour is Flavour.DAPR else ("/perdure.", "/dapr.")
    unary = {name: call for name, call in table.unary.items() if not name.startswith(hidden)}
    known = Table(unary, table.streaming, table.conversing)
    bounds: dict[str, int] = {"message_bytes_max": 1 << 26, "calls_max": 1_000}
    listener = GrpcListener(known, lambda metadata, is_open: _caller(metadata, app_id), **bounds)
    await listener.open("127.0.0.1", 0)
    try:
        yield f"grpc://127.0.0.1:{listener.port}"
    finally:
        hosted.end_streams()
        await listener.close(0.2)
        await hosted.close()


def _caller(metadata: Any, app_id: str) -> Caller:
    agent = dict(metadata).get("user-agent", "")
    return Caller(admit(metadata, Policy(app_id=app_id)), agent=agent)
