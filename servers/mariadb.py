"""A MariaDB server of a test's own: on a free port of loopback, with data that goes when it ends."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncmy

from servers.ports import free_port

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
USER = "perdure"
PASSWORD = 'it\'s a "secret" /?#[]@'
ENCODED_PASSWORD = "it%27s%20a%20%22secret%22%20%2F%3F%23%5B%5D%40"


class MariaDb:
    """One server process. `fsync` off makes it faster, and its store one of class C."""

    def __init__(self, *options: str, fsync: bool = True) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="perdure-mariadb-"))
        self.port = free_port()
        self._fsync = fsync
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0

    def start(self) -> None:
        """Start the server and wait until it answers; the first time with new data and the user of the tests."""
        is_new = not (self.directory / "data").exists()
        if is_new:
            self._make_data()
        self._process = subprocess.Popen(
            [
                _program("mariadbd"),
                "--no-defaults",
                f"--user={pwd.getpwuid(os.getuid()).pw_name}",
                f"--datadir={self.directory / 'data'}",
                f"--socket={self.directory / 'socket'}",
                f"--port={self.port}",
                f"--pid-file={self.directory / 'pid'}",
                f"--log-error={self.directory / 'log'}",
                "--bind-address=127.0.0.1",
                "--skip-name-resolve",
                "--innodb-buffer-pool-size=128M",
                "--innodb-log-file-size=64M",
                *(() if self._fsync else ("--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync")),
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait()
        if is_new:
            user = f"'{USER}'@'127.0.0.1'"
            quoted = PASSWORD.replace("'", "''")
            self.run(f"create user {user} identified by '{quoted}'", f"grant all on `perdure%`.* to {user}")

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        """End it and remove its data."""
        if self._process is not None:
            self.resume()
            self.kill()
        shutil.rmtree(self.directory)

    def database(self) -> str:
        """The name of a new, empty database."""
        self._databases += 1
        name = f"perdure{self._databases}"
        self.run(f"create database {name}")
        return name

    def empty(self, database: str | None) -> None:
        """Leave no row of the store there."""
        tables = self.run("show tables like 'perdure%'", database=database)
        views = ("perdure_instances", "perdure_waits", "perdure_events", "perdure_meta")
        self.run(*(f"delete from {name}" for (name,) in tables if name not in views), database=database)

    def url(self, database: str, options: str = "") -> str:
        """The address of a store there, with the server's lack of durability named if it has one."""
        unsafe = "" if self._fsync else "unsafe=innodb_flush_log_at_trx_commit,innodb_flush_method"
        query = "&".join(part for part in (unsafe, options) if part)
        return f"mysql://{USER}:{ENCODED_PASSWORD}@127.0.0.1:{self.port}/{database}{'?' if query else ''}{query}"

    def new_url(self) -> str:
        return self.url(self.database())

    def run(self, *statements: str, database: str | None = None) -> list[Any]:
        """Run statements as root; the rows of the last one. In a thread, because the caller may run an event loop."""
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(lambda: asyncio.run(self._run(statements, database))).result()

    async def _run(self, statements: tuple[str, ...], database: str | None) -> list[Any]:
        connection = await asyncmy.connect(
            unix_socket=str(self.directory / "socket"), user="root", database=database, autocommit=True
        )
        try:
            async with connection.cursor() as cursor:
                for statement in statements:
                    await cursor.execute(statement)
                return list(await cursor.fetchall()) if cursor.description else []
        finally:
            await connection.ensure_closed()

    def _make_data(self) -> None:
        made = subprocess.run(
            [
                _program("mariadb-install-db"),
                "--no-defaults",
                f"--user={pwd.getpwuid(os.getuid()).pw_name}",
                f"--datadir={self.directory / 'data'}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stdout + made.stderr

    def _wait(self) -> None:
        assert self._process is not None
        ends = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                self.run("select 1")
                return
            except (asyncmy.errors.Error, OSError):
                alive = self._process.poll() is None and time.monotonic() < ends
                assert alive, (self.directory / "log").read_text()
                time.sleep(0.02)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(STOP_SECONDS_MAX)


@contextmanager
def running(*options: str, fsync: bool = True) -> Iterator[MariaDb]:
    """A server that is there for as long as it is needed."""
    server = MariaDb(*options, fsync=fsync)
    try:
        server.start()
        yield server
    finally:
        server.close()


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    assert found, f"{name} is missing; run `python scripts/servers.py mariadb` as root"
    return found
