"""The real servers under the nodes: started for one run, with durable settings, killed and started again in it."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from servers.mariadb import MariaDb
from servers.postgres import NOBODY, PostgresServer
from servers.valkey import Valkey

LOOPBACK = ("127.0.0.1",)
NETWORKS = ("10.219.0.0/16",)
"""From where nodes come that live in a network of their own."""
SHARDS = 16
START_TRIES_MAX = 20
USER = "chaos"


class Store(Protocol):
    """A server with an empty database."""

    port: int

    def url(self, host: str, port: int, lease_seconds: float) -> str:
        """The address of the store by way of this host and port."""

    def crash(self) -> None:
        """Kill the server, with no chance to do anything."""

    def stop(self) -> None:
        """End it in good order, though at once."""

    def start(self) -> None: ...


class Postgres:
    """PostgreSQL with fsync, as it comes."""

    def __init__(self, folder: Path, hosts: Sequence[str]) -> None:
        self._server = PostgresServer(folder, fsync=True, listen_addresses=",".join(hosts))
        with (folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.writelines(f"host all all {network} trust\n" for network in NETWORKS)
        self.port = self._server.port

    def url(self, host: str, port: int, lease_seconds: float) -> str:
        return f"postgresql://postgres@{host}:{port}/postgres?lease={lease_seconds:g}&shards={SHARDS}"

    def crash(self) -> None:
        self._server.stop(signal.SIGKILL)

    def stop(self) -> None:
        self._server.stop(signal.SIGINT)

    def start(self) -> None:
        for _ in range(START_TRIES_MAX):
            try:
                self._server.start()
                return
            except RuntimeError:  # because processes of the one that was killed are still there for a moment
                time.sleep(0.1)
        self._server.start()


@contextmanager
def postgres(hosts: Sequence[str] = LOOPBACK) -> Iterator[Store]:
    """A server that runs until the block ends, and is reached at these addresses of this machine."""
    folder = Path(tempfile.mkdtemp(prefix="perdure-chaos-"))
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    store = Postgres(folder, hosts)
    try:
        store.start()
        yield store
    finally:
        store.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Maria:
    """MariaDB, which flushes its log at each commit, as it comes."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._server = MariaDb(f"--bind-address={','.join(hosts)}")
        self.port = self._server.port
        self._database = ""

    def url(self, host: str, port: int, lease_seconds: float) -> str:
        return f"mysql://{USER}@{host}:{port}/{self._database}?lease={lease_seconds:g}&shards={SHARDS}"

    def crash(self) -> None:
        self._server.kill()

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server.start()
        if not self._database:
            self._database = self._server.database()
            networks = ("127.0.0.1", *(network.replace("0.0/16", "%") for network in NETWORKS))
            for network in networks:
                self._server.run(f"create user '{USER}'@'{network}'", f"grant all on *.* to '{USER}'@'{network}'")

    def close(self) -> None:
        self._server.close()


@contextmanager
def mariadb(hosts: Sequence[str] = LOOPBACK) -> Iterator[Store]:
    """As `postgres`."""
    store = Maria(hosts)
    try:
        store.start()
        yield store
    finally:
        store.close()


class ValkeyStore:
    """Valkey, which syncs its log before it answers."""

    def __init__(self, folder: Path, hosts: Sequence[str]) -> None:
        self._server = Valkey(folder)
        self.port = self._server.port
        if len(hosts) > 1:
            with self._server.client() as client:
                client.config_set("bind", " ".join(hosts))
                client.config_set("protected-mode", "no")

    def url(self, host: str, port: int, lease_seconds: float) -> str:
        return f"valkey://{host}:{port}/0?lease={lease_seconds:g}&shards={SHARDS}"

    def crash(self) -> None:
        self._server.kill()

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server.restart()


@contextmanager
def valkey(hosts: Sequence[str] = LOOPBACK) -> Iterator[Store]:
    """As `postgres`."""
    folder = Path(tempfile.mkdtemp(prefix="perdure-chaos-"))
    store = ValkeyStore(folder, hosts)
    try:
        yield store
    finally:
        store.stop()
        shutil.rmtree(folder, ignore_errors=True)


STORES = {"postgres": postgres, "mariadb": mariadb, "valkey": valkey}
