"""The server that is fuzzed: `python -m tests.fuzz.grpc_server FILE APP...` prints the port of each app, and serves."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from perdure.app import open_store
from perdure.remote.server import Server
from perdure.remote.settings import Listener, ServerSettings


async def serve(file: str, apps: list[str]) -> None:
    url = f"sqlite:///{file}"
    listeners = tuple(Listener(app_id=app, grpc_port=0, http_port=None) for app in apps)
    server = Server(open_store(url), ServerSettings(listeners=listeners, store=url, drain_seconds=0.5))
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await server.open()
    print(*(listener.grpc_port for listener in server.listeners), flush=True)
    await stopped.wait()
    await server.close()
    if server.failure is not None:
        sys.exit(1)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(serve(sys.argv[1], sys.argv[2:]))
