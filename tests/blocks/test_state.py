"""State as an app's code meets it: typed values, ETags, transactions, and who may not use it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from perdure import App, Codec, KeyRing, WorkflowFailed
from perdure.app import open_store
from perdure.blocks.state import EtagMismatch, Found, State, open_values
from perdure.errors import InvalidArgument, NotDecodable, NotEncodable, NotOpen
from perdure.stores.memory import MemoryStore


class Cart(msgspec.Struct):
    items: list[str]


Story = Callable[[State], Awaitable[None]]


def told(folder: Path, story: Story, **options: object) -> None:
    """Play a story with the state of an app on a file."""

    async def play() -> None:
        app = App("shop", store=f"sqlite:///{folder}/shop.db", **options)  # type: ignore[arg-type]
        async with app, asyncio.timeout(30):
            await story(app.state("carts"))

    asyncio.run(play())


def test_values_come_back_as_their_types(tmp_path: Path) -> None:
    async def story(carts: State) -> None:
        await carts.set("1", Cart(["pen"]))
        assert await carts.get("1", Cart) == Cart(["pen"])
        assert await carts.get("1") == {"items": ["pen"]}
        assert await carts.get("2", Cart) is None
        await carts.set("none", None)
        assert await carts.find("none") == Found(None, (await carts.find("none")).etag)  # type: ignore[union-attr]
        with pytest.raises(NotDecodable):
            await carts.get("1", int)
        with pytest.raises(NotEncodable):
            await carts.set("1", object())

    told(tmp_path, story)


def test_an_etag_and_a_first_write(tmp_path: Path) -> None:
    async def story(carts: State) -> None:
        await carts.set("1", 1, first_write=True)
        with pytest.raises(EtagMismatch) as caught:
            await carts.set("1", 2, first_write=True)
        assert caught.value.key == "shop||1"
        found = await carts.find("1", int)
        assert found is not None
        await carts.set("1", found.value + 1, etag=found.etag)
        with pytest.raises(EtagMismatch):
            await carts.delete("1", etag=found.etag)
        await carts.delete("1")
        assert await carts.get("1") is None

    told(tmp_path, story)


def test_updates_of_many_all_count(tmp_path: Path) -> None:
    async def story(carts: State) -> None:
        await asyncio.gather(*(carts.update("n", lambda n: (n or 0) + 1, int) for _ in range(50)))
        assert await carts.get("n") == 50, "more than there are tries"

    told(tmp_path, story)


def test_a_transaction_is_done_at_its_end_or_not_at_all(tmp_path: Path) -> None:
    async def story(carts: State) -> None:
        await carts.set_many({"a": 1, "b": 2}, ttl=timedelta(hours=1))

        async def broken(etag: str | None = None) -> None:
            async with carts.transaction() as change:
                await change.delete("a")
                await change.set("b", 3, etag=etag)
                if etag is None:
                    raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await broken()
        with pytest.raises(EtagMismatch):
            await broken("old")
        assert await carts.get_many(["a", "b", "c"]) == {"a": 1, "b": 2}
        async with carts.transaction() as change:
            await change.delete("a")
            await change.set("c", 3)
            assert await carts.get("c") is None
        assert await carts.get_many(["a", "b", "c"], int) == {"b": 2, "c": 3}
        for late in (change.set("d", 4), change.delete("c")):
            with pytest.raises(InvalidArgument, match="the block of this transaction has ended"):
                await late

    told(tmp_path, story)


def test_what_expires(tmp_path: Path) -> None:
    async def story(carts: State) -> None:
        await carts.set("1", 1, ttl=3_600)
        found = await carts.find("1")
        assert found is not None
        assert found.expires is not None
        await carts.set("1", 1, ttl=0.05)
        while await carts.get("1") is not None:
            await asyncio.sleep(0.01)

    told(tmp_path, story)


def test_it_lies_beside_the_workflows_and_survives_them(tmp_path: Path) -> None:
    async def write(carts: State) -> None:
        await carts.set("1", "kept")

    async def read(carts: State) -> None:
        assert await carts.get("1") == "kept"

    told(tmp_path, write)
    told(tmp_path, read)

    async def as_a_client_of_dapr_sees_it() -> None:
        store = open_values(f"sqlite:///{tmp_path}/shop.db", "carts")
        await store.open()
        (found,) = await store.get(["shop||1"])
        await store.close()
        assert found is not None
        assert (found.value, found.content_type) == (b'"kept"', "application/json")

    asyncio.run(as_a_client_of_dapr_sees_it())


def test_state_may_be_there_before_the_first_workflow(tmp_path: Path) -> None:
    async def before() -> None:
        store = open_values(f"sqlite:///{tmp_path}/shop.db", "carts")
        await store.open()
        await store.close()

    async def story(carts: State) -> None:
        await carts.set("1", 1)

    asyncio.run(before())
    told(tmp_path, story)


def test_a_codec_packs_values_too(tmp_path: Path) -> None:
    codec = Codec(keys=KeyRing({"k1": KeyRing.new_key()}, current="k1"))

    async def write(carts: State) -> None:
        await carts.set("1", "not to be read")
        assert await carts.get("1") == "not to be read"

    async def read(carts: State) -> None:
        with pytest.raises(NotDecodable, match="packed by a codec"):
            await carts.get("1")

    told(tmp_path, write, codec=codec)
    assert b"not to be read" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())
    told(tmp_path, read)


def test_activities_use_it_and_workflow_code_may_not(tmp_path: Path) -> None:
    app = App("shop", store=f"sqlite:///{tmp_path}/shop.db")

    @app.activity
    async def add(n: int) -> int:
        return await app.state().update("sum", lambda sum: (sum or 0) + n, int)

    @app.workflow
    async def good(n: int) -> int:
        return await add(n)

    @app.workflow
    async def bad() -> None:
        await app.state().get("sum")

    async def play() -> None:
        async with app, asyncio.timeout(30):
            assert await (await good.start(2)).result() == 2
            with pytest.raises(WorkflowFailed, match="use it in an activity"):
                await (await bad.start()).result()
        with pytest.raises(NotOpen):
            await app.state().get("sum")

    asyncio.run(play())


def test_what_cannot_be_a_store_or_a_key(tmp_path: Path) -> None:
    async def story(carts: State) -> None:
        with pytest.raises(InvalidArgument, match="stands between app and key"):
            await carts.get("other||1")
        with pytest.raises(InvalidArgument, match="a key is text, not int"):
            await carts.get(5)  # type: ignore[arg-type]
        for ttl in ("5", True):
            with pytest.raises(InvalidArgument, match="a time to live of"):
                await carts.set("1", 1, ttl=ttl)  # type: ignore[arg-type]
        with pytest.raises(EtagMismatch) as caught:
            await carts.set("1", 1, etag="x" * 10_000)
        assert len(str(caught.value)) < 200

    told(tmp_path, story)
    for name in ("no name", 5, "x" * 10_000):
        with pytest.raises(InvalidArgument, match="no name of a state store") as refused:
            App("shop").state(name)  # type: ignore[arg-type]
        assert len(str(refused.value)) < 200


def test_a_store_object_has_a_place_for_state_only_in_memory(tmp_path: Path) -> None:
    async def play() -> None:
        async with App("shop", store=MemoryStore()) as app:
            await app.state().set("1", 1)
            assert await app.state().get("1") == 1
        async with App("shop", store=open_store(f"sqlite:///{tmp_path}/shop.db")) as app:
            with pytest.raises(InvalidArgument, match="give it the store's address"):
                await app.state().get("1")

    asyncio.run(play())
