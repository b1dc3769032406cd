"""The command `worker`: a process that runs an app until it is told to stop."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import threading
from datetime import UTC, datetime
from typing import Annotated

import typer

from perdure.app import App
from perdure.cli import screen
from perdure.cli.modules import named
from perdure.cli.target import JsonOption, StoreOption
from perdure.errors import InvalidArgument

ROLE_LOOK_SECONDS = 0.1
"""How often the worker looks whether it owns the store."""


async def worker(
    app: Annotated[str, typer.Argument(metavar="MODULE:APP", help="Such as shop:app, from here.")],
    store: StoreOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what the engine does.")] = False,
    json: JsonOption = False,
) -> int:
    """Run an app's workflows until SIGTERM or Ctrl-C, which let activities end; a second one ends at once."""
    loaded = load(app)
    # after the import, because a program that sets up logging itself knows better
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("perdure").setLevel(logging.INFO if verbose else logging.WARNING)
    await Service(loaded, as_json=json).run(store)
    _leave_threads()
    return 0


class Service:
    """One app from start to drain, with a line for each change of its state."""

    def __init__(self, app: App, *, as_json: bool) -> None:
        self._app = app
        self._as_json = as_json
        self._stop = asyncio.Event()
        self._role = ""

    async def run(self, store: str | None) -> None:
        """Open the app, run or stand by until a signal comes, drain."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        await self._app.open(store=store)
        try:
            while not self._stop.is_set():
                await self._look()
                await self._pause()
        finally:
            self._tell("draining", "waits for what runs; another signal ends it at once")
            await self._app.close()
            self._tell("stopped", "all that was decided is stored")

    def _signalled(self, number: signal.Signals) -> None:
        self._stop.set()
        for each in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)

    async def _look(self) -> None:
        if self._app.is_owner:
            definitions = self._app.definitions
            counts = f"{len(definitions.workflows)} workflows, {len(definitions.activities)} activities"
            self._change("owner", f"runs {counts}")
        else:
            holder = await self._app.client.holder()
            self._change("standby", f"{holder or 'another process'} owns the store; takes over when it ends")

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(ROLE_LOOK_SECONDS):
                await self._stop.wait()
        except TimeoutError:
            return

    def _change(self, role: str, text: str) -> None:
        if role != self._role:
            self._role = role
            self._tell(role, text)

    def _tell(self, state: str, text: str) -> None:
        now = datetime.now(UTC)
        if self._as_json:
            document = {
                "at": now.isoformat(),
                "app": self._app.id,
                "pid": os.getpid(),
                "state": state,
                "text": text,
            }
            print(json.dumps(document), flush=True)
        else:
            print(
                screen.clean(f"{screen.clock(now)} {self._app.id} ({os.getpid()}) {state}: {text}"),
                flush=True,
            )


def load(address: str) -> App:
    """The App at `module:attribute`; the working directory comes first. Raises InvalidArgument."""
    module, found = named(address, "MODULE:APP")
    if isinstance(found, App):
        return found
    name = address.partition(":")[0]
    apps = ", ".join(f"{name}:{each}" for each, value in vars(module).items() if isinstance(value, App))
    what = "has no such attribute" if found is None else f"is no App but a {type(found).__name__}"
    raise InvalidArgument(f"{address!r} {what}; the Apps of the module are: {apps or 'none'}")


def _leave_threads() -> None:
    """End the process although threads of `def` activities go on, which Python itself would wait for."""
    if any(thread.name.startswith("perdure-activity") for thread in threading.enumerate()):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
