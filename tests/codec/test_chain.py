"""What the chain makes of a payload, and what it refuses to unpack."""

from __future__ import annotations

import asyncio
import base64
import os
import sys

import msgspec
import pytest
from msgspec import Raw

from perdure import Codec, KeyRing, Secret
from perdure.codec import PAYLOAD_BYTES_MAX, Confidential, Payload, Writer, compression, decode, encode, readable
from perdure.codec.chain import QUICK_BYTES
from perdure.codec.cipher import Cipher
from perdure.errors import (
    BlobMissing,
    InvalidArgument,
    KeyMissing,
    NotDecodable,
    NotEncodable,
    PayloadTampered,
    PayloadTooLarge,
)

RING = KeyRing({"k1": KeyRing.new_key()})
PROSE = ["the same words again and again"] * 1_000


def packed(codec, value):
    return codec.pack(codec.writer.encode(value), codec.key_for(None, None))[0]


def changed(payload: Payload, at: int) -> Payload:
    data = bytearray(base64.b64decode(msgspec.json.decode(payload.data)))
    data[at] ^= 1
    return msgspec.structs.replace(payload, data=Raw(msgspec.json.encode(base64.b64encode(data).decode())))


@pytest.mark.parametrize("value", [None, 0, "text", {"a": [1, "ä"]}, PROSE])
@pytest.mark.parametrize(
    "codec", [Codec(), Codec(compress=True), Codec(keys=RING), Codec(compress=0, keys=RING)], ids=repr
)
def test_what_was_packed_comes_back(codec, value):
    payload = packed(codec, value)
    assert decode(codec.unpack(payload)) == value
    assert payload.key == ("k1" if codec.keys else None)


def test_the_encoding_tells_the_steps_in_order(tmp_path):
    codec = Codec(compress=True, keys=RING, offload=tmp_path, offload_above=10)
    payload, blob = codec.pack(encode(PROSE), "k1")
    assert payload.encoding == "json+zstd+a256gcm+blob"
    name, size = msgspec.json.decode(payload.data)
    assert (blob.name, len(blob.data)) == (name, size)
    assert decode(codec.unpack(payload, blob.data)) == PROSE


def test_packing_what_is_packed_and_unpacking_what_is_plain_change_nothing():
    codec = Codec(keys=RING)
    payload = packed(codec, 5)
    assert codec.pack(payload, "k1") == (payload, None)
    assert codec.unpack(encode(5)) == encode(5)


@pytest.mark.parametrize("at", [0, 16, 28, -1], ids=["salt", "nonce", "text", "tag"])
def test_a_changed_byte_is_noticed_wherever_it_is(at):
    codec = Codec(keys=RING)
    with pytest.raises(PayloadTampered, match="'k1'") as caught:
        codec.unpack(changed(packed(codec, "secret"), at))
    assert caught.value.code == "PERDURE-1631"


def test_what_stands_beside_the_bytes_is_bound_to_them():
    two = KeyRing({"k1": RING.secret("k1"), "k2": RING.secret("k1")})
    payload = packed(Codec(keys=two), "secret")
    renamed = msgspec.structs.replace(payload, key="k2")  # the same bytes of key, but another id
    recoded = msgspec.structs.replace(payload, encoding=payload.encoding.replace("json", "json-arguments"))
    for forged in (renamed, recoded):
        with pytest.raises(PayloadTampered):
            Codec(keys=two).unpack(forged)
    with pytest.raises(PayloadTampered):
        Codec(keys=two, context="another store").unpack(payload)


def test_no_bytes_and_bytes_that_are_no_base64_are_damage():
    codec = Codec(keys=RING)
    for data in (b'""', b'"?"', b"7", b'"AAAA"'):
        with pytest.raises(PayloadTampered):
            codec.unpack(Payload("json+a256gcm", "k1", Raw(data)))


def test_a_missing_key_and_no_keys_are_named_by_key():
    payload = packed(Codec(keys=RING), 1)
    other = Codec(keys=KeyRing({"k2": KeyRing.new_key()}))
    for read in (lambda: other.unpack(payload), lambda: Codec().unpack(payload), lambda: decode(payload)):
        with pytest.raises(KeyMissing, match="'k1'") as caught:
            read()
        assert caught.value.code == "PERDURE-1630"
    assert str(readable(payload)) == "<encrypted, key k1>"


def test_an_unknown_step_is_refused_by_name():
    with pytest.raises(NotDecodable, match="'rot13'"):
        Codec().unpack(Payload("json+rot13", None, Raw(b'""')))


def test_no_two_encryptions_are_alike():
    codec = Codec(keys=RING)
    seen = {bytes(packed(codec, "same").data) for _ in range(1_000)}
    assert len(seen) == 1_000


def test_a_salt_is_drawn_anew_before_its_nonces_run_out(monkeypatch):
    monkeypatch.setattr("perdure.codec.cipher.MESSAGES_MAX", 3)
    cipher = Cipher(RING)
    salts = [cipher.encrypt("k1", b"x", b"")[:16] for _ in range(7)]
    assert len(set(salts)) >= 3
    assert all(salts.count(salt) <= 3 for salt in salts)


