"""The codec chain: what a payload is packed in on its way to the store, and unpacked from on its way to code.

The encoding of a packed payload tells the steps in order: `json+zstd+a256gcm+blob` is JSON, compressed, encrypted,
offloaded. Its data is base64 of the bytes, or for a blob the name and size under which they lie elsewhere.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import copy
import hashlib
import os
from collections.abc import Callable, Mapping

import msgspec
from msgspec import Raw

from perdure.clock import Clock, SystemClock, to_datetime
from perdure.codec import cipher, compression
from perdure.codec.blobs import Blobs, open_blobs
from perdure.codec.cipher import Cipher
from perdure.codec.keys import Keys
from perdure.codec.values import (
    PAYLOAD_BYTES_MAX,
    Confidential,
    Payload,
    Writer,
    is_packed,
    unreadable,
)
from perdure.errors import BlobMissing, InvalidArgument, NotDecodable, PayloadTampered, PayloadTooLarge

BLOB = "blob"
OFFLOAD_BYTES = 256 * 1024
"""Payloads above it are offloaded, unless the codec says otherwise."""
VALUE_BYTES_MAX = 256 * 1024 * 1024
"""Bound of one value where a codec makes it small enough for the store: the bound of a payload is on what is stored."""
QUICK_BYTES = 64 * 1024
"""Payloads up to it are packed and unpacked on the event loop (about a millisecond), larger ones in a thread."""
GAIN_MIN = 0.1
"""A payload stays compressed if that takes at least this share off what is stored."""
_BASE64_GROWTH = 4 / 3


class Blob(msgspec.Struct, frozen=True, gc=False):
    """Bytes that are to lie in the blobs under a name before anything refers to it."""

    name: str
    data: bytes


class Codec:
    """How payloads are packed: compressed, encrypted, offloaded. An app and its clients share one.

    `compress`: payloads of more than 4,096 bytes (True), or of more than so many. `keys`: a KeyRing, or PersonalKeys.
    `offload`: a directory, a URL such as s3://bucket/prefix, or Blobs, for what is larger than `offload_above` bytes
    once compressed and encrypted. `context`: text that encryption binds to; a payload reads only under the same. What
    was written under another codec still reads as long as keys and blobs are there; plain payloads always do.
    """

    def __init__(
        self,
        *,
        compress: bool | int = False,
        keys: Keys | None = None,
        offload: str | os.PathLike[str] | Blobs | None = None,
        offload_above: int = OFFLOAD_BYTES,
        context: str = "",
        clock: Clock | None = None,
    ) -> None:
        self.keys = _checked_keys(keys)
        self.blobs = open_blobs(offload) if offload is not None else None
        self._compress_above = _checked_compress(compress)
        self._offload_above = _checked_bytes("offload_above", offload_above)
        self._cipher = Cipher(keys) if keys is not None else None
        self._context = context
        self._clock = clock or SystemClock()
        shrinks = self.blobs is not None or self._compress_above is not None
        self.writer = Writer(VALUE_BYTES_MAX if shrinks else PAYLOAD_BYTES_MAX, secrets=keys is not None)

    def with_blobs(self, blobs: Blobs) -> Codec:
        """The same codec with another place for what it offloads."""
        twin = copy.copy(self)
        twin.blobs = blobs
        return twin

    # -- packing --------------------------------------------------------------------------------------------------

    def key_for(self, tags: Mapping[str, str] | None, beside: str | None) -> str | None:
        """The id of the key to pack with, None without keys. See `Keys.choose`."""
        return self.keys.choose(tags, beside) if self.keys is not None else None

    def pack(self, payload: Payload, key: str | None, *, offloads: bool = True) -> tuple[Payload, Blob | None]:
        """The payload as the store is to hold it, and the blob that must be there first. Raises PayloadTooLarge."""
        if is_packed(payload):
            return payload, None
        data = bytes(payload.data)
        encoding, data = self._compressed(payload.encoding, data, key)
        if key is not None:
            assert self._cipher is not None
            encoding = f"{encoding}+{cipher.NAME}"
            data = self._cipher.encrypt(key, data, self._about(encoding, key))
        if offloads and self.blobs is not None and len(data) > self._offload_above:
            return self._offloaded(encoding, key, data)
        if not encoding.endswith(payload.encoding):
            payload = Payload(encoding, key, Raw(b'"' + base64.b64encode(data) + b'"'))
        if len(payload.data) > PAYLOAD_BYTES_MAX:
            raise PayloadTooLarge(
                f"the value takes {len(payload.data):,} bytes in the store and the bound is {PAYLOAD_BYTES_MAX:,}; "
                "store it elsewhere and pass its address, or give the codec offload=..."
            )
        return payload, None

    async def packed(self, payload: Payload, key: str | None, *, offloads: bool = True) -> Payload:
        """As `pack`, with the blob written. Raises BlobsUnavailable too. Large payloads are worked on in a thread."""
        if self.is_quick(payload):
            packed, blob = self.pack(payload, key, offloads=offloads)
        else:
            packed, blob = await asyncio.to_thread(self.pack, payload, key, offloads=offloads)
        if blob is not None:
            assert self.blobs is not None
            await self.blobs.write(blob.name, blob.data)
        return packed

    def is_quick(self, payload: Payload) -> bool:
        """Whether the payload can be packed or unpacked on the event loop: it is small, and no blob."""
        if payload.encoding.endswith(f"+{BLOB}"):
            return False
        size = len(payload.data)
        stays = self.blobs is None or is_packed(payload) or size + cipher.OVERHEAD_BYTES <= self._offload_above
        return size <= QUICK_BYTES and stays

    # -- unpacking ------------------------------------------------------------------------------------------------

    def unpack(self, payload: Payload, blob: bytes | None = None) -> Payload:
        """The plain payload. `blob` holds the bytes if it is offloaded.

        Raises KeyMissing, PayloadTampered, or NotDecodable for a step that is not known here.
        """
        if not is_packed(payload):
            return payload
        base, *steps = payload.encoding.split("+")
        data = _checked_blob(payload, blob) if steps[-1] == BLOB else _from_base64(payload)
        for end in range(len(steps), 0, -1):
            encoding = "+".join((base, *steps[:end]))
            data = self._undone(steps[end - 1], encoding, payload, data)
        kind = Confidential if payload.key is not None else Payload
        return kind(base, None, Raw(data))

    async def unpacked(self, payload: Payload) -> Payload:
        """As `unpack`, with the blob read. Raises BlobMissing and BlobsUnavailable too."""
        if self.is_quick(payload):
            return self.unpack(payload)
        blob = None
        if payload.encoding.endswith(f"+{BLOB}"):
            name = reference(payload)
            if self.blobs is None:
                raise BlobMissing(f"the payload {name!r} is offloaded and the codec has no offload=... to find it by")
            blob = await self.blobs.read(name)
        return await asyncio.to_thread(self.unpack, payload, blob)

    def fingerprint(self) -> str:
        """Changes with what can be unpacked, so that what stalled is tried again."""
        keys = self.keys.fingerprint() if self.keys is not None else ""
        text = f"{keys}|{self.blobs!r}|{self._context}|{compression.best()}"
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    # -- steps ----------------------------------------------------------------------------------------------------

    def _compressed(self, encoding: str, data: bytes, key: str | None) -> tuple[str, bytes]:
        if self._compress_above is None or len(data) <= self._compress_above:
            return encoding, data
        name = compression.best()
        smaller = compression.compress(name, data)
        growth = _BASE64_GROWTH if key is None else 1.0  # because what is encrypted is base64 in any case
        gains = len(smaller) * growth <= len(data) * (1 - GAIN_MIN)
        return (f"{encoding}+{name}", smaller) if gains else (encoding, data)

    def _offloaded(self, encoding: str, key: str | None, data: bytes) -> tuple[Payload, Blob]:
        # the day is in the name, so that a sweep of old days never meets a name that somebody is about to use again
        day = to_datetime(self._clock.now()).strftime("%Y%m%d")
        blob = Blob(f"{day}/{hashlib.sha256(data).hexdigest()}", data)
        return Payload(f"{encoding}+{BLOB}", key, Raw(msgspec.json.encode((blob.name, len(data))))), blob

    def _undone(self, step: str, encoding: str, payload: Payload, data: bytes) -> bytes:
        if step == BLOB:
            return data
        if step in compression.NAMES:
            return compression.decompress(step, data, VALUE_BYTES_MAX)
        if step == cipher.NAME and payload.key is not None:
            if self._cipher is None:
                raise unreadable(payload)
            return self._cipher.decrypt(payload.key, data, self._about(encoding, payload.key))
        raise NotDecodable(f"payload encoding {payload.encoding!r} has a step {step!r} that is not known here")

    def _about(self, encoding: str, key: str) -> bytes:
        return msgspec.json.encode(("perdure", 1, encoding, key, self._context))

    def __repr__(self) -> str:
        return f"<Codec compress {self._compress_above}, keys {self.keys!r}, offload {self.blobs!r}>"


def reference(payload: Payload) -> str:
    """The name of an offloaded payload's blob. Raises PayloadTampered if there is none in it."""
    try:
        name, _ = msgspec.json.decode(payload.data, type=tuple[str, int])
    except msgspec.MsgspecError:
        raise PayloadTampered("an offloaded payload does not say where it lies; it was changed in the store") from None
    return name


