"""AES-256-GCM over payloads: nonces, derived keys, and what the encryption binds a payload to.

Each process encrypts under keys of its own, derived (HKDF-SHA256) from the named key and a random salt, so that the
bound on random nonces (NIST SP 800-38D, 8.3) holds for each process and not for all there ever are. An encrypted
payload is salt, nonce and ciphertext with its tag.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING

from perdure.codec.keys import KEY_BYTES, Keys
from perdure.errors import InvalidArgument, PayloadTampered

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NAME = "a256gcm"
SALT_BYTES = 16
NONCE_BYTES = 12
TAG_BYTES = 16
OVERHEAD_BYTES = SALT_BYTES + NONCE_BYTES + TAG_BYTES
"""How much longer encrypted data is."""
MESSAGES_MAX = 2**24
"""Payloads that are encrypted under one derived key before a new salt is drawn; two equal nonces among them have a
chance below 2**-48."""
_INFO = b"perdure payload 1"


class Cipher:
    """Encrypts and decrypts with the keys it is given. Any thread may call it."""

    def __init__(self, keys: Keys) -> None:
        _require_library()
        self._keys = keys
        self._salt = os.urandom(SALT_BYTES)
        self._left = MESSAGES_MAX

    def encrypt(self, key: str, data: bytes, about: bytes) -> bytes:
        """`data` under the key of that id, bound to `about`. Raises KeyMissing."""
        secret = self._keys.secret(key)
        self._left -= 1
        if self._left <= 0:
            self._salt, self._left = os.urandom(SALT_BYTES), MESSAGES_MAX
        salt, nonce = self._salt, os.urandom(NONCE_BYTES)
        return salt + nonce + _derived(secret, salt).encrypt(nonce, data, about)

    def decrypt(self, key: str, data: bytes, about: bytes) -> bytes:
        """What was encrypted. Raises KeyMissing; PayloadTampered if data, key or `about` is not what it was."""
        from cryptography.exceptions import InvalidTag

        secret = self._keys.secret(key)
        salt, nonce, text = (
            data[:SALT_BYTES],
            data[SALT_BYTES : SALT_BYTES + NONCE_BYTES],
            data[SALT_BYTES + NONCE_BYTES :],
        )
        if len(text) < TAG_BYTES:
            raise _tampered(key)
        try:
            return _derived(secret, salt).decrypt(nonce, text, about)
        except InvalidTag:
            raise _tampered(key) from None


@lru_cache(maxsize=1024)
def _derived(secret: bytes, salt: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return AESGCM(HKDF(SHA256(), KEY_BYTES, salt, _INFO).derive(secret))


def _tampered(key: str) -> PayloadTampered:
    return PayloadTampered(
        f"a payload does not decrypt with key {key!r}: it was changed in the store, or the key of that id here is "
        "another one than it was written with"
    )


def _require_library() -> None:
    """Import what encryption needs, so that the first payload does not wait for it."""
    try:
        import cryptography.hazmat.primitives.ciphers.aead
        import cryptography.hazmat.primitives.kdf.hkdf  # noqa: F401 because `_derived` finds it loaded
    except ImportError:
        raise InvalidArgument('encryption needs the package cryptography: pip install "perdure[crypto]"') from None
