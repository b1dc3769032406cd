"""Which process owns a SQLite file: a lock that the kernel frees when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import socket
import time
import weakref
from pathlib import Path

import msgspec

from perdure.errors import StoreNotUsable


class Mark(msgspec.Struct, frozen=True):
    """How far a shard was: its epoch, and the token of its last commit if its owner has closed in good order."""

    epoch: int
    token: str | None = None

    def is_ahead_of(self, epoch: int, token: str | None) -> bool:
        """Whether a store that is there now is older. One that nobody has owned yet is no copy but a new one."""
        if epoch == self.epoch:
            return self.token is not None and token != self.token
        return 0 < epoch < self.epoch


class Holder(msgspec.Struct, frozen=True):
    """Who wrote the lock file; `since` is in microseconds since 1970 UTC. `marks` are those of all owners so far."""

    pid: int
    host: str
    owner: str
    since: int
    marks: dict[int, Mark] = {}

    def __str__(self) -> str:
        return f"{self.owner} (process {self.pid} on {self.host})"


class FileOwnership:
    """An exclusive lock on `<file>.owner`, which says who holds it and how far the owners have brought the store.

    The file is never removed, because a lock on a removed file would exclude nobody.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._holder: Holder | None = None
        _held.add(self)

    def take(self, owner: str) -> bool:
        """Lock the file; False if somebody else has, in this process or another. Again is no change."""
        if self._descriptor is not None:
            return True
        descriptor = self._open()
        if not _lock(descriptor):
            os.close(descriptor)
            return False
        last = _read(descriptor)
        self._descriptor = descriptor
        marks = {} if last is None else last.marks
        self._write(Holder(os.getpid(), socket.gethostname(), owner, time.time_ns() // 1000, marks))
        return True

    @property
    def marks(self) -> dict[int, Mark]:
        """How far this owner and those before have brought each shard."""
        return {} if self._holder is None else self._holder.marks

    def mark(self, marks: dict[int, Mark]) -> None:
        """Write down how far shards are, while the lock is held."""
        if self._holder is not None:
            self._write(msgspec.structs.replace(self._holder, marks={**self._holder.marks, **marks}))

    def _write(self, holder: Holder) -> None:
        assert self._descriptor is not None
        data = msgspec.json.encode(holder)
        os.pwrite(self._descriptor, data, 0)
        os.ftruncate(self._descriptor, len(data))
        self._holder = holder

    def drop(self) -> None:
        """Free the lock, if it is held here."""
        descriptor, self._descriptor, self._holder = self._descriptor, None, None
        if descriptor is not None:
            os.close(descriptor)

    def holder(self) -> Holder | None:
        """Who holds the lock now. None: nobody, or somebody who has not yet said."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._not_usable(error) from error
        try:
            if self._descriptor is None and _lock(descriptor):
                return None
            return _read(descriptor)
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._not_usable(error) from error

    def _not_usable(self, error: OSError) -> StoreNotUsable:
        return StoreNotUsable(f"the lock file {self._path} cannot be opened: {error.strerror}; make it writable")


def _read(descriptor: int) -> Holder | None:
    try:
        return msgspec.json.decode(os.pread(descriptor, 65_536, 0), type=Holder)
    except msgspec.DecodeError:
        return None


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


_held: weakref.WeakSet[FileOwnership] = weakref.WeakSet()


def _drop_in_child() -> None:
    # because a lock belongs to the open file, which a child shares, and would outlive the parent there
    for ownership in _held:
        ownership.drop()


os.register_at_fork(after_in_child=_drop_in_child)
