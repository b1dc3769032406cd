"""Timestamps keep their nanoseconds, and stay within the years that a timestamp can have."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from perdure.clock import LATEST
from perdure.errors import MalformedMessage
from perdure.remote.wire.framing import framed, unframed
from perdure.remote.wire.times import EARLIEST, read_time, read_time_up, time_bytes


@given(st.integers(EARLIEST, LATEST), st.integers(0, 999))
def test_an_instant_is_written_as_protobuf_writes_it(micros, nanos):
    theirs = Timestamp()
    theirs.FromNanoseconds(micros * 1000 + nanos)
    data = time_bytes(micros, nanos)
    assert data == framed(theirs.SerializeToString())
    assert read_time(Timestamp.FromString(unframed(data))) == (micros, nanos)


@pytest.mark.parametrize(
    "seconds, nanos, expected",
    [
        (253_402_300_799, 999_999_999, (LATEST, 999)),
        (253_402_300_800, 0, (LATEST, 999)),
        (2**63 - 1, 5, (LATEST, 999)),
        (-62_135_596_800, 0, (EARLIEST, 0)),
        (-62_135_596_801, 5, (EARLIEST, 0)),
        (-(2**63), 0, (EARLIEST, 0)),
        (-1, 999_999_999, (-1, 999)),
    ],
)
def test_what_lies_beyond_the_years_is_moved_to_their_edge(seconds, nanos, expected):
    assert read_time(Timestamp(seconds=seconds, nanos=nanos)) == expected


@pytest.mark.parametrize("nanos", [-1, 1_000_000_000, -(2**31)])
def test_nanoseconds_that_are_none_are_refused(nanos):
    with pytest.raises(MalformedMessage):
        read_time(Timestamp(nanos=nanos))


def test_a_bound_is_rounded_up():
    assert read_time_up(Timestamp(seconds=1, nanos=1)) == 1_000_001
    assert read_time_up(Timestamp(seconds=1, nanos=1000)) == 1_000_001
    assert read_time_up(Timestamp(seconds=2**40)) == LATEST
