"""Text of the wire survives payloads, histories and the way back, to the byte."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from perdure.codec import ARGUMENTS, JSON, TEXT, Payload, decode
from perdure.errors import KeyMissing, NotDecodable
from perdure.history.events import EventRaised, decode_event, encode_event
from perdure.remote.wire.payloads import payload_of, text_of

AS_JSON = (
    "7", '"x"', "null", "true", "[1, 2 ]", '{"a" :  [\n1]}', '"🚀"', '"\\ud83d\\ude00"', "1e999", "-0", "9" * 400,
    '"\\u0000"', "[" * 300 + "]" * 300,
)  # fmt: skip
AS_TEXT = (
    "", " ", "NaN", "Infinity", "-Infinity", "hello", " 7", "7\n", "{'a': 1}", "[1,]", "01", "🚀", "\x00", "\ufeff1",
    '"\\ud800"', "tru", '{"a": 1} {"b": 2}', "[" * 100_000, "[" * 100_000 + "]" * 100_000,
)  # fmt: skip


def stored(payload: Payload) -> Payload:
    """The payload as it comes out of a history."""
    return decode_event(encode_event(EventRaised(name="n", data=payload))).data


@pytest.mark.parametrize("text", AS_JSON)
def test_json_is_a_payload_of_json_verbatim(text):
    payload = payload_of(text)
    assert (payload.encoding, payload.key) == (JSON, None)
    assert bytes(payload.data).decode() == text
    assert text_of(stored(payload)).decode() == text


@pytest.mark.parametrize("text", AS_TEXT)
def test_other_text_is_a_payload_of_text_verbatim(text):
    payload = payload_of(text)
    assert payload.encoding == TEXT
    assert decode(payload) == text
    assert text_of(stored(payload)).decode() == text


@given(st.text() | st.floats().map(str) | st.text().map(lambda one: '{"a": [' + json.dumps(one) + "]}"))
@settings(max_examples=200, deadline=None)
def test_any_text_comes_back(text):
    assert text_of(stored(payload_of(text))).decode() == text


def test_arguments_go_out_as_their_json():
    assert text_of(Payload(ARGUMENTS, None, Raw(b'[[1],{"a":2}]'))) == b'[[1],{"a":2}]'


def test_what_is_packed_or_unknown_does_not_go_out():
    for encoding in ("json+zstd", "pickle"):
        with pytest.raises(NotDecodable):
            text_of(Payload(encoding, None, Raw(b'"x"')))
    with pytest.raises(KeyMissing):
        text_of(Payload("json+a256gcm", "key-1", Raw(b'"x"')))
