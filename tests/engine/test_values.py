"""Values of every kind cross the durable boundary as what they were."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pydantic
import pytest

from perdure import App


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Item:
    sku: str
    count: int = 1


class Parcel(msgspec.Struct):
    items: list[Item]
    size: Size


class Customer(pydantic.BaseModel):
    name: str
    born: datetime
    patience: timedelta


VALUES: list[tuple[Any, Any]] = [
    (int, 2**53 + 1),
    (float, 0.1),
    (str, 'ä 日本 🚀 \u0000 "'),
    (bool, True),
    (list[int], [1, 2, 3]),
    (dict[str, list[float]], {"a": [1.5], "": []}),
    (tuple[int, str], (1, "x")),
    (set[int], {1, 2, 3}),
    (bytes, b"\x00\xff"),
    (Item, Item("book", 3)),
    (list[Item], [Item("a"), Item("b", 2)]),
    (Parcel, Parcel([Item("a")], Size.LARGE)),
    (Size, Size.SMALL),
    (Level, Level.HIGH),
    (datetime, datetime(2026, 2, 28, 23, 59, 59, 123456, tzinfo=UTC)),
    (timedelta, timedelta(days=400, microseconds=7)),
    (UUID, UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")),
    (Decimal, Decimal("0.10000000000000000000000000001")),
    (Customer, Customer(name="Ada", born=datetime(1815, 12, 10, tzinfo=UTC), patience=timedelta(hours=1))),
    (list[Customer], [Customer(name="Bo", born=datetime(2000, 1, 1, tzinfo=UTC), patience=timedelta(0))]),
    (Item | None, None),
    (dict[str, Decimal], {"net": Decimal("1.10")}),
]


@pytest.mark.parametrize("kind, value", VALUES, ids=lambda part: getattr(part, "__name__", None) or repr(part)[:30])
def test_value_is_itself_for_workflow_activity_and_client(run, url, kind, value):
    app = App("values", store=url)
    seen = []

    def mirror(given):
        seen.append(given)
        return given

    async def through(given):
        seen.append(given)
        return await echo(given)

    mirror.__annotations__ = {"given": kind, "return": kind}
    through.__annotations__ = {"given": kind, "return": kind}
    echo = app.activity(mirror)
    workflow = app.workflow(through)

    async def scenario():
        async with app:
            return await (await workflow.start(value)).result()

    result = run(scenario)
    assert result == value
    assert type(result) is type(value)
    assert [type(one) for one in seen] == [type(value)] * 2
    assert seen == [value, value]


def test_positional_and_keyword_arguments_arrive_as_they_were_given(run, url):
    app = App("values", store=url)

    @app.activity
    async def label(item: Item, *rest: int, size: Size = Size.SMALL, **more: Decimal) -> list[str]:
        return [type(item).__name__, repr(rest), size.name, repr(more)]

    @app.workflow
    async def main(item: Item, *rest: int, size: Size = Size.SMALL, **more: Decimal) -> list[str]:
        return await label(item, *rest, size=size, **more)

    async def scenario():
        async with app:
            full = await main.start(Item("a"), 1, 2, size=Size.LARGE, tax=Decimal("0.19"))
            plain = await main.start(Item("b"))
            return await full.result(), await plain.result()

    full, plain = run(scenario)
    assert full == ["Item", "(1, 2)", "LARGE", "{'tax': Decimal('0.19')}"]
    assert plain == ["Item", "()", "SMALL", "{}"]


def test_defaults_and_none_are_told_apart(run, url):
    app = App("values", store=url)

    @app.workflow
    async def optional(x: int | None = 5) -> int | None:
        return x

    @app.workflow
    async def two(a: int, b: int | None = 7) -> list[int | None]:
        return [a, b]

    async def scenario():
        async with app:
            default = await (await optional.start()).result()
            given = await (await two.start(1, None)).result()
            left = await (await two.start(1)).result()
            return default, given, left

    assert run(scenario) == (5, [1, None], [1, 7])


def test_explicit_none_for_a_parameter_with_default(run, url):
    app = App("values", store=url)

    @app.workflow
    async def optional(x: int | None = 5) -> int | None:
        return x

    async def scenario():
        async with app:
            return await (await optional.start(None)).result()

    assert run(scenario) is None
