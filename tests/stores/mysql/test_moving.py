"""Apps that move to MariaDB and away from it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from perdure import Client, app
from perdure.errors import AppReserved
from perdure.stores.contract import Reservation, Side
from perdure.stores.moving import End, move, plan
from perdure.stores.sql.connection import Connection
from perdure.stores.sql.mysql.connection import MysqlConnection
from perdure.testing.conformance import APP, Scene, a_mail
from tests.stores import moving_app
from tests.stores.on_servers import SECONDS, nodes

pytestmark = pytest.mark.mariadb


class TestMoves:
    @pytest.mark.parametrize("to_server", [True, False], ids=["to", "from"])
    def test_an_app_goes_on_in_its_new_store(self, tmp_path: Path, address: str, to_server: bool) -> None:
        file, server = app.open_store(f"sqlite:///{tmp_path}/shop.db"), app.open_store(f"{address}&lease=2")
        source, target = (file, server) if to_server else (server, file)

        async def play() -> None:
            await moving_app.begin(moving_app.shop(source, tmp_path))
            async with Client(source, app_id=APP) as client:
                await moving_app.add(client)
            for store in (source, target):
                await store.open()
            away, there = End(source, "source"), End(target, "target")
            planned = await plan(away, there, APP, finished=False)
            done = await move(away, there, APP, finished=False, token="t", now=5)
            assert (done, done.left, done.finished, done.conflicts) == (planned, 1, 0, ())
            for store in (source, target):
                await store.close()
            results = await moving_app.end(moving_app.shop(target, tmp_path), tmp_path)
            assert {**results, "items": None} == {**moving_app.RESULTS, "items": None}
            with pytest.raises(AppReserved, match="was moved to target"):
                await Client(source, app_id=APP).__aenter__()

        asyncio.run(asyncio.wait_for(play(), 50))

    def test_who_writes_when_the_app_is_reserved_is_waited_for(self, address: str) -> None:
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
                    connection.begin(write=True)
                    connection.row("select 1")  # passes the gate
                    loop.call_soon_threadsafe(looked.set)
                    asyncio.run_coroutine_threadsafe(goes_on.wait(), loop).result(SECONDS)
                    connection.commit()

                def guarded(connection: Connection) -> None:
                    assert isinstance(connection, MysqlConnection)
                    connection.unless_reserved([shard], slowly)

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
