"""A process of a node as a machine would start it: given arguments, given variables, nothing else."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from servers.ports import free_port

PATIENCE_SECONDS = 20.0
OWN = ("PERDURE_", "DAPR_", "APP_")
"""How variables begin that would change what a node does."""


def free_ports(count: int) -> list[int]:
    """Different ports of the loopback address that nobody listens on."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return list(ports)


class Node:
    """The process, and the states that it has told."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.states: list[dict[str, Any]] = []
        self.process = process
        self._unread = b""

    def wait_for(self, state: str) -> dict[str, Any]:
        """The line that tells the state."""
        assert self.process.stdout is not None
        ends = time.monotonic() + PATIENCE_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not any(told["state"] == state for told in self.states):
                assert selector.select(ends - time.monotonic()), (state, self.states)
                read = os.read(self.process.stdout.fileno(), 65_536)
                assert read, (state, self.states, self.process.communicate())
                *lines, self._unread = (self._unread + read).split(b"\n")
                self.states.extend(map(json.loads, lines))
        return next(told for told in self.states if told["state"] == state)

    def stop(self) -> int:
        """Its exit code after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)


@contextmanager
def started(arguments: Sequence[str], variables: Mapping[str, str], folder: Path) -> Iterator[Node]:
    """A `perdure` that runs in a folder; ended by force if the test has not ended it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
    process = subprocess.Popen(
        [sys.executable, "-m", "perdure", *arguments],
        cwd=folder,
        env={**inherited, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield Node(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
