"""Key rings: which key a payload is written under, and the keys by which older ones are read."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from perdure.errors import InvalidArgument, KeyMissing

KEY_BYTES = 32
"""Length of a key: AES-256."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Keys(Protocol):
    """Chooses and holds keys. Both are asked on the event loop, once for each payload, and so must be quick."""

    is_personal: bool
    """Whether the choice depends on the instance that a payload is for."""

    def choose(self, tags: Mapping[str, str] | None, beside: str | None) -> str:
        """The id of the key to write with.

        `tags` are those of the instance that the payload is for; `beside` is the key id of a payload that it belongs
        to, such as the input of the call whose result it is; None where there is none, or a plain one.
        """

    def secret(self, id: str) -> bytes:
        """The 32 bytes of a key. Raises KeyMissing."""

    def fingerprint(self) -> str:
        """Changes when keys come or go, so that what stalled for want of one is tried again."""


class KeyRing:
    """Keys by id: `current` writes, all read. To rotate, add a key and make it current; drop the old one when no
    payload is left that needs it.

    A key is 32 bytes, or their base64. Ids are letters, digits, `_` and `-`; the first key is current if nothing
    is said.
    """

    is_personal = False

    def __init__(self, keys: Mapping[str, bytes | str], *, current: str | None = None) -> None:
        if not keys:
            raise InvalidArgument("a key ring needs a key; KeyRing.new_key() makes one")
        self._keys = {_checked_id(id): _checked_key(id, key) for id, key in keys.items()}
        self.current = current if current is not None else next(iter(self._keys))
        if self.current not in self._keys:
            raise InvalidArgument(f"the current key {current!r} is not in the ring; there are: {', '.join(keys)}")

    @staticmethod
    def new_key() -> str:
        """A fresh random key as base64."""
        return base64.b64encode(os.urandom(KEY_BYTES)).decode()

    @classmethod
    def parse(cls, text: str) -> KeyRing:
        """The ring that a text names: `id=base64`, one a line or with commas between, the first one current.

        Empty lines and those that begin with # say nothing. Raises InvalidArgument.
        """
        lines = (line.split("#")[0] if line.lstrip().startswith("#") else line for line in text.splitlines())
        entries = [entry.strip() for line in lines for entry in line.split(",") if entry.strip()]
        keys: dict[str, bytes | str] = {}
        for entry in entries:
            id, equals, key = entry.partition("=")
            if not equals or id.strip() in keys:
                raise InvalidArgument("a key ring is written id=base64, each id once; KeyRing.new_key() makes a key")
            keys[id.strip()] = key.strip()
        return cls(keys)

    @classmethod
    def from_env(cls, name: str = "PERDURE_KEYS") -> KeyRing:
        """The ring in an environment variable, as `parse` reads it. Raises InvalidArgument if it is not set."""
        text = os.environ.get(name)
        if not text:
            raise InvalidArgument(f"the environment has no {name}; set it to id=base64, the current key first")
        return cls.parse(text)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> KeyRing:
        """The ring in a file, as `parse` reads it. Raises InvalidArgument if there is none that can be read."""
        try:
            return cls.parse(Path(path).read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidArgument(f"the key file {os.fspath(path)!r} cannot be read: {error}") from error

    def choose(self, tags: Mapping[str, str] | None, beside: str | None) -> str:
        return self.current

    def secret(self, id: str) -> bytes:
        key = self._keys.get(id)
        if key is None:
            raise KeyMissing(f"key {id!r} is not in the ring (there are: {', '.join(self._keys)}); add it to read on")
        return key

    def fingerprint(self) -> str:
        held = "".join(f"{id}{hashlib.sha256(key).hexdigest()}" for id, key in sorted(self._keys.items()))
        return hashlib.sha256(held.encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"<KeyRing: {self.current} writes, {', '.join(self._keys)} read>"


def _checked_id(id: str) -> str:
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise InvalidArgument(f"key id {id!r} is not 1 to 64 letters, digits, '_' and '-'")
    return id


def _checked_key(id: str, key: bytes | str) -> bytes:
    try:
        data = base64.b64decode(key, validate=True) if isinstance(key, str) else bytes(key)
    except (binascii.Error, ValueError, TypeError):
        data = b""
    if len(data) != KEY_BYTES:
        raise InvalidArgument(f"key {id!r} is not {KEY_BYTES} bytes, nor their base64; KeyRing.new_key() makes one")
    return data
