"""What is written by hand is what protobuf writes."""

from __future__ import annotations

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from perdure.remote.wire.framing import framed, tag, unframed, varint, wrapped


@pytest.mark.parametrize("size", [0, 1, 2, 123, 124, 125, 126, 127, 128, 16_381, 16_384, 100_000])
def test_a_wrapped_text_is_a_string_value_of_any_length(size: int) -> None:
    text = "é" * (size // 2) + "a" * (size % 2)
    inner = StringValue(value=text).SerializeToString()
    assert wrapped(tag(7), text.encode()) == tag(7) + varint(len(inner)) + inner


@pytest.mark.parametrize("size", [0, 127, 128, 16_383, 16_384, 3_000_000])
def test_a_frame_tells_its_length(size: int) -> None:
    assert unframed(framed(b"x" * size)) == b"x" * size
