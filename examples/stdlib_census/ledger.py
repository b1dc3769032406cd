"""Which activities really ran: a line for every attempt, in a file that outlives its writers."""

import os
from collections import Counter
from pathlib import Path

NAME = "attempts.txt"


def note(folder: str, what: str) -> None:
    """Add a line; appending is atomic, so that threads and processes may share the file."""
    file = os.open(Path(folder, NAME), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, f"{what}\n".encode())
    finally:
        os.close(file)


def attempts(folder: str) -> Counter[str]:
    """How often each activity was begun."""
    path = Path(folder, NAME)
    return Counter(path.read_text(encoding="utf-8").splitlines()) if path.exists() else Counter()
