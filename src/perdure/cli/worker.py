"""The command `worker`: a process that runs an app until it is told to stop."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import signal
import sys
import threading
import traceback
from datetime import UTC, datetime
from types import ModuleType
from typing import Annotated, Any

import typer

from perdure.app import App
from perdure.cli import screen
from perdure.cli.target import JsonOption, StoreOption
from perdure.errors import InvalidArgument, PerdureError

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
    name, colon, attribute = address.partition(":")
    if not name or not colon or not attribute:
        raise InvalidArgument(f"{address!r} is no MODULE:APP; write shop:app for `app` in shop.py")
    sys.path.insert(0, os.getcwd())
    module = _imported(name)
    found: Any = module
    for step in attribute.split("."):
        found = getattr(found, step, None)
    if isinstance(found, App):
        return found
    apps = ", ".join(f"{name}:{each}" for each, value in vars(module).items() if isinstance(value, App))
    what = "has no such attribute" if found is None else f"is no App but a {type(found).__name__}"
    raise InvalidArgument(f"{address!r} {what}; the Apps of the module are: {apps or 'none'}")


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except PerdureError:
        raise
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise InvalidArgument(f"there is no module {name!r} in {os.getcwd()} or on sys.path") from error
        raise _not_imported(name, error) from error
    except (Exception, SystemExit) as error:  # because a module may do anything when it is imported
        raise _not_imported(name, error) from error


def _not_imported(name: str, error: BaseException) -> InvalidArgument:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    where = f" at {frames[-1].filename}:{frames[-1].lineno}" if len(frames) > 1 else ""
    if isinstance(error, SyntaxError):
        where = f" at {error.filename}:{error.lineno}"
    told = error.msg if isinstance(error, SyntaxError) else str(error)
    return InvalidArgument(f"module {name!r} cannot be imported: {type(error).__name__}: {told}{where}")


def _leave_threads() -> None:
    """End the process although threads of `def` activities go on, which Python itself would wait for."""
    if any(thread.name.startswith("perdure-activity") for thread in threading.enumerate()):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
