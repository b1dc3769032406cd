"""The worker as its parent sees it: a process to start, to kill without a warning, or to ask to end."""

import os
import subprocess
import sys
from pathlib import Path

WORKER = Path(__file__).with_name("worker.py")
END_SECONDS = 20.0


class WorkerProcess:
    """One `python worker.py` on the store; its output goes to `log`."""

    def __init__(self, store: str, log: Path) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, str(WORKER)],
                env={**os.environ, "PERDURE_STORE": store},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.pid = self._process.pid

    def kill(self) -> None:
        """SIGKILL: it cannot finish a line, close a file or say goodbye."""
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """SIGTERM: it finishes what it has begun. Killing follows if that takes too long."""
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None
