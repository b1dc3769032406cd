"""Where offloaded payloads lie: a directory, or an object store behind obstore."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from perdure.codec.durable import make_directory, remove_durably, sync_directory, write_durably
from perdure.errors import BlobMissing, BlobsUnavailable, InvalidArgument

if TYPE_CHECKING:
    from obstore.store import ObjectStore


class Blobs(Protocol):
    """Bytes by name. A name is `DAY/DIGEST`, letters, digits and one slash; the same name always means the same bytes.

    All four raise BlobsUnavailable if the place does not answer or refuses.
    """

    async def write(self, name: str, data: bytes) -> None:
        """Keep the bytes; returns when no crash can take them away. Writing them again is fine."""

    async def read(self, name: str) -> bytes:
        """Raises BlobMissing."""

    async def delete(self, name: str) -> None:
        """Forget the bytes; fine if they are not there."""

    def names(self) -> AsyncIterator[str]:
        """All names there are, and whatever a crash has left."""


class Directory:
    """Blobs as files of a directory, which all processes of the app can reach. Files are written by threads."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = make_directory(Path(path))

    async def write(self, name: str, data: bytes) -> None:
        await asyncio.to_thread(self._write, name, data)

    async def read(self, name: str) -> bytes:
        return await asyncio.to_thread(self._read, name)

    async def delete(self, name: str) -> None:
        await asyncio.to_thread(self._delete, name)

    async def names(self) -> AsyncIterator[str]:
        for name in await asyncio.to_thread(self._names):
            yield name

    def _write(self, name: str, data: bytes) -> None:
        path = self._path / name
        try:
            if not path.parent.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
                sync_directory(self._path)
            write_durably(path, data)
        except OSError as error:
            raise BlobsUnavailable(f"{os.fspath(path)!r} cannot be written: {error}") from error

    def _read(self, name: str) -> bytes:
        path = self._path / name
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise _missing(name, self) from None
        except OSError as error:
            raise BlobsUnavailable(f"{os.fspath(path)!r} cannot be read: {error}") from error

    def _delete(self, name: str) -> None:
        try:
            if (self._path / name).exists():
                remove_durably(self._path / name)
        except OSError as error:
            raise BlobsUnavailable(f"{name!r} in {os.fspath(self._path)!r} cannot be deleted: {error}") from error

    def _names(self) -> list[str]:
        try:
            return [f"{path.parent.name}/{path.name}" for path in self._path.glob("*/*")]
        except OSError as error:
            raise BlobsUnavailable(f"{os.fspath(self._path)!r} cannot be listed: {error}") from error

    def __repr__(self) -> str:
        return f"<Directory {os.fspath(self._path)}>"


class Objects:
    """Blobs as objects of S3, Google Cloud Storage, Azure or what else obstore knows.

    `store` is a URL ("s3://bucket/prefix") with obstore's options (`region=...`, `endpoint=...`), or a store of
    obstore's. Without options obstore reads the environment's credentials. Needs the extra `perdure[objects]`.
    """

    def __init__(self, store: str | ObjectStore, **options: Any) -> None:
        try:
            from obstore.store import from_url
        except ImportError:
            raise InvalidArgument('object stores need the package obstore: pip install "perdure[objects]"') from None
        if not isinstance(store, str):
            self._store: ObjectStore = store
            return
        try:
            self._store = from_url(store, **options)
        except Exception as error:  # because each kind of store has errors of its own
            raise InvalidArgument(f"{store!r} cannot be used as an object store: {error}") from error

    async def write(self, name: str, data: bytes) -> None:
        import obstore

        try:
            await obstore.put_async(self._store, name, data)
        except Exception as error:
            raise self._unavailable("written", name, error) from error

    async def read(self, name: str) -> bytes:
        import obstore

        try:
            found = await obstore.get_async(self._store, name)
            return bytes(await found.bytes_async())
        except FileNotFoundError:
            raise _missing(name, self) from None
        except Exception as error:
            raise self._unavailable("read", name, error) from error

    async def delete(self, name: str) -> None:
        import obstore

        try:
            await obstore.delete_async(self._store, name)
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._unavailable("deleted", name, error) from error

    async def names(self) -> AsyncIterator[str]:
        import obstore

        try:
            async for page in obstore.list(self._store):
                for entry in page:
                    yield entry["path"]
        except Exception as error:
            raise self._unavailable("listed", "objects", error) from error

    def _unavailable(self, what: str, name: str, error: Exception) -> BlobsUnavailable:
        return BlobsUnavailable(f"{name!r} cannot be {what} in {self._store!r}: {error}")

    def __repr__(self) -> str:
        return f"<Objects {self._store!r}>"


def open_blobs(given: str | os.PathLike[str] | Blobs) -> Blobs:
    """The place that an address means: a URL of an object store, or a directory."""
    if isinstance(given, str) and "://" in given:
        return Objects(given)
    if isinstance(given, str | os.PathLike):
        return Directory(given)
    if not callable(getattr(given, "write", None)):
        raise InvalidArgument(
            f"offload is a {type(given).__name__}; give a directory, a URL such as s3://bucket, or a Blobs object"
        )
    return given


def _missing(name: str, where: object) -> BlobMissing:
    return BlobMissing(f"the payload {name!r} is not in {where!r}; bring it back from a backup, then resume")
