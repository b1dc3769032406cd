"""What a store knows of its apps: each is asked for once, made only by who may, and has its shards for ever."""

from __future__ import annotations

import asyncio

import pytest

from perdure.errors import StoreNotUsable
from perdure.stores.apps import Apps
from perdure.stores.contract import shard_number
from perdure.stores.options import SHARDS


class Directory:
    """The apps of a database, and what it was asked."""

    def __init__(self) -> None:
        self.there: dict[str, tuple[int, int]] = {}
        self.asked: list[str] = []
        self.learned = 0

    async def look_up(self, app: str, shards: int, make: bool) -> tuple[int, int]:
        self.asked.append(app)
        if make:
            self.there.setdefault(app, (len(self.there) + 1, shards))
        return self.there.get(app, (0, 0))

    def apps(self, wanted: int | None = None) -> Apps:
        return Apps("a store", wanted, self.look_up, self._learn)

    def _learn(self) -> None:
        self.learned += 1


def test_an_app_is_made_once_and_asked_for_once():
    directory = Directory()
    apps = directory.apps()

    async def play() -> None:
        assert len(set(await apps.shards("shop"))) == SHARDS
        assert (await apps.number("shop"), await apps.number("bank")) == (1, 2)
        await apps.learn(["bank", "shop"])

    asyncio.run(play())
    assert directory.asked == ["shop", "bank"]
    assert (apps.numbers(), directory.learned) == ({1, 2}, 2)


def test_who_only_looks_makes_none_and_finds_it_once_another_has_made_it():
    directory = Directory()
    apps = directory.apps()

    async def play() -> None:
        assert await apps.shards("shop", make=False) == []
        await directory.look_up("shop", 3, True)
        assert len(await apps.shards("shop", make=False)) == 3

    asyncio.run(play())
    assert directory.learned == 1


def test_an_instance_is_on_the_shard_that_its_id_says():
    apps = Directory().apps(wanted=7)
    shards = asyncio.run(apps.shards("shop"))
    for number in range(100):
        assert apps.home("shop", f"order-{number}") == shards[shard_number(f"order-{number}", 7)]


def test_an_address_that_asks_for_another_number_of_shards_is_refused_and_nothing_is_learned():
    directory = Directory()
    asyncio.run(directory.apps(wanted=3).shards("shop"))
    other = directory.apps(wanted=4)
    with pytest.raises(StoreNotUsable, match=r"has 3 shards at a store for ever; leave shards=4 out"):
        asyncio.run(other.shards("shop"))
    assert other.numbers() == set()
    assert len(asyncio.run(directory.apps().shards("shop"))) == 3
