"""The ledger: what really ran, in files that outlive every process, and the gates at which code stops."""

import os
import time
from pathlib import Path

FOLDER = Path(os.environ["COMPAT_LEDGER"])
GATE_SECONDS = 60.0
WORK_SECONDS = 0.03


def note(name: str) -> int:
    """Append a line to a file and return how many it has now."""
    _append(name, "ran")
    return count(name)


def work(name: str) -> None:
    """Take a while; append when it began and when it was done, in milliseconds since 1970 UTC."""
    for word in ("begun", "done"):
        if word == "done":
            time.sleep(WORK_SECONDS)
        _append(name, f"{word} {time.time_ns() // 1_000_000}")


def _append(name: str, line: str) -> None:
    with (FOLDER / name).open("a") as file:
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())


def count(name: str) -> int:
    """How many lines a file has."""
    path = FOLDER / name
    return len(path.read_text().splitlines()) if path.exists() else 0


def gate(name: str) -> None:
    """Stop here the first time, until the process is killed; go on at once when the gate is there already."""
    path = FOLDER / f"{name}-gate"
    if not path.exists():
        path.touch()
        time.sleep(GATE_SECONDS)


def at_gate(name: str) -> bool:
    """Whether the code has come to the gate."""
    return (FOLDER / f"{name}-gate").exists()
