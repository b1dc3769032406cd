"""The life of an app whose engine is at a server: only the code runs here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Any

from perdure.app.address import reached
from perdure.app.life import Life, worker_of
from perdure.app.packing import packed_receiver, writer_of
from perdure.errors import InstanceNotFound
from perdure.sdk.gateway import Gateway

if TYPE_CHECKING:
    from perdure.app.app import App
    from perdure.blocks.state.stores import Shelf
    from perdure.codec import Writer
    from perdure.remote.native.connection import Connection


class Served(Life):
    """`connection` leads to `server`, which has answered."""

    engine: Connection

    def __init__(self, app: App, connection: Connection, server: str) -> None:
        super().__init__(app, worker_of(app), connection, connection.gateway)
        self.server = server
        self._definitions = app.definitions
        self._settings = app.settings
        self._codec = app.codec

    async def open(self) -> None:
        """Serve the code from now on. Raises NotSupportedByServer if it needs what the server lacks."""
        if self.engine.is_ours:
            self.worker.read_with(self.client.gateway.events)
        else:
            self.worker.refuse_steps()
        self.worker.start()
        try:
            await self.engine.work(self.worker, self._definitions, self._settings)
        except BaseException:
            self.worker.stop()
            await self.engine.close()
            raise

    async def subscribe(self, declared: Collection[Any]) -> None:
        """The code handles here what the server gives it."""
        from perdure.remote.native.receivers import Group  # because most apps subscribe to nothing

        around = _Surroundings(self.engine.gateway, writer_of(self._codec), self.worker.in_thread)
        groups = [
            Group(each.topic, each.group, each.options, packed_receiver(each.receiver(around), self._codec))
            for each in declared
        ]
        await self.engine.receive(groups, self._settings)

    def shelf(self, name: str) -> Awaitable[Shelf]:
        """One that the server has."""
        return self.engine.shelf(name)

    async def _abandon(self) -> None:
        self.worker.stop()

    async def _close_states(self) -> None:
        """They are the server's."""


class _Surroundings:
    """What receivers ask: of the server where an instance is, of this process the rest."""

    def __init__(self, gateway: Gateway, writer: Writer, in_thread: Callable[..., Awaitable[Any]]) -> None:
        self.writer = writer
        self._gateway = gateway
        self._in_thread = in_thread

    async def in_thread(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return await self._in_thread(function, args, kwargs)

    async def status_of(self, id: str) -> str | None:
        try:
            return (await self._gateway.state(id, None)).status
        except InstanceNotFound:
            return None


async def served(app: App, server: str) -> Served:
    """The life of an app at a server that answers. Raises ServerUnavailable, NotAuthenticated, NotPermitted."""
    return Served(app, await reached(server, app.id), server)
