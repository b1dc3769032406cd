"""The command `worker`: a process that runs an app until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import typer

from perdure.app import App
from perdure.cli import systemd
from perdure.cli.logs import LogFormatOption, log_to
from perdure.cli.modules import named, where
from perdure.cli.states import States
from perdure.cli.stopping import Stopping
from perdure.cli.target import JsonOption, ServerOption, StoreOption
from perdure.cli.targets import server_url
from perdure.cli.tracing import TraceSampleOption
from perdure.errors import InvalidArgument

LOOPBACK = "127.0.0.1"
ROLE_LOOK_SECONDS = 0.1
"""How often the worker looks whether it owns the store."""


async def worker(
    app: Annotated[str | None, typer.Argument(metavar="[MODULE:APP]", help="Such as shop:app, from here.")] = None,
    app_id: Annotated[
        str | None, typer.Option("--app", metavar="ID", help="Instead: the app of this id, in a module that lies here.")
    ] = None,
    store: StoreOption = None,
    server: ServerOption = None,
    metrics_port: Annotated[
        int | None,
        typer.Option("--metrics-port", metavar="PORT", help="Serve /metrics for Prometheus there; 0 takes a free one."),
    ] = None,
    metrics_host: Annotated[str, typer.Option("--metrics-host", help="Address to serve it on.")] = LOOPBACK,
    trace_sample: TraceSampleOption = None,
    log_format: LogFormatOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what the engine does.")] = False,
    json: JsonOption = False,
) -> int:
    """Run an app's workflows until SIGTERM or Ctrl-C, which let activities end; a second one ends at once."""
    if (app is None) == (app_id is None):
        raise InvalidArgument("worker takes either MODULE:APP, or --app with the id of an app in a module here")
    loaded = load(app if app is not None else where(app_id or ""))
    # after the import, because a program that sets up logging itself knows better
    log_to(log_format, verbose=verbose, level=logging.INFO)
    if trace_sample is not None:
        from perdure.remote.tracing import Tracing

        loaded.tracing = Tracing(trace_sample)
    service = Service(loaded, as_json=json)
    async with _metrics(loaded, metrics_host, metrics_port) as found:
        await service.run(store, server, metrics_port=found)
    _leave_threads()
    return 0


class Service:
    """One app from start to drain, with a line for each change of its state."""

    def __init__(self, app: App, *, as_json: bool) -> None:
        self._app = app
        self._states = States(app.id, as_json=as_json)
        self._stopping = Stopping()
        self._metrics_port: int | None = None

    async def run(self, store: str | None, server: str | None, *, metrics_port: int | None = None) -> None:
        """Open the app, run or stand by until a signal comes, drain. With a server the store is the server's own."""
        self._stopping.watch()
        self._metrics_port = metrics_port
        if server is not None:
            await self._app.open(server=server_url(server))
        else:
            await self._app.open(store=store)
        supervisor = systemd.own()
        async with supervisor.told():
            try:
                while not self._stopping.asked.is_set():
                    await self._look()
                    await self._pause()
            finally:
                supervisor.stopping()
                self._states.tell("draining", "waits for what runs; another signal ends it at once")
                await self._app.close()
                self._states.tell("stopped", "all that was decided is stored")

    async def _look(self) -> None:
        if self._app.is_owner:
            definitions = self._app.definitions
            counts = f"{len(definitions.workflows)} workflows, {len(definitions.activities)} activities"
            facts = {} if self._metrics_port is None else {"metrics_port": self._metrics_port}
            self._states.change("owner", f"runs {counts}", **facts)
        elif self._app.server is not None:
            self._states.change("standby", f"{self._app.server} does not take this worker now; tries again")
        else:
            holder = await self._app.client.holder()
            self._states.change("standby", f"{holder or 'another process'} owns the store; takes over when it ends")

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(ROLE_LOOK_SECONDS):
                await self._stopping.asked.wait()
        except TimeoutError:
            return


def load(address: str) -> App:
    """The App at `module:attribute`; the working directory comes first. Raises InvalidArgument."""
    module, found = named(address, "MODULE:APP")
    if isinstance(found, App):
        return found
    name = address.partition(":")[0]
    apps = ", ".join(f"{name}:{each}" for each, value in vars(module).items() if isinstance(value, App))
    what = "has no such attribute" if found is None else f"is no App but a {type(found).__name__}"
    raise InvalidArgument(f"{address!r} {what}; the Apps of the module are: {apps or 'none'}")


@asynccontextmanager
async def _metrics(app: App, host: str, port: int | None) -> AsyncIterator[int | None]:
    """Serve the app's metrics on a port of their own: the port, None if none is asked for."""
    if port is None:
        yield None
        return
    try:
        from perdure.remote.http.listener import HttpListener
    except ImportError as error:
        raise InvalidArgument(f'--metrics-port serves HTTP: pip install "perdure[server]" ({error})') from error
    async with HttpListener(app.metrics, host=host, port=port) as listener:
        yield listener.port


def _leave_threads() -> None:
    """End the process although threads of `def` activities go on, which Python itself would wait for."""
    if any(thread.name.startswith("perdure-activity") for thread in threading.enumerate()):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
