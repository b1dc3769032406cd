"""Compression of payloads: Zstandard if its package is installed, else zlib."""

from __future__ import annotations

import zlib
from functools import cache

from perdure.errors import NotDecodable, PayloadTampered

ZSTD = "zstd"
ZLIB = "zlib"
NAMES = (ZSTD, ZLIB)
ABOVE_BYTES = 4_096
"""Payloads up to this size are not worth a try, unless the codec says otherwise."""
_ZSTD_LEVEL = 3
_ZLIB_LEVEL = 1  # because at 6 it takes three times as long for a tenth less of JSON


@cache
def best() -> str:
    """The name of the better compression that is here."""
    try:
        import zstandard  # noqa: F401 only to see whether it is there
    except ImportError:
        return ZLIB
    return ZSTD


def compress(name: str, data: bytes) -> bytes:
    """The data, compressed."""
    if name == ZLIB:
        return zlib.compress(data, _ZLIB_LEVEL)
    import zstandard

    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(data)


def decompress(name: str, data: bytes, bytes_max: int) -> bytes:
    """The data as it was. Raises PayloadTampered if it is damaged or becomes longer than `bytes_max`."""
    if name == ZLIB:
        return _from_zlib(data, bytes_max)
    try:
        import zstandard
    except ImportError:
        raise NotDecodable(
            'a payload is compressed with zstd and zstandard is not installed: pip install "perdure[zstd]"'
        ) from None
    try:
        # because a frame says how long its content is, and a forged one may say anything
        if zstandard.frame_content_size(data) > bytes_max:
            raise _damaged()
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=bytes_max)
    except zstandard.ZstdError:
        raise _damaged() from None


def _from_zlib(data: bytes, bytes_max: int) -> bytes:
    reader = zlib.decompressobj()
    try:
        whole = reader.decompress(data, bytes_max)
    except zlib.error:
        raise _damaged() from None
    if not reader.eof:
        raise _damaged()
    return whole


def _damaged() -> PayloadTampered:
    return PayloadTampered("a compressed payload is damaged, or longer than any that is written")
