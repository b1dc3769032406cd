"""Bytes of anybody: whatever they are, they are read, or refused with one error."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.errors import MalformedMessage
from perdure.history.events import decode_event, encode_event
from perdure.remote.requests import Flavour
from perdure.remote.wire import instance_requests
from tests.remote.wire.goldens import CODECS, FLAVOURS, GOLDEN, SCHEMAS
from tests.remote.wire.readers import SAMPLES, offer


@given(st.binary(max_size=60))
@settings(max_examples=150, deadline=None)
def test_random_bytes_are_read_or_refused(data):
    offer(data)


@given(st.sampled_from(SAMPLES), st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_messages_are_read_or_refused(sample, data):
    damaged = bytearray(sample[: data.draw(st.integers(0, len(sample)))])
    for _ in range(data.draw(st.integers(0, 3))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    offer(bytes(damaged))


@pytest.mark.parametrize("flavour", FLAVOURS)
@given(st.data())
@settings(max_examples=150, deadline=None)
def test_an_event_that_is_read_can_be_stored_and_written(flavour, data):
    samples = [bytes.fromhex(one) for one in GOLDEN[flavour]["HistoryEvent"].values()]
    damaged = bytearray(data.draw(st.sampled_from(samples)))
    if damaged:
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    codec = CODECS[flavour]
    try:
        event = codec.read_event(bytes(damaged))
    except MalformedMessage:
        return
    stored = decode_event(encode_event(event))
    assert codec.history([stored], "i", "e") == codec.history([event], "i", "e")


def wrapped(data: bytes, times: int, tag: bytes) -> bytes:
    for _ in range(times):
        size = len(data)
        length = bytearray()
        while size > 0x7F:
            length.append(size & 0x7F | 0x80)
            size >>= 7
        data = tag + bytes([*length, size]) + data
    return data


@pytest.mark.parametrize("depth", [1, 50, 90, 95, 98, 99, 100, 101, 5_000])
def test_failures_within_failures_are_read_or_refused(depth):
    """Nesting ends where protobuf's own bound is, far below that of the interpreter."""
    offer(b"\x22" + wrapped(b"", depth, b"\x22")[1:])
    offer(b"\x22" + wrapped(wrapped(b"", depth, b"\x22"), 1, b"\x22")[1:])


@pytest.mark.parametrize("depth", [1, 40, 60, 5_000])
def test_values_within_values_are_read_or_refused(depth):
    value = wrapped(b"", depth, b"\x0a")
    for _ in range(1):
        value = wrapped(value, 1, b"\x32")
    entry = wrapped(b"\x0a\x01k" + wrapped(value, 1, b"\x12"), 1, b"\x32")
    offer(wrapped(entry, 1, b"\x22"))


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a\x02\xff\xfe",  # a name that is no UTF-8
        b"\x0a\xff\xff\xff\xff\x0f",  # a length beyond the end
        b"\x12\x0a\x08" + b"\xff" * 9,  # a varint without end
        b"\x0b" * 200,  # groups without end
        b"\x08" + b"\xff" * 9 + b"\x7f",  # a varint beyond 64 bits
        b"\x00",  # a field of number 0
        b"\x12\x06\x10\xff\xff\xff\xff\x0f",  # nanoseconds below 0
    ],
)
def test_known_attacks_are_read_or_refused(data):
    offer(data)
    offer(b"\x12" + bytes([len(data)]) + data)


@pytest.mark.long
def test_megabytes_of_nonsense_are_refused_at_once():
    for data in (b"\xff" * 4_000_000, b"\x0a\x00" * 1_000_000, b"\x12\x00" * 20_000):
        offer(data)


def test_statuses_that_are_none_are_refused():
    purge = SCHEMAS[Flavour.MICROSOFT].PurgeInstancesRequest()
    purge.purgeInstanceFilter.runtimeStatus.extend([1, -7])
    with pytest.raises(MalformedMessage):
        instance_requests.read_purge(purge.SerializeToString())


def test_the_samples_are_all_there():
    assert len(SAMPLES) == sum(json.dumps(kinds).count('": "') for kinds in GOLDEN.values())
