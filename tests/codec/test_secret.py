"""Secrets show asterisks, and go through types and back."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from datetime import date
from typing import Any

import msgspec
import pydantic
import pytest

from perdure import Codec, KeyRing, Secret
from perdure.codec import decode, encode
from perdure.errors import NotDecodable, NotEncodable

CODEC = Codec(keys=KeyRing({"k1": KeyRing.new_key()}))


@dataclass
class Login:
    user: str
    password: Secret[str]


class Card(msgspec.Struct):
    number: Secret[int]
    born: Secret[date] | None = None


class Model(pydantic.BaseModel):
    token: Secret[str]
    pins: list[Secret[int]] = []


def there_and_back(value, expected):
    packed, _ = CODEC.pack(CODEC.writer.encode(value), "k1")
    return decode(CODEC.unpack(packed), expected)


def test_nothing_but_reveal_shows_it():
    secret = Secret("hunter2")
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>10}", repr(Login("ada", secret)), repr([secret])]
    assert not any("hunter2" in text for text in shown)
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2") != Secret("hunter3")
    assert len({secret, Secret("hunter2")}) == 1
    assert copy.deepcopy(secret) == secret


@pytest.mark.parametrize(
    "value, expected",
    [
        (Secret("x"), Secret[str]),
        (Login("ada", Secret("x")), Login),
        (Card(Secret(7), Secret(date(2000, 1, 1))), Card),
        (Model(token=Secret("x"), pins=[Secret(1)]), Model),
        (Secret(Login("ada", Secret("x"))), Secret[Login]),
        ([Secret(None)], list[Secret]),
    ],
    ids=repr,
)
def test_types_give_it_back(value, expected):
    assert there_and_back(value, expected) == value


def test_without_a_type_it_is_a_secret_still():
    for expected in (Any, object, dict):
        value = there_and_back({"logins": [Login("ada", Secret("x"))]}, expected)
        assert value["logins"][0]["password"] == Secret("x")
        assert json.dumps(value, default=str) == '{"logins": [{"user": "ada", "password": "***"}]}'


def test_a_plain_value_is_taken_for_a_secret_where_the_type_says_so():
    assert decode(encode({"user": "ada", "password": "x"}), Login) == Login("ada", Secret("x"))
    assert decode(encode({"token": "x"}), Model).token == Secret("x")


@pytest.mark.parametrize("value", [Login("ada", Secret("hunter2")), Model(token=Secret("hunter2"))], ids=repr)
def test_it_is_refused_without_keys_and_not_told(value):
    with pytest.raises(NotEncodable) as caught:
        encode(value)
    assert "hunter2" not in str(caught.value)


def test_pydantic_shows_asterisks_of_its_own_accord():
    model = Model(token=Secret("hunter2"))
    assert model.model_dump_json() == '{"token":"***","pins":[]}'
    assert model.model_dump()["token"] == Secret("hunter2")


def test_a_secret_of_another_type_does_not_fit():
    packed, _ = CODEC.pack(CODEC.writer.encode(Secret("text")), "k1")
    with pytest.raises(NotDecodable) as caught:
        decode(CODEC.unpack(packed), Secret[int])
    assert "text" not in str(caught.value)
