"""Servers of a test's own that speak MongoDB's protocol: on free ports of loopback, with data in a folder given.

None is MongoDB itself, which no registry has: nx-27017 and FerretDB keep collections in SQLite, mongo-java-server keeps
them in memory. The latter two are built by scripts/mongo.py.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from servers.ports import free_port

START_SECONDS = 60.0
BUILT = Path(__file__).resolve().parent.parent / ".ci" / "out" / "mongo"
"""Where scripts/mongo.py has put what it built."""


class Mongo:
    """nx-27017."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        directory.mkdir(parents=True, exist_ok=True)
        self.process = self._start()

    def url(self, options: str = "", *, user: str = "", database: str = "shop") -> str:
        return f"mongodb://{user}127.0.0.1:{self.port}/{database}{options}"

    def client(self, **options: Any) -> MongoClient[dict[str, Any]]:
        """A plain client, for what a test does behind the store's back."""
        return MongoClient("127.0.0.1", self.port, retryWrites=False, **options)

    def clear(self) -> None:
        """All but the layout, whose indexes take their time."""
        with self.client() as client:
            for name in client.shop.list_collection_names():
                if name.startswith("perdure_") and name != "perdure_layout":
                    client.shop[name].delete_many({})

    def expire_leases(self) -> None:
        """As if their owners had been dead for long."""
        with self.client() as client:
            client.shop.perdure_shards.update_many({}, {"$set": {"until": 0}})

    def kill(self) -> None:
        """As kill -9 does."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.process = self._start()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def command(self) -> list[str]:
        where = ["--db", str(self.directory / "data.db"), "--log-file", str(self.directory / "nx.log")]
        return [
            sys.executable,
            "-m",
            "nx_27017.nx_27017",
            *("--host", "127.0.0.1", "--port", str(self.port), "--pid-file", str(self.directory / "pid")),
            *where,
        ]

    def _start(self) -> subprocess.Popen[bytes]:
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            try:
                with self.client(serverSelectionTimeoutMS=100) as client:
                    client.admin.command("ping")
                    return process
            except PyMongoError:
                time.sleep(0.05)
        process.kill()
        raise AssertionError((self.directory / "log").read_text())


class FerretDB(Mongo):
    """Version 1, with its own backend on SQLite."""

    def command(self) -> list[str]:
        return [
            str(BUILT / "ferretdb" / "ferretdb"),
            "--handler=sqlite",
            f"--sqlite-url=file:{self.directory}/",
            f"--state-dir={self.directory}",
            f"--listen-addr=127.0.0.1:{self.port}",
            "--debug-addr=-",
            "--log-level=error",
            "--telemetry=disable",
        ]


class JavaServer(Mongo):
    """mongo-java-server, in memory."""

    def command(self) -> list[str]:
        return ["java", "-Xmx512m", "-cp", f"{BUILT}/java/lib/*:{BUILT}/java", "Main", str(self.port)]
