"""Redis Streams as a broker, on Valkey."""

from __future__ import annotations

import asyncio
import json

import pytest

from servers.valkey import Valkey
from tests.remote.brokers.stories import Desk, OnBrokers, a_message, told, until


class TestRedis(OnBrokers):
    @pytest.fixture
    def address(self, valkey: Valkey) -> str:
        valkey.clear()
        return valkey.url()

    @pytest.fixture
    def server(self, valkey: Valkey) -> Valkey:
        return valkey

    def test_a_topic_of_one_part_lies_where_daprs_component_has_it(self, address: str, valkey: Valkey) -> None:
        async def story(desk: Desk) -> None:
            broker = desk.node()
            await broker.publish([a_message("ours", data=b"[1]")])
            with valkey.client() as client:
                ((_, fields),) = client.xrange("orders")
                event = json.loads(fields[b"data"])
                assert (event["id"], event["data"], event["topic"]) == ("ours", [1], "orders")
                theirs = {"specversion": "1.0", "id": "theirs", "source": "x", "type": "y", "data": 2}
                client.xadd("orders", {"data": json.dumps(theirs), "metadata": "{}"})
                client.xadd("orders", {"data": b"\xff"})
                client.xadd("orders", {"other": "nothing of ours"})
            await broker.subscribe("orders", "g", desk.take)
            await until(lambda: len(desk.got) == 3)
            assert desk.ids[:2] == ["ours", "theirs"]
            assert (desk.got[2].data, desk.got[2].content_type) == (b"\xff", "application/octet-stream")

        told(address, story)

    def test_a_server_that_lost_its_data_is_used_again(self, address: str, valkey: Valkey) -> None:
        async def story(desk: Desk) -> None:
            broker = desk.node("lease=1")
            await broker.subscribe("orders", "g", desk.take)
            valkey.clear()
            await broker.publish([a_message("new")])
            await until(lambda: desk.ids == ["new"])

        told(address, story)

    @pytest.mark.long
    def test_a_topic_keeps_no_more_than_it_is_told(self, address: str, valkey: Valkey) -> None:
        async def story(desk: Desk) -> None:
            await desk.node("keep_messages=100").publish([a_message(str(number)) for number in range(1_000)])
            with valkey.client() as client:
                assert client.xlen("orders") < 300
            await desk.node("keep=1").publish([a_message(f"b{number}", "brief") for number in range(1_000)])
            await asyncio.sleep(1.1)
            await desk.node("keep=1").publish([a_message("last", "brief")])
            with valkey.client() as client:
                assert client.xlen("brief") < 300

        told(address, story)
