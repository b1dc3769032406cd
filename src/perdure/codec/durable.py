"""Files that are whole or not there, and that a power cut does not take away."""

from __future__ import annotations

import os
from pathlib import Path

from perdure.errors import InvalidArgument

PART = ".part"
"""Ends the name of a file that is being written; one that stays was left by a crash."""


def make_directory(path: Path, *, private: bool = False) -> Path:
    """The directory, made if it is not there. Raises InvalidArgument if it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700 if private else 0o777)
    except OSError as error:
        raise InvalidArgument(f"the directory {os.fspath(path)!r} cannot be made: {error}") from error
    return path


def write_durably(path: Path, data: bytes) -> None:
    """Write a file under its name when it is whole and on the disk, in place of one that is there. Raises OSError."""
    part = path.with_name(f"{path.name}.{os.urandom(4).hex()}{PART}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def remove_durably(path: Path) -> None:
    """Remove a file, if it is there, for good. Raises OSError."""
    path.unlink(missing_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Write what a directory says of its files to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
