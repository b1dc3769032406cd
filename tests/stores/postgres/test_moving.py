"""An app goes from a laptop's SQLite file to PostgreSQL, and back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from perdure import Client
from perdure.app import open_store
from perdure.errors import AppReserved
from perdure.stores.contract import FORMAT, Reservation, Side
from perdure.stores.moving import End, move, plan
from perdure.stores.sql.connection import Connection
from perdure.testing.conformance import APP, Scene, a_mail
from tests.stores.moving_app import RESULTS, add, begin, end, shop
from tests.stores.on_servers import SECONDS, nodes, told


@pytest.mark.long
@pytest.mark.parametrize("to_server", [True, False], ids=["to", "from"])
def test_an_app_goes_on_in_its_new_store(tmp_path: Path, address: str, to_server: bool) -> None:
    file, server = open_store(f"sqlite:///{tmp_path}/shop.db"), open_store(f"{address}&lease=2")
    source, target = (file, server) if to_server else (server, file)

    async def play() -> None:
        await begin(shop(source, tmp_path))
        async with Client(source, app_id=APP) as client:
            await add(client)
        away, there = End(source, "source"), End(target, "target")
        try:
            for store in (source, target):
                await store.open()
            planned = await plan(away, there, APP, finished=True)
            done = await move(away, there, APP, finished=True, token="t", now=5)
        finally:
            for store in (source, target):
                await store.close()
        # with those that have finished, which is one or more
        assert (done, done.left, done.conflicts) == (planned, 0, ())
        results = await end(shop(target, tmp_path), tmp_path)
        others = {"items": None, "lot": None}
        assert results | others == RESULTS | others
        with pytest.raises(AppReserved, match="was moved to target"):
            await Client(source, app_id=APP).__aenter__()

    asyncio.run(asyncio.wait_for(play(), 50))


def test_who_writes_when_the_app_is_reserved_is_waited_for(address: str) -> None:
    """No mail comes after the reservation, though it was looked for before."""

    async def play() -> None:
        async with nodes(address) as (writer, mover):
            scene = await Scene.of(writer)
            await scene.start("a")
            await scene.release()
            shard = scene.shard("a")
            looked, goes_on = asyncio.Event(), asyncio.Event()
            loop = asyncio.get_running_loop()

            def slowly(connection: Connection) -> None:
                connection.begin(write=True)  # has looked for a reservation, because the call is guarded
                loop.call_soon_threadsafe(looked.set)
                asyncio.run_coroutine_threadsafe(goes_on.wait(), loop).result(SECONDS)
                connection.commit()

            def guarded(connection: Connection) -> None:
                connection.unless_reserved([shard], slowly)  # type: ignore[attr-defined]

            writing = asyncio.create_task(writer._session(writer._writer).run(guarded))
            await looked.wait()
            kept = asyncio.create_task(mover.reserve(APP, Reservation("m", Side.SOURCE, "there", 1)))
            done, _ = await asyncio.wait([kept], timeout=0.3)
            assert not done
            goes_on.set()
            await writing
            await kept
            with pytest.raises(AppReserved):
                await writer.deliver(shard, [a_mail("a", "late")])

    asyncio.run(play())


def test_a_store_says_how_it_is(address: str) -> None:
    async def story(store: object) -> None:
        found = await store.check()  # type: ignore[attr-defined]
        assert found.product.startswith("PostgreSQL 18")
        assert (found.format, found.wrong) == (FORMAT, [])
        assert found.settings == {"fsync": "off", "synchronous_commit": "on", "full_page_writes": "on"}
        assert found.durability.startswith("C: fsync is off, so a commit may be lost")
        assert await store.size() > 100_000  # type: ignore[attr-defined]

    told(address, story)
