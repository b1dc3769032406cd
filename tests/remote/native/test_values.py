"""The state of an app that works for a server, which is the server's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from perdure import App, Codec, KeyRing
from perdure.blocks.state import EtagMismatch
from perdure.errors import InvalidArgument, NotDecodable, NotOpen
from tests.remote.native.serving import served


def test_values_at_a_server(tmp_path: Path) -> None:
    async def play() -> None:
        async with served(f"sqlite:///{tmp_path}/shop.db") as there, asyncio.timeout(30):
            app = App("shop", server=there.url)

            @app.activity
            async def add(n: int) -> int:
                return await app.state().update("sum", lambda sum: (sum or 0) + n, int)

            @app.workflow
            async def total(n: int) -> int:
                return await add(n)

            async with app:
                assert await (await total.start(3)).result() == 3
                carts = app.state()
                await carts.set("a", {"n": 1}, ttl=60)
                found = await carts.find("a")
                assert found is not None
                assert (found.value, found.expires is not None) == ({"n": 1}, True)
                with pytest.raises(EtagMismatch):
                    await carts.set("a", 2, first_write=True)
                await carts.set("a", 2, etag=found.etag)
                async with carts.transaction() as change:
                    await change.delete("a")
                    await change.set("b", None)
                assert await carts.get_many(["a", "b", "sum"]) == {"b": None, "sum": 3}
                await carts.delete("b")
                with pytest.raises(InvalidArgument, match="state store other is not found"):
                    await app.state("other").get("a")
            with pytest.raises(NotOpen):
                await app.state().get("a")
        # the same values, where the server keeps them
        async with App("shop", store=f"sqlite:///{tmp_path}/shop.db") as embedded:
            assert await embedded.state().get("sum") == 3

    asyncio.run(play())


def test_a_codec_packs_them_before_they_leave(tmp_path: Path) -> None:
    codec = Codec(keys=KeyRing({"k1": KeyRing.new_key()}))

    async def play() -> None:
        async with served(f"sqlite:///{tmp_path}/shop.db") as there, asyncio.timeout(30):
            async with App("shop", server=there.url, codec=codec) as app:
                await app.state().set("a", "not to be read")
                assert await app.state().get("a") == "not to be read"
            async with App("shop", server=there.url) as plain:
                with pytest.raises(NotDecodable, match="packed by a codec"):
                    await plain.state().get("a")

    asyncio.run(play())
