"""What a body becomes."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.codec import JSON, NOTHING, PAYLOAD_BYTES_MAX, TEXT, decode
from perdure.errors import PayloadTooLarge
from perdure.remote.http.bodies import payload_of
from perdure.remote.http.faults import Refused

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_json_is_kept_as_it_came(value):
    body = msgspec.json.encode(value)
    payload = payload_of(b"\n " + body + b"\t", "application/json")
    assert (payload.encoding, bytes(payload.data)) == (JSON, body)
    assert decode(payload) == value


@given(st.text(min_size=1))
def test_any_text_can_be_read_again(text):
    payload = payload_of(text.encode(), "text/plain")
    if payload.encoding == TEXT:
        assert decode(payload) == text
    else:
        assert bytes(payload.data) == text.strip(" \t\r\n").encode()


@given(st.binary())
def test_any_bytes_are_a_payload_or_refused(body):
    with contextlib.suppress(Refused):
        msgspec.json.decode(payload_of(body, "").data)


def test_nothing_is_null():
    assert payload_of(b"", "application/json") == NOTHING


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/cloudevents+json"]
)
def test_what_is_declared_as_json_has_to_be_json(kind):
    with pytest.raises(Refused, match="declared as JSON"):
        payload_of(b"{oops", kind)


@pytest.mark.parametrize("body", [b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000])
def test_what_is_nested_too_deep_to_be_read_is_no_json(body):
    assert payload_of(body, "text/plain").encoding == TEXT
    with pytest.raises(Refused, match="declared as JSON"):
        payload_of(body, "application/json")


def test_what_is_nested_less_can_be_read_inside_of_something_else():
    deepest = max(n for n in range(100, 1_000, 10) if _passes(n))
    payload = payload_of(b"[" * deepest + b"]" * deepest, "")
    inside = b"[" * 200 + bytes(payload.data) + b"]" * 200
    assert msgspec.json.decode(inside)
    assert deepest >= 100


def _passes(depth):
    try:
        payload_of(b"[" * depth + b"]" * depth, "application/json")
    except Refused:
        return False
    return True


def test_text_is_bounded_as_it_is_stored():
    with pytest.raises(PayloadTooLarge):
        payload_of(b"\x01" * (PAYLOAD_BYTES_MAX // 6 + 1), "text/plain")
