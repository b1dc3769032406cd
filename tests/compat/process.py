"""A process under test whose output goes to a file, so that what it said is there after it has been killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

POLL_SECONDS = 0.02
STOP_SECONDS = 10.0
"""How long a process may take to end after SIGTERM before it is killed."""
TAIL_LINES = 15
"""How much of its output a failure shows."""


class Process:
    """A started command and the group of its children."""

    def __init__(self, command: list[str], log: Path, *, cwd: Path, env: dict[str, str]) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output, log.with_suffix(".err").open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Also the number of its session."""
        return self._process.pid

    def lines(self) -> list[str]:
        """The lines of standard output so far; while it runs, whole ones alone."""
        ended = self.code() is not None
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return (text if ended else text[: text.rfind("\n") + 1]).splitlines()

    def code(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    def wait(self, ready: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait until `ready`. Raises AssertionError, with the output, when it ends before or takes too long."""
        deadline = time.monotonic() + seconds
        while not ready():
            assert self.code() is None, f"ended with {self.code()} before {what}\n{self.tail()}"
            assert time.monotonic() < deadline, f"no {what} within {seconds:.0f} s\n{self.tail()}"
            time.sleep(POLL_SECONDS)

    def tail(self) -> str:
        """The end of what it printed."""
        errors = self.log.with_suffix(".err").read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([*self.lines()[-TAIL_LINES:], *errors[-TAIL_LINES:]])

    def kill(self) -> None:
        """SIGKILL to the process and all its children, and wait for its end."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to what is left."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass  # because the kill below is the answer to that
        self.kill()

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            pass  # because it has already gone
