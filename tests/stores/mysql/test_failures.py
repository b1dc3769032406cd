"""A server, a connection or a disk that fails is told, and nothing is lost."""

from __future__ import annotations

import asyncio
import threading

import pytest

from perdure.errors import StoreFull, StoreUnavailable
from perdure.stores.contract import Outcome
from perdure.stores.sql.cluster import ClusterStore
from perdure.stores.sql.connection import Connection
from perdure.stores.sql.mysql import open_store
from perdure.stores.sql.mysql.address import read_address
from perdure.testing.conformance import Scene
from servers.mariadb import MariaDb, running
from servers.wire import Wire
from tests.stores.mysql.places import database_of
from tests.stores.on_servers import SECONDS, nodes, told

pytestmark = pytest.mark.mariadb


class TestFailures:
    def test_a_lost_connection_is_an_unknown_outcome_and_the_next_call_has_another(
        self, server: MariaDb, address: str
    ) -> None:
        async def story(store: ClusterStore) -> None:
            scene = await Scene.of(store)
            await scene.start("a")
            own = f"db = '{database_of(address)}' and user = 'perdure'"
            killed = server.run(f"select id from information_schema.processlist where {own}")
            server.run(*(f"kill {id}" for (id,) in killed))
            with pytest.raises(StoreUnavailable):
                await scene.commit(scene.turn("a", 1), commit_id="lost")
            assert not await store.settle_unknown(scene.lease("a"), "lost")
            await scene.committed(scene.turn("a", 1))

        told(address, story)

    def test_a_commit_whose_answer_is_lost_is_found_by_its_token(self, address: str) -> None:
        async def play() -> None:
            place = read_address(address)
            async with Wire.to(place.host, place.port) as wire:
                store = open_store(address.replace(f":{place.port}/", f":{wire.port}/"))
                await store.open()
                scene = await Scene.of(store)
                await scene.start("a")
                wire.cut_answers()
                with pytest.raises(StoreUnavailable, match="whether a write happened is not known"):
                    await scene.commit(scene.turn("a", 1), commit_id="heard")
                wire.mend()
                assert await store.settle_unknown(scene.lease("a"), "heard")
                assert (await scene.head("a")).sequence == 2
                await store.close()

        asyncio.run(play())

    def test_a_node_that_freezes_in_a_transaction_holds_up_nobody_for_long(
        self, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("perdure.stores.sql.mysql.database.IDLE_TRANSACTION_SECONDS_MAX", 1)

        async def play() -> None:
            async with nodes(address) as (frozen, other):
                scene = await Scene.of(other)
                await scene.start("a")
                holds = threading.Event()
                thaws = threading.Event()

                def freeze(connection: Connection) -> None:
                    connection.change("update perdure_head set updated = 1 where id = 'a'")
                    holds.set()
                    thaws.wait(SECONDS)
                    connection.change("update perdure_head set updated = 2 where id = 'a'")

                stuck = asyncio.create_task(frozen._write(freeze))
                await asyncio.to_thread(holds.wait)
                await scene.committed(scene.turn("a", 1))
                thaws.set()
                with pytest.raises(StoreUnavailable):
                    await stuck
                assert (await scene.head("a")).updated == 2_000

        asyncio.run(play())

    def test_a_full_disk_is_told_and_nothing_was_written(self, server: MariaDb, address: str) -> None:
        async def story(store: ClusterStore) -> None:
            scene = await Scene.of(store)
            await scene.start("a")
            database = database_of(address)
            server.run(
                "create trigger full_disk before insert on perdure_history for each row "
                "signal sqlstate 'HY000' set mysql_errno = 1114, message_text = 'The table is full'",
                database=database,
            )
            with pytest.raises(StoreFull, match="free some and try again"):
                await scene.commit(scene.turn("a", 1, segment=b"[]"))
            server.run("drop trigger full_disk", database=database)
            await scene.committed(scene.turn("a", 1, segment=b"[]"))

        told(address, story)

    def test_a_server_that_is_killed_keeps_what_it_committed_and_is_found_again(self) -> None:
        with running() as durable:
            address = durable.new_url()

            async def story(store: ClusterStore) -> None:
                scene = await Scene.of(store)
                for number in range(20):
                    await scene.start(f"i{number}")
                await asyncio.to_thread(durable.kill)
                with pytest.raises(StoreUnavailable):
                    await scene.commit(scene.turn("i0", 1), commit_id="dead")
                await asyncio.to_thread(durable.start)
                assert not await store.settle_unknown(scene.lease("i0"), "dead")
                with pytest.raises(StoreUnavailable):  # because the connection that reads was lost too
                    await scene.find()
                assert sorted(await scene.find()) == sorted(f"i{number}" for number in range(20))
                await scene.committed(scene.turn("i0", 1))

            told(address, story)

    @pytest.mark.parametrize("mark", ["x", "'", "ü"])
    def test_rows_up_to_the_packet_are_taken_and_larger_ones_refused(self, address: str, mark: str) -> None:
        """Whatever they are full of, and without the server having to refuse a packet, which ends the connection."""

        async def story(store: ClusterStore) -> None:
            scene = await Scene.of(store)
            most = store._database.row_bytes_max
            await scene.start("a")
            taken = b'["' + mark.encode() * ((most - 1_000) // len(mark.encode())) + b'"]'
            await scene.committed(scene.turn("a", 1, segment=taken))
            refused = b'["' + b"x" * (most * 3 // 2) + b'"]'
            assert await scene.commit(scene.turn("a", 2, segment=refused)) == [Outcome.TOO_LARGE]
            assert bytes((await scene.load("a")).segments[0].events) == taken

        told(address, story)
