"""A key for each person, in a directory apart from the store: who erases the key, erases the person's payloads."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from perdure.codec.cipher import Cipher
from perdure.codec.durable import make_directory, remove_durably, sync_directory, write_durably
from perdure.codec.keys import KEY_BYTES, KeyRing
from perdure.errors import InvalidArgument, KeyMissing

_ABOUT = b"perdure person key 1 "
_PERSONAL = re.compile(r"p\.[0-9a-f]{24}\.[0-9a-f]{8}")
PREFIX = "p."
"""Begins the id of a person's key, `p.PERSON.RANDOM`: 24 digits of the person's SHA-256, and 8 random ones.

It lies in the file `PERSON/RANDOM`, so that no look for a key reads a directory of all persons.
"""


class PersonalKeys:
    """Payloads of instances with the tag `person` are written under a key of that person, others under the ring's.

    The key is made when the person is first met, and kept in `directory` as a file of its own, encrypted with the
    ring's current key. What a run passes on (calls, results, children without the tag, events) stays under the key of
    its input. Processes that share a store share the directory. Keep it out of the store's backups: a copy of a key
    brings back what was erased.
    """

    is_personal = True

    def __init__(self, ring: KeyRing, directory: str | os.PathLike[str], *, tag: str = "person") -> None:
        if not isinstance(ring, KeyRing):
            raise InvalidArgument(f"ring is a {type(ring).__name__}; give a KeyRing")
        self._ring = ring
        self._directory = make_directory(Path(directory), private=True)
        self._tag = tag
        self._cipher = Cipher(ring)
        self._read: dict[str, tuple[int, bytes]] = {}

    def choose(self, tags: Mapping[str, str] | None, beside: str | None) -> str:
        person = (tags or {}).get(self._tag)
        if beside is not None and beside.startswith(_prefix(person)):
            return beside
        return self._key_of(person) if person is not None else self._ring.current

    def secret(self, id: str) -> bytes:
        if not _PERSONAL.fullmatch(id):
            return self._ring.secret(id)
        try:
            changed = self._path(id).stat().st_mtime_ns  # because another process may have erased it
            known = self._read.get(id)
            if known is not None and known[0] == changed:
                return known[1]
            secret = self._unwrapped(id)
        except FileNotFoundError:
            self._read.pop(id, None)
            raise KeyMissing(
                f"key {id!r} is not in {os.fspath(self._directory)!r}: it was erased, or this is another "
                "directory than it was made in"
            ) from None
        self._read[id] = (changed, secret)
        return secret

    def erase(self, person: str) -> int:
        """Delete the keys of a person; how many there were. What was written under them can never be read again.

        Other processes notice at their next use. Instances of the person that are not finished stall; terminate them.
        """
        home = self._directory / _digest(person)
        found = self._ids(home)
        for id in found:
            self._read.pop(id, None)
            remove_durably(self._path(id))
        if found:
            home.rmdir()
            sync_directory(self._directory)
        return len(found)

    def rewrap(self) -> int:
        """Encrypt all personal keys with the ring's current key, so that an older one can be dropped; how many."""
        found = [id for home in self._directory.iterdir() for id in self._ids(home)]
        for id in found:
            self._store(id, self._unwrapped(id))
        return len(found)

    def fingerprint(self) -> str:
        return self._ring.fingerprint()

    def _key_of(self, person: str) -> str:
        home = self._directory / _digest(person)
        existing = min(self._ids(home), default=None)
        if existing is not None:
            return existing
        # random digits, because a person who comes back after an erasure must not meet the old payloads
        id = f"{_prefix(person)}{os.urandom(4).hex()}"
        try:
            make_directory(home, private=True)
            self._store(id, os.urandom(KEY_BYTES))
            sync_directory(self._directory)
        except OSError as error:
            raise KeyMissing(f"a person's key cannot be written to {os.fspath(home)!r}: {error}") from error
        return id

    def _ids(self, home: Path) -> list[str]:
        """The ids of the keys in a person's directory."""
        return [f"{PREFIX}{home.name}.{path.name}" for path in home.glob("*[0-9a-f]")] if home.is_dir() else []

    def _path(self, id: str) -> Path:
        _, person, name = id.split(".")
        return self._directory / person / name

    def _store(self, id: str, secret: bytes) -> None:
        wrapped = self._cipher.encrypt(self._ring.current, secret, _ABOUT + id.encode())
        write_durably(self._path(id), self._ring.current.encode() + b"\n" + wrapped)

    def _unwrapped(self, id: str) -> bytes:
        wrapping, _, wrapped = self._path(id).read_bytes().partition(b"\n")
        return self._cipher.decrypt(wrapping.decode("ascii", "replace"), wrapped, _ABOUT + id.encode())

    def __repr__(self) -> str:
        return f"<PersonalKeys by tag {self._tag} in {os.fspath(self._directory)!r}, {self._ring!r}>"


def _prefix(person: str | None) -> str:
    """How the ids of a person's keys begin; those of everybody's for None."""
    return PREFIX if person is None else f"{PREFIX}{_digest(person)}."


def _digest(person: str) -> str:
    return hashlib.sha256(person.encode()).hexdigest()[:24]
