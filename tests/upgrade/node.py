"""A node's process, of this version or of the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

PROGRAM = Path(__file__).with_name("program.py")
SECONDS_MAX = 30.0
"""Bound of a start, an end, and of a command."""


class Node:
    """A process that runs the program on the sources; it is open when this returns."""

    def __init__(self, sources: Path, url: str, ledger: Path) -> None:
        self._said = ledger.with_name(f"node-{time.monotonic_ns()}.log")
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, str(PROGRAM), url, str(ledger)],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                env=environment(sources),
            )
        wait_until(lambda: "open" in self.said, self)

    def __repr__(self) -> str:
        return f"node {self._process.pid}, {self._process.poll()}:\n{self.said}"

    @property
    def said(self) -> str:
        return self._said.read_text()

    def start(self, ids: list[str]) -> None:
        """Have it start journeys, each under its id."""
        assert self._process.stdin is not None, "it has a pipe"
        self._process.stdin.write("".join(f"{id}\n" for id in ids).encode())
        self._process.stdin.flush()

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def leave(self) -> None:
        """Leave in good order, having complained of nothing."""
        assert self._end(signal.SIGTERM) == 0, self
        assert "Traceback" not in self.said, self

    def close(self) -> None:
        if self._process.poll() is None:
            self.kill()

    def _end(self, how: signal.Signals) -> int:
        self._process.send_signal(how)
        if self._process.stdin is not None:
            self._process.stdin.close()
        return self._process.wait(SECONDS_MAX)


def command(sources: Path, *words: str, stdout: int | IO[bytes] = subprocess.PIPE) -> subprocess.Popen[str]:
    """The command line of the version whose sources these are."""
    return subprocess.Popen(
        [sys.executable, "-m", "perdure", *words],
        stdout=stdout,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(sources),
    )


def environment(sources: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(sources), "PYTHONDONTWRITEBYTECODE": "1"}


def wait_until(is_so: Callable[[], bool], about: object) -> None:
    """Look again and again; fails with what it is about."""
    ends = time.monotonic() + SECONDS_MAX
    while not is_so():
        assert time.monotonic() < ends, about
        time.sleep(0.02)
