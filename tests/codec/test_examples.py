"""The least value of a type can be read as that type, and where it cannot be known, nothing is made up."""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from msgspec import Meta

from perdure.codec import Example, Secret, decode_json, example_of
from perdure.codec.examples import EXAMPLE_CHARACTERS_MAX, TYPE_CHARACTERS_MAX


@dataclass
class Money:
    cents: int
    currency: Literal["EUR", "USD"]
    note: str | None
    tip: int = 0


@dataclass
class Careful:
    cents: int

    def __post_init__(self) -> None:
        raise ValueError("whatever it is")


class Told(NamedTuple):
    by: str
    twice: bool = False


class Answer(TypedDict):
    yes: bool
    why: NotRequired[str]


class Grade(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Paid(msgspec.Struct, tag=True, rename="camel"):
    paid_at: dt.datetime


class Pair(msgspec.Struct, array_like=True, tag="pair"):
    left: int
    right: int


class Endless(msgspec.Struct):
    next: Endless


class Model(pydantic.BaseModel):
    cents: int


@pytest.mark.parametrize(
    "expected, value",
    [
        (bool, "false"),
        (int, "0"),
        (float, "0"),
        (str, '""'),
        (bytes, '""'),
        (list[Money], "[]"),
        (dict[str, int], "{}"),
        (tuple[int, str], '[0,""]'),
        (int | str, "0"),
        (Money, '{"cents":0,"currency":"EUR","note":null}'),
        (Told, '[""]'),
        (Answer, '{"yes":false}'),
        (Grade, '"good"'),
        (Paid, '{"type":"Paid","paidAt":"2030-01-01T00:00:00Z"}'),
        (Pair, '["pair",0,0]'),
        (dt.date, '"2030-01-01"'),
        (dt.time, '"00:00:00Z"'),
        (Annotated[dt.datetime, Meta(tz=False)], '"2030-01-01T00:00:00"'),
        (dt.timedelta, '"PT0S"'),
        (UUID, '"00000000-0000-0000-0000-000000000000"'),
        (Decimal, '"0"'),
        (Annotated[int, Meta(ge=3)], "3"),
        (Annotated[float, Meta(gt=3)], "4"),
        (Annotated[int, Meta(ge=-3)], "0"),
        (Annotated[str, Meta(min_length=2)], '"xx"'),
        (Annotated[list[int], Meta(min_length=2)], "[0,0]"),
    ],
)
def test_an_example_is_read_as_its_type(expected: Any, value: str) -> None:
    example = example_of(expected)
    assert example is not None
    assert example.value == value
    decode_json(value.encode(), expected)


@pytest.mark.parametrize("expected", [Any, None, object, int | None, Literal[None, 3]])
def test_what_takes_null_needs_none(expected: Any) -> None:
    assert example_of(expected) is None
    decode_json(b"null", expected)


@pytest.mark.parametrize(
    "expected",
    [
        Careful,
        Model,
        Endless,
        Secret[str],
        complex,
        enum.Enum("Empty", {}),
        Annotated[str, Meta(pattern="x")],
        Annotated[int, Meta(le=-3)],
        Annotated[bytes, Meta(min_length=1)],
        Annotated[dict[str, int], Meta(min_length=1)],
        Annotated[str, Meta(min_length=EXAMPLE_CHARACTERS_MAX)],
    ],
    ids=str,
)
def test_of_a_type_that_does_not_tell_its_values_there_is_the_name_alone(expected: Any) -> None:
    example = example_of(expected)
    assert example is not None
    assert example.value is None
    assert 0 < len(example.type) <= TYPE_CHARACTERS_MAX


def test_a_name_is_as_people_write_it() -> None:
    names = [example_of(expected) for expected in (Money, list[int], int | str)]
    assert [each and each.type for each in names] == ["Money", "list[int]", "int | str"]


def test_a_type_that_has_no_hash_is_none_that_data_is_read_as() -> None:
    assert example_of({}) is None
    assert example_of(int) == Example("int", "0")
