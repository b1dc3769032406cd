"""`perdure run` with a server whose doings a test decides by files in its folder; the rest is the real thing.

Arguments: the command of the program. Variables: APPS (names of apps; each runs the command), DRAIN_SECONDS.
Files: `unready` and the server is not ready; `failed`, and it has failed; `shutdown`, and a caller has asked it to
stop; `stuck`, and it does not close. It notes in `server.log` when it opened and closed.
"""

import asyncio
import os
import sys
from pathlib import Path

from perdure.cli import run, serving
from perdure.cli.apps import AppEntry
from perdure.cli.logs import Logs
from perdure.cli.program import exit_code
from perdure.cli.serve import log_to
from perdure.errors import PerdureError
from perdure.remote.settings import Listener, ServerSettings

HERE = Path.cwd()


class StandIn:
    def __init__(self, store, settings):
        self.listeners = tuple(
            Listener(app_id=each.app_id, grpc_port=50_001 + place, http_port=3_500 + place)
            for place, each in enumerate(settings.listeners)
        )

    is_ready = property(lambda self: not (HERE / "unready").exists())
    failure = property(lambda self: RuntimeError("no more") if (HERE / "failed").exists() else None)

    @property
    def asked_to_stop(self):
        event = asyncio.Event()
        if (HERE / "shutdown").exists():
            event.set()
        return event

    async def open(self):
        _note("opened")

    async def close(self):
        while (HERE / "stuck").exists():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue  # because that is what it is to be stuck
        _note("closed")

    async def holder(self):
        return "somebody"


def _note(what):
    with (HERE / "server.log").open("a") as log:
        print(what, file=log)


def main():
    serving.CUT_SECONDS = 0.1
    apps = os.environ.get("APPS", "shop").split(",")
    entries = [AppEntry(app_id=app, folder=HERE, command=tuple(sys.argv[1:])) for app in apps]
    drain_seconds = float(os.environ.get("DRAIN_SECONDS", "10"))
    listeners = tuple(entry.listener for entry in entries)
    settings = ServerSettings(listeners=listeners, store="memory:", drain_seconds=drain_seconds)
    logs = Logs(["perdure", *apps])
    log_to(None, verbose=False, handler=logs.handler("perdure"))
    try:
        code = asyncio.run(run.Together(entries, settings, logs, StandIn).run())
    except PerdureError as error:
        print(f"perdure: {error}", file=sys.stderr)
        code = exit_code(error)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