def test_compression_stays_only_where_it_gains():
    codec = Codec(compress=100)
    assert packed(codec, PROSE).encoding == "json+zstd"
    assert packed(codec, "short").encoding == "json"
    noise = base64.b64encode(os.urandom(10_000)).decode()  # base64 of noise shrinks by a quarter, and grows by a third
    assert packed(codec, noise).encoding == "json"
    assert packed(Codec(compress=100, keys=RING), noise).encoding == "json+zstd+a256gcm"


def test_without_zstandard_zlib_writes_and_zstd_is_named_as_missing(monkeypatch):
    with_zstd = packed(Codec(compress=True), PROSE)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    compression.best.cache_clear()
    try:
        codec = Codec(compress=True)
        payload = packed(codec, PROSE)
        assert payload.encoding == "json+zlib"
        assert decode(codec.unpack(payload)) == PROSE
        with pytest.raises(NotDecodable, match=r"perdure\[zstd\]"):
            codec.unpack(with_zstd)
    finally:
        compression.best.cache_clear()


@pytest.mark.parametrize("name", ["zstd", "zlib"])
def test_a_payload_that_swells_beyond_the_bound_is_refused(name):
    bomb = compression.compress(name, b"0" * 1_000_000)
    assert len(bomb) < 5_000
    with pytest.raises(PayloadTampered):
        compression.decompress(name, bomb, 999_999)
    assert len(compression.decompress(name, bomb, 1_000_000)) == 1_000_000
    with pytest.raises(PayloadTampered):
        compression.decompress(name, bomb[:-5], 1_000_000)


def test_the_bound_of_a_payload_is_on_what_is_stored(tmp_path):
    long = "x" * (PAYLOAD_BYTES_MAX + 1)
    with pytest.raises(PayloadTooLarge):
        Codec(keys=RING).writer.encode(long)
    assert packed(Codec(compress=True), long).encoding == "json+zstd"
    payload, blob = Codec(offload=tmp_path).pack(Codec(offload=tmp_path).writer.encode(long), None)
    assert len(payload.data) < 100
    assert len(blob.data) == len(long) + 2
    noise = os.urandom(PAYLOAD_BYTES_MAX // 2).hex()
    with pytest.raises(PayloadTooLarge, match="offload"):
        packed(Codec(compress=True), noise + noise)


def test_what_is_large_is_packed_off_the_event_loop(monkeypatch):
    codec = Codec(keys=RING)
    threads = []
    monkeypatch.setattr(asyncio, "to_thread", _counting(threads))

    async def scenario():
        for size in (QUICK_BYTES // 2, QUICK_BYTES * 2):
            payload = await codec.packed(codec.writer.encode("x" * size), "k1")
            assert decode(await codec.unpacked(payload)) == "x" * size

    asyncio.run(scenario())
    assert len(threads) == 2


def _counting(threads):
    in_thread = asyncio.to_thread

    async def count(work, *args, **kwargs):
        threads.append(work)
        return await in_thread(work, *args, **kwargs)

    return count


def test_an_offloaded_payload_without_its_blob_is_missing_and_another_blob_is_tampering(tmp_path):
    codec = Codec(offload=tmp_path, offload_above=10)

    async def scenario():
        payload = await codec.packed(encode(PROSE), None)
        assert decode(await codec.unpacked(payload)) == PROSE
        (file,) = tmp_path.glob("*/*")
        file.write_bytes(b"something else")
        with pytest.raises(PayloadTampered):
            await codec.unpacked(payload)
        file.unlink()
        with pytest.raises(BlobMissing) as caught:
            await codec.unpacked(payload)
        assert caught.value.code == "PERDURE-1632"
        with pytest.raises(BlobMissing):
            await Codec().unpacked(payload)

    asyncio.run(scenario())


def test_errors_do_not_quote_what_is_encrypted():
    codec = Codec(keys=RING)
    plain = codec.unpack(packed(codec, {"name": "Ada Lovelace"}))
    assert type(plain) is Confidential
    with pytest.raises(NotDecodable) as caught:
        decode(plain, list[int])
    assert "Ada" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_secrets_are_written_only_where_all_is_encrypted():
    with pytest.raises(NotEncodable, match="keys"):
        encode({"password": Secret("hunter2")})
    with pytest.raises(NotEncodable):
        Codec(compress=True).writer.encode(Secret("hunter2"))
    value = decode(Codec(keys=RING).unpack(packed(Codec(keys=RING), {"password": Secret("hunter2")})))
    assert value["password"].reveal() == "hunter2"
    assert "hunter2" not in repr(value)


def test_a_writer_without_a_codec_is_bounded_as_ever():
    with pytest.raises(PayloadTooLarge):
        Writer().encode("x" * PAYLOAD_BYTES_MAX)


@pytest.mark.parametrize(
    "wrong",
    [
        {"compress": "yes"},
        {"compress": -1},
        {"keys": {"k1": "x"}},
        {"offload": 7},
        {"offload_above": True},
        {"offload_above": PAYLOAD_BYTES_MAX + 1},
    ],
    ids=repr,
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InvalidArgument):
        Codec(**wrong)


def test_encryption_without_its_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(InvalidArgument, match=r"perdure\[crypto\]"):
        Codec(keys=RING)
