"""One server from its opening to its end, with a line for each change of its state."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from perdure.app import open_store
from perdure.cli.collector import rare_collections
from perdure.cli.states import States
from perdure.errors import InvalidArgument, PerdureError
from perdure.remote.settings import Listener, ServerSettings, check_listening
from perdure.stores.contract import EngineStore

if TYPE_CHECKING:
    from types import ModuleType

LOOK_SECONDS = 0.1
"""How often it is looked whether the server owns the store, and whether it is asked to stop."""
CUT_SECONDS = 5.0
"""How much longer than its drain a server may take to close before the process leaves without it."""


FAILED_CODE = 1
"""What a process ends with whose server has failed."""


class Served(Protocol):
    """What is asked of a server here."""

    asked_to_stop: asyncio.Event
    failure: BaseException | None

    @property
    def is_ready(self) -> bool: ...
    @property
    def listeners(self) -> tuple[Listener, ...]: ...
    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def holder(self) -> str | None: ...


Make = Callable[[EngineStore, ServerSettings], Served]


class Serving:
    """A server that is open from `open` to `close`. `asked` is set by who wants it to stop."""

    def __init__(self, settings: ServerSettings, states: States, asked: asyncio.Event, make: Make) -> None:
        self._settings = settings
        self._states = states
        self._asked = asked
        self._make = make
        self._server: Served | None = None

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Those of the settings, with the ports that they have got."""
        return self._opened.listeners

    @property
    def is_to_stop(self) -> bool:
        """Whether somebody has asked for it: here, or through the server."""
        return self._asked.is_set() or self._opened.asked_to_stop.is_set() or self.failure is not None

    @property
    def failure(self) -> BaseException | None:
        """Why the server serves no longer by itself, if so."""
        return self._opened.failure

    async def open(self) -> bool:
        """Whether it is open: False if it was asked to stop before. Raises PerdureError, as `check_listening` does."""
        check_listening(self._settings)
        self._server = self._make(open_store(self._settings.store), self._settings)
        opening = asyncio.ensure_future(self._server.open())
        asked = asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait({opening, asked}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
        if not opening.done():
            opening.cancel()
            await asyncio.wait({opening})
            return False
        await opening
        return True

    async def until_ready(self) -> bool:
        """Whether it is ready: False if it is to stop first."""
        while not self.is_to_stop:
            await self._look()
            if self._opened.is_ready:
                return True
            await self._pause()
        return False

    async def until_stopped(self) -> None:
        """Look at its state until it is to stop."""
        with rare_collections():
            while not self.is_to_stop:
                await self._look()
                await self._pause()

    async def close(self) -> bool:
        """Drain, then cut: whether it closed within its bound."""
        self._states.tell("draining", "waits for what runs; another signal ends it at once", **self._facts())
        closing = asyncio.ensure_future(self._opened.close())
        # not a timeout, because what does not end may not hear that it is cancelled either
        await asyncio.wait({closing}, timeout=self._settings.drain_seconds + CUT_SECONDS)
        if not closing.done():
            self._states.tell("stopped", "left behind what did not end; what was decided is stored")
            return False
        await closing
        self._states.tell("stopped", "all that was decided is stored")
        return True

    def end(self, code: int, *, has_closed: bool) -> int:
        """What the process ends with, if it is not left here and now. Raises PerdureError if the server has failed."""
        failure = self.failure
        if not has_closed:
            leave(code if failure is None else FAILED_CODE)
        if failure is None:
            return code
        raise failed(failure) from failure

    async def _look(self) -> None:
        if self._opened.is_ready:
            self._states.change("owner", f"serves {_places(self._settings.host, self.listeners)}", **self._facts())
        else:
            holder = await self._opened.holder() or "another process"
            self._states.change("standby", f"{holder} owns the store; takes over when it ends", **self._facts())

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._asked.wait()
        except TimeoutError:
            return

    def _facts(self) -> dict[str, Any]:
        first = self.listeners[0]
        return {"grpc_port": first.grpc_port, "http_port": first.http_port}

    @property
    def _opened(self) -> Served:
        assert self._server is not None, "open it first"
        return self._server


def real_server(store: EngineStore, settings: ServerSettings) -> Served:
    """Perdure's own. Raises InvalidArgument if its libraries are not installed."""
    server: Served = load_extra("perdure.remote.server").Server(store, settings)
    return server


def load_extra(name: str, what: str = "a server", extra: str = "cli,server") -> ModuleType:
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("perdure"):
            raise
        raise InvalidArgument(
            f'{what} needs {error.name}, which is not installed: pip install "perdure[{extra}]"'
        ) from error


def leave(code: int) -> None:
    """End the process without waiting for threads or connections that do not end by themselves."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def failed(error: BaseException) -> PerdureError:
    """A server's own end, as an error that the command ends with."""
    return error if isinstance(error, PerdureError) else PerdureError(f"the server failed: {error!r}")


def _places(host: str, listeners: tuple[Listener, ...]) -> str:
    return "; ".join(f"{each.app_id} on {_place(host, each)}" for each in listeners)


def _place(host: str, listener: Listener) -> str:
    shown = f"[{host}]" if ":" in host else host
    grpc = f"grpc {shown}:{listener.grpc_port}"
    return grpc if listener.http_port is None else f"{grpc}, http {shown}:{listener.http_port}"
