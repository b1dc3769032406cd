"""What the running process has used: wall time, CPU time of all its threads, resident memory (Linux)."""

import time
from pathlib import Path
from types import TracebackType

STATUS = Path("/proc/self/status")


class Meter:
    """Seconds of wall and CPU time spent inside the `with` block."""

    def __enter__(self) -> "Meter":
        self.wall = time.perf_counter()
        self.cpu = time.process_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wall = time.perf_counter() - self.wall
        self.cpu = time.process_time() - self.cpu

    def each(self, count: int) -> dict[str, float]:
        """The sample of one unit of work of which `count` were done."""
        return {"wall_s": self.wall / count, "cpu_s": self.cpu / count, "count": count}


def resident_mb() -> float:
    """Resident memory now, in MB of 1,000,000 bytes."""
    return _kib("VmRSS") * 1024 / 1e6


def peak_resident_mb() -> float:
    """The most that was ever resident in this process image.

    Not getrusage's ru_maxrss, because that survives exec: it would show the parent's memory.
    """
    return _kib("VmHWM") * 1024 / 1e6


def _kib(field: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field + ":"))
    return int(line.split()[1])
