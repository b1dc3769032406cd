"""Values to payloads and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from perdure.codec import (
    ARGUMENTS,
    JSON,
    NOTHING,
    TEXT,
    Confidential,
    Payload,
    Signature,
    decode,
    encode,
    encode_arguments,
    readable,
)
from perdure.errors import InvalidArgument, NotDecodable, NotEncodable

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@dataclass
class Item:
    sku: str
    count: int = 1


@given(JSON_VALUES)
def test_json_values_come_back_as_they_were(value):
    payload = encode(value)
    assert payload.encoding == JSON
    assert payload.key is None
    assert decode(payload) == value


@given(
    st.lists(JSON_VALUES, max_size=4),
    st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), JSON_VALUES, max_size=3),
)
def test_arguments_come_back_as_they_were_given(args, kwargs):
    def function(*args: Any, **kwargs: Any) -> None: ...

    payload = encode_arguments(tuple(args), kwargs)
    if not args and not kwargs:
        assert payload is NOTHING
    elif payload.encoding == ARGUMENTS:
        assert Signature(function).decode(payload) == (tuple(args), kwargs)
    else:
        assert ([decode(payload)], {}) == (args, kwargs)


def test_payloads_are_json_verbatim_inside_json():
    assert msgspec.json.encode(encode({"a": [1, "ä"]})) == '["json",null,{"a":[1,"ä"]}]'.encode()
    assert msgspec.json.decode(b'["json",null,{ "a" : 1 }]', type=Payload).data == Raw(b'{ "a" : 1 }')


def test_one_argument_is_stored_as_itself_and_several_as_a_list():
    assert bytes(encode_arguments((5,), {}).data) == b"5"
    assert bytes(encode_arguments((5, 6), {"a": 7}).data) == b'[[5,6],{"a":7}]'
    assert encode_arguments((), {}) is NOTHING


def test_other_encodings_and_keys_are_refused_by_name():
    with pytest.raises(NotDecodable, match="gzip"):
        decode(Payload("gzip", None, Raw(b'""')))
    with pytest.raises(NotDecodable, match="key-7"):
        decode(Payload(JSON, "key-7", Raw(b"1")))
    assert decode(Payload(TEXT, None, Raw(b'"not json"'))) == "not json"


def test_a_payload_that_does_not_fit_says_where_and_shows_its_beginning():
    with pytest.raises(NotDecodable, match=r"\$\[1\]\.count") as caught:
        decode(encode([{"sku": "a"}, {"sku": "b", "count": "many"}]), list[Item])
    assert "it begins" in str(caught.value)
    with pytest.raises(NotDecodable):
        decode(Payload(JSON, None, Raw(b"{")), int)


def test_a_long_payload_is_not_shown_whole():
    with pytest.raises(NotDecodable) as caught:
        decode(encode("x" * 100_000), int)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "value, path", [(object(), "value"), ([1, {"a": object()}], "value[1]['a']"), (Item(1j), "value.sku")]
)
def test_what_cannot_be_stored_is_named_by_its_path(value, path):
    with pytest.raises(NotEncodable) as caught:
        encode(value)
    assert str(caught.value).startswith(path + " ")


def test_annotations_that_only_checkers_see_do_no_harm():
    def function(a: Missing, b: int) -> list[int]: ...  # type: ignore[name-defined]  # noqa: F821

    signature = Signature(function)
    assert signature.result == list[int]
    assert signature.decode(encode_arguments(({"x": 1}, 5), {})) == (({"x": 1}, 5), {})


def test_no_return_and_none_are_read_as_anything():
    def nothing() -> None: ...
    def anything(): ...

    assert Signature(nothing).result is Any
    assert Signature(anything).result is Any


def test_leading_parameters_of_the_engine_are_skipped():
    def function(ctx: Any, item: Item) -> Any: ...

    assert Signature(function, skip=1).decode(encode(Item("a", 2))) == ((Item("a", 2),), {})


@pytest.mark.parametrize(
    "args, kwargs, fits",
    [
        ((1,), {}, True),
        ((1, 2), {}, True),
        ((), {}, False),
        ((1, 2, 3), {}, False),
        ((1,), {"b": 2}, True),
        ((1,), {"c": 2}, False),
        ((1,), {"a": 2}, False),
    ],
)
def test_arguments_are_checked_against_the_signature(args, kwargs, fits):
    def function(a: int, b: int = 0) -> None: ...

    if fits:
        Signature(function).check(args, kwargs)
    else:
        with pytest.raises(InvalidArgument, match="function"):
            Signature(function).check(args, kwargs)


def test_keyword_only_parameters_are_asked_for():
    def function(a: int, *, b: int) -> None: ...

    Signature(function).check((1,), {"b": 2})
    with pytest.raises(InvalidArgument, match="'b'"):
        Signature(function).check((1,), {})


@pytest.mark.parametrize("text", ["1e999", '{"a":' + "9" * 5_000 + "}", '{"half'])
def test_what_is_no_value_here_is_shown_as_its_text_and_what_is_confidential_is_not(text: str) -> None:
    """So that an instance whose input another language wrote can be looked at."""
    assert readable(Payload(JSON, None, Raw(text.encode()))) == text
    assert str(readable(Confidential(JSON, None, Raw(text.encode())))) == "<stored as json>"
    with pytest.raises(NotDecodable):
        decode(Payload(JSON, None, Raw(text.encode())))
