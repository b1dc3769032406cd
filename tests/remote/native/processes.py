"""Servers and workers that are processes of their own, so that they can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from servers.ports import free_port

ROOT = Path(__file__).parents[3]
READY_SECONDS = 30.0
LOOK_SECONDS = 0.02


class Process:
    """A command whose output goes to a file."""

    def __init__(self, log: Path, *command: str, env: dict[str, str] | None = None) -> None:
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=log.parent,
                env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **(env or {})},
                start_new_session=True,
            )

    def kill(self) -> None:
        """kill -9."""
        self._signal(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self._signal(signal.SIGTERM)
        return self._process.returncode

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def until(self, word: str, seconds: float = READY_SECONDS) -> None:
        """Wait until the output has the word."""
        ends = time.monotonic() + seconds
        while word not in self.output:
            assert self._process.poll() is None, f"ended with {self._process.returncode}:\n{self.output}"
            assert time.monotonic() < ends, f"no {word!r} in time:\n{self.output}"
            time.sleep(LOOK_SECONDS)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)
        self._process.wait(READY_SECONDS)


class ServerProcess:
    """`perdure serve` on one port and one store, however often it is killed."""

    def __init__(self, folder: Path, app: str = "shop", *options: str, env: dict[str, str] | None = None) -> None:
        self.port = free_port()
        self.url = f"grpc://127.0.0.1:{self.port}"
        self.store = f"sqlite:///{folder}/server.db"
        self._folder = folder
        self._options = ("--app-id", app, *options)
        self._env = env
        self._starts = 0
        self.process = self._start()

    def kill_and_restart(self) -> None:
        self.process.kill()
        self.process = self._start()

    def stop(self) -> int:
        return self.process.stop()

    def _start(self) -> Process:
        self._starts += 1
        command = (sys.executable, "-m", "perdure", "serve", "--store", self.store, "--no-http")
        process = Process(
            self._folder / f"server-{self._starts}.log",
            *command,
            "--grpc-port",
            str(self.port),
            *self._options,
            env=self._env,
        )
        process.until("owner")
        return process
