"""A server under test: `perdure serve` on free ports, with a SQLite file of its own."""

from __future__ import annotations

import os
import random
import shlex
import socket
import sys
from pathlib import Path

from tests.compat.process import Process
from tests.compat.sdk import ROOT

HOST = "127.0.0.1"
COMMAND = "{python} -m perdure serve --store {store} --grpc-port {grpc} --http-port {http} --app-id {app} --verbose"
OTHER = os.environ.get("COMPAT_SERVER")
"""A command for another server, to see how it answers the same programs; such a run never writes the document."""
READY_SECONDS = 30.0
PORTS = range(20_000, 32_000)
"""Below those that the system gives to outgoing connections, because a client that tries again while the server is away
may be given the server's own port."""
TRIED_PORTS = 50


class Server:
    """A server that can be killed and started again on its ports and its store."""

    def __init__(self, folder: Path, logs: Path, *, app: str = "compat", store: Path | None = None) -> None:
        self.grpc, self.http = free_ports()
        self._logs = logs
        self._starts = 0
        self._app = app
        self._store = f"sqlite:///{store or folder / 'server.db'}"
        self._process = self._launch()

    @property
    def environment(self) -> dict[str, str]:
        """What a program gets so that it finds this server."""
        return {
            "COMPAT_HOST": HOST,
            "COMPAT_PORT": str(self.grpc),
            "DAPR_RUNTIME_HOST": HOST,
            "DAPR_GRPC_PORT": str(self.grpc),
            "DAPR_HTTP_PORT": str(self.http),
        }

    def restart(self, *, in_peace: bool = False) -> None:
        """kill -9, or SIGTERM if `in_peace`, and the same command again at once."""
        if in_peace:
            self._process.stop()
        else:
            self._process.kill()
        self._process = self._launch()

    def stop(self) -> None:
        """End it as an operator would."""
        self._process.stop()

    def tail(self) -> str:
        """The end of what it printed."""
        return self._process.tail()

    def _launch(self) -> Process:
        words = {"python": sys.executable, "store": self._store, "app": self._app, "grpc": self.grpc, "http": self.http}
        command = [word.format(**words) for word in shlex.split(OTHER or COMMAND)]
        self._starts += 1
        log = self._logs / f"server-{self._app}-{self._starts}.log"
        process = Process(command, log, cwd=self._logs, env={"PYTHONPATH": str(ROOT / "src")})
        try:
            process.wait(self._listens, READY_SECONDS, "listening server")
        except BaseException:
            process.kill()
            raise
        return process

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.grpc)) == 0


def free_ports() -> tuple[int, int]:
    """Two ports that nobody listens on. Another process may take one before the server does; then it fails loudly."""
    first, second, *_ = filter(_is_free, random.sample(PORTS, TRIED_PORTS))
    return first, second


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) != 0
