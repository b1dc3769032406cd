"""A life of an app, from `open` to `close`: what it has then, and the process and loop to which that belongs."""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Collection
from typing import TYPE_CHECKING, Any

from perdure.app.packing import packed_gateway, packed_worker, writer_of
from perdure.errors import NotOpen
from perdure.sdk.client import Client
from perdure.sdk.definitions import Definitions
from perdure.sdk.gateway import Gateway
from perdure.sdk.watchdog import Watchdog
from perdure.sdk.worker import Operator, Worker

if TYPE_CHECKING:
    from perdure.app.app import App
    from perdure.blocks.state.stores import Shelf
    from perdure.codec import Writer
    from perdure.engine.engine import Engine
    from perdure.remote.native.connection import Connection
    from perdure.sdk.packing.worker import PackingWorker

_inherited: list[Life] = []
"""Lives that a fork has copied, kept because the collector would close connections that are the parent's."""


class Life(ABC):
    """The `engine`, here or behind a connection; the `worker`, which runs code; the `client`, which that code uses."""

    server: str | None = None
    """The server that this process works for."""

    def __init__(self, app: App, worker: Worker | PackingWorker, engine: Engine | Connection, gateway: Gateway) -> None:
        self.app_id = app.id
        self.worker = worker
        self.engine = engine
        self.client = Client(packed_gateway(gateway, app.codec), writer=writer_of(app.codec), app=app)
        self.pid = os.getpid()
        self.loop = asyncio.get_running_loop()

    @property
    def can_go_on(self) -> bool:
        """Whether its process is this one and its loop is not closed."""
        return self.pid == os.getpid() and not self.loop.is_closed()

    def check_loop(self) -> None:
        """Raises NotOpen on a loop that is not its own."""
        if asyncio.get_running_loop() is not self.loop:
            raise NotOpen(f"app {self.app_id!r} was opened on another event loop, which runs; close it there")

    @abstractmethod
    async def open(self) -> None:
        """Begin. If that fails, nothing is left running or held."""

    @abstractmethod
    async def subscribe(self, declared: Collection[Any]) -> None:
        """Give subscriptions their messages. Raises InvalidArgument where there can be none."""

    @abstractmethod
    def shelf(self, name: str) -> Awaitable[Shelf]:
        """The state store of that name."""

    async def close(self) -> None:
        """Drain what runs, commit what is decided, stop."""
        try:
            await self.engine.close()
        finally:
            await self._close_states()  # behind the engine, because activities that drain may use them
            if self.worker.operator is not None:
                await self.worker.operator.close()
            self.worker.stop()

    async def leave_behind(self) -> None:
        """Let go of what cannot go on, of which nothing can be drained."""
        if self.pid != os.getpid():
            _inherited.append(self)
        else:
            await self._abandon()

    @abstractmethod
    async def _abandon(self) -> None:
        """Stop the worker, and free what would keep others out."""

    @abstractmethod
    async def _close_states(self) -> None:
        """Close the state stores that were used."""


def worker_of(app: App) -> Worker | PackingWorker:
    """Who runs an app's code."""
    writer, watchdog = writer_of(app.codec), Watchdog()
    operator = _operator(app.definitions, writer, watchdog)
    worker = Worker(app.id, app.definitions, app.settings["threads"], watchdog, writer, operator)
    return packed_worker(worker, app.codec)


def _operator(definitions: Definitions, writer: Writer, watchdog: Watchdog) -> Operator | None:
    """Who runs actors, where there are any."""
    if not definitions.actors:
        return None
    from perdure.blocks.actors.stage import Stage

    return Stage(definitions.actors, writer, watchdog=watchdog)
