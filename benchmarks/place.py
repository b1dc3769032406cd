"""Where the measured files lie: on a real disk, since fsync on a file system in memory costs nothing."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IN_MEMORY = frozenset({"tmpfs", "ramfs"})
MOUNTS = Path("/proc/self/mounts")


class NotOnDisk(Exception):
    """No folder on a disk was given or found: `--dir` names one."""


@contextmanager
def scratch(parent: Path | None) -> Iterator[Path]:
    """A new folder inside `parent` (else the first usable temporary folder), removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="perdure-bench-", dir=_checked(parent) if parent else _on_disk()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def file_system(path: Path) -> str:
    """The type of the file system that holds `path`, such as ext4."""
    resolved = path.resolve()
    mounts = (line.split()[1:3] for line in MOUNTS.read_text().splitlines())
    holding = [(len(Path(point).parts), kind) for point, kind in mounts if resolved.is_relative_to(point)]
    return max(holding, key=lambda mount: mount[0])[1]


def drop_cached_pages(folder: Path) -> None:
    """Ask the kernel to forget the pages of the files in `folder`, so that the next reader reads the disk."""
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _checked(parent: Path) -> Path:
    if file_system(parent) in IN_MEMORY:
        raise NotOnDisk(f"{parent} is in memory ({file_system(parent)}): give a folder on a disk with --dir")
    return parent


def _on_disk() -> Path:
    for candidate in (Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd()):
        if candidate.is_dir() and file_system(candidate) not in IN_MEMORY:
            return candidate
    raise NotOnDisk("no temporary folder on a disk: give one with --dir")