def _checked_blob(payload: Payload, blob: bytes | None) -> bytes:
    name = reference(payload)
    if blob is None:
        raise BlobMissing(f"the payload {name!r} is offloaded, and was not read")
    if hashlib.sha256(blob).hexdigest() != name.rpartition("/")[2]:
        raise PayloadTampered(f"the offloaded payload {name!r} is not what was written")
    return blob


def _from_base64(payload: Payload) -> bytes:
    try:
        return base64.b64decode(msgspec.json.decode(payload.data, type=str), validate=True)
    except (msgspec.MsgspecError, binascii.Error, ValueError):
        raise PayloadTampered(f"a payload of encoding {payload.encoding!r} is damaged in the store") from None


def _checked_keys(keys: Keys | None) -> Keys | None:
    needed: tuple[Callable[..., object] | None, ...] = (getattr(keys, "choose", None), getattr(keys, "secret", None))
    if keys is not None and not all(map(callable, needed)):
        raise InvalidArgument(f"keys is a {type(keys).__name__}; give a KeyRing or PersonalKeys")
    return keys


def _checked_compress(compress: bool | int) -> int | None:
    if compress is True:
        return compression.ABOVE_BYTES
    return _checked_bytes("compress", compress) if compress is not False else None


def _checked_bytes(what: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= PAYLOAD_BYTES_MAX:
        raise InvalidArgument(f"{what} is {value!r}; give a number of bytes up to {PAYLOAD_BYTES_MAX:,}")
    return value
