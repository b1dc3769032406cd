"""Other processes of a measurement: started, read until they are ready, killed at the end; what each has used."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
END_SECONDS = 30.0
TICKS = os.sysconf("SC_CLK_TCK")


class Ended(Exception):
    """A process ended before it said what was waited for; its error is above."""


class Other:
    """A running process."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, bufsize=1
        )
        self.pid = self._process.pid

    def says(self, word: str) -> None:
        """Wait for a line with this word. Raises Ended."""
        assert self._process.stdout is not None
        if not any(word in line for line in self._process.stdout):
            raise Ended(f"process {self.pid} ended with {self._process.wait()} before it said {word!r}")

    def hear(self, line: str) -> None:
        """Give it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")

    def answer(self) -> dict[str, Any]:
        """Its next line, of JSON. Raises Ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Ended(f"process {self.pid} ended with {self._process.wait()} before it answered")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def asked(self, line: str) -> dict[str, Any]:
        """Give it a line and wait for its answer."""
        self.hear(line)
        return self.answer()

    def cpu_seconds(self) -> float:
        """CPU time of all its threads until now, the kernel's share included."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_mb(self) -> float:
        """Resident memory now, in MB of 1,000,000 bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line for line in status if line.startswith("VmRSS:")).split()[1]) * 1024 / 1e6

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(END_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


@contextmanager
def running(command: list[str], word: str) -> Iterator[Other]:
    """A process that has said `word`; killed at the end of the block."""
    process = Other(command)
    try:
        process.says(word)
        yield process
    finally:
        process.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
