"""A VFS of SQLite that notes in a trace what happens to files, while the system's own VFS does it."""

from __future__ import annotations

from itertools import count
from pathlib import PurePath

import apsw

from tests.power.trace import Deleted, Synced, Trace, Truncated, Wrote

SYSTEM = ""
"""The name under which SQLite knows the VFS of the system."""
LOGS = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL

_numbers = count(1)


class RecordingVfs(apsw.VFS):
    """Locks, shared memory and reads are the system's; changes and syncs are noted once they are done."""

    def __init__(self, trace: Trace) -> None:
        self.vfs_name = f"recording-{next(_numbers)}"
        self._trace = trace
        super().__init__(self.vfs_name, SYSTEM)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        if name is None:  # a temporary file, which nobody looks for after a cut
            return apsw.VFSFile(SYSTEM, name, flags)
        return RecordingFile(name, flags, self._trace)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        self._trace.append(Deleted(PurePath(filename).name, bool(syncdir)))


class RecordingFile(apsw.VFSFile):
    """One open file."""

    def __init__(self, name: str | apsw.URIFilename, flags: list[int], trace: Trace) -> None:
        self._name = PurePath(name.filename() if isinstance(name, apsw.URIFilename) else name).name
        self._trace = trace
        # because the system's VFS syncs the folder with the first sync of a log that it may have created
        self._syncs_folder = bool(flags[0] & apsw.SQLITE_OPEN_CREATE and flags[0] & LOGS)
        super().__init__(SYSTEM, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        super().xWrite(data, offset)
        self._trace.append(Wrote(self._name, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        super().xTruncate(newsize)
        self._trace.append(Truncated(self._name, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        self._trace.append(Synced(self._name, self._syncs_folder))
        self._syncs_folder = False
