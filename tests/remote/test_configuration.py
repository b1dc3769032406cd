"""Dapr's configuration calls: items that are read, watched and changed, on each of the places they may lie in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from perdure.blocks.configuration import Item, KeptConfiguration, changed, difference
from perdure.blocks.resources import Component
from perdure.cli.configuration import get, set_
from perdure.errors import InvalidArgument, StoreUnavailable
from perdure.remote.configuration import PostgresItems, RedisItems, redis_item
from perdure.remote.rpc.table import RUNTIME
from perdure.remote.wire.schema import RUNTIME_SCHEMA
from perdure.stores.values.opening import open_values
from servers.postgres import PostgresServer, running
from servers.valkey import Valkey
from tests.conftest import Run
from tests.remote.test_conversation import Caller, component, play
from tests.stores.postgres.places import make_user

GET = ("GetConfiguration", "GetConfigurationRequest", "GetConfigurationResponse")
OWN = component("settings", "configuration.perdure")


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"), "no")
    yield server
    server.stop()


async def change(folder: Path, **values: str | None) -> None:
    """From another process, as the command line does it."""
    store = open_values(f"sqlite:///{folder}/app.db", "configuration")
    await store.open()
    try:
        await KeptConfiguration(store, "settings").change(values)
    finally:
        await store.close()


class Watching:
    """A subscription, read message by message."""

    def __init__(self, client: Caller, *keys: str) -> None:
        asked = RUNTIME_SCHEMA.SubscribeConfigurationRequest(store_name="settings", keys=keys).SerializeToString()
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{client.port}")
        subscribe: Any = channel.unary_stream(f"/{RUNTIME}/SubscribeConfiguration")
        self._call: Any = subscribe(asked)

    async def next(self) -> tuple[str, dict[str, tuple[str, str]]]:
        data = await self._call.read()
        assert data is not grpc.aio.EOF
        message = RUNTIME_SCHEMA.parse("SubscribeConfigurationResponse", data)
        return message.id, {key: (item.value, item.version) for key, item in message.items.items()}

    async def has_ended(self) -> bool:
        return await self._call.read() is grpc.aio.EOF


@pytest.mark.long
def test_items_are_read_and_watched(tmp_path: Path) -> None:
    async def scenario(client: Caller) -> None:
        assert not (await client.ask(*GET, store_name="settings")).items
        await change(tmp_path, role="clerk", goal="help")
        found = (await client.ask(*GET, store_name="settings", keys=["role", "none"])).items
        assert {key: (item.value, item.version) for key, item in found.items()} == {"role": ("clerk", "1")}
        watching = Watching(client, "role", "new")
        id, first = await watching.next()
        assert (bool(id), first) == (True, {})
        await change(tmp_path, role="judge", goal="other", new="yes")
        assert await watching.next() == (id, {"role": ("judge", "2"), "new": ("yes", "1")})
        await change(tmp_path, role=None)
        assert await watching.next() == (id, {"role": ("", "")})
        answers = ("UnsubscribeConfiguration", "UnsubscribeConfigurationRequest", "UnsubscribeConfigurationResponse")
        assert (await client.ask(*answers, store_name="settings", id=id)).ok
        assert await watching.has_ended()
        assert not (await client.ask(*answers, store_name="settings", id=id)).ok
        with pytest.raises(grpc.aio.AioRpcError, match="no configuration store 'other'; there are: settings"):
            await client.ask(*GET, store_name="other")

    play(scenario, tmp_path, OWN)


def test_items_outlive_the_server_and_are_shown_by_the_command_line(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/app.db"

    async def set_and_show() -> None:
        await set_(name="settings", items=["a=1", "b=x=y"], store=url)
        await set_(name="settings", items=["a=2"], store=url)
        await get(name="settings", store=url)

    run(set_and_show)
    assert capsys.readouterr().out == "a=2  (version 2)\nb=x=y  (version 1)\n"

    async def scenario(client: Caller) -> None:
        found = (await client.ask(*GET, store_name="settings")).items
        assert {key: item.value for key, item in found.items()} == {"a": "2", "b": "x=y"}

    play(scenario, tmp_path, OWN)


def test_changes_at_one_time_are_all_kept(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        await asyncio.gather(*(change(tmp_path, **{f"key{number}": "x"}) for number in range(8)))
        store = open_values(f"sqlite:///{tmp_path}/app.db", "configuration")
        await store.open()
        assert len(await KeptConfiguration(store, "settings").items()) == 8
        await store.close()

    run(scenario)


def test_items_of_a_redis_are_those_that_others_put_there(valkey: Valkey, tmp_path: Path, run: Run) -> None:
    redis: Component = component("settings", "configuration.redis", redisHost=f"127.0.0.1:{valkey.port}")

    async def put() -> None:
        from redis.asyncio import Redis

        async with Redis(port=valkey.port) as client:
            await client.mset({"role": "clerk||7", "plain": "a"})

    run(put)

    async def scenario(client: Caller) -> None:
        for keys in (["role", "plain", "none"], []):
            found = (await client.ask(*GET, store_name="settings", keys=keys)).items
            told = {key: (item.value, item.version) for key, item in found.items()}
            assert told == {"role": ("clerk", "7"), "plain": ("a", "")}

    play(scenario, tmp_path, redis)


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running() as started:
        make_user(started, "config")
        yield started


@pytest.mark.long
def test_items_of_a_table_are_read(postgres: PostgresServer, run: Run) -> None:
    address = postgres.address(user="config")

    async def scenario() -> None:
        import asyncpg

        connection = await asyncpg.connect(address)
        await connection.execute("CREATE TABLE settings (key text, value text, version text, metadata json)")
        await connection.execute(
            """INSERT INTO settings VALUES ('role', 'clerk', '3', '{"by": "ann"}'), ('a', 'b', NULL, NULL)"""
        )
        await connection.close()
        table = PostgresItems(address, "settings")
        assert await table.items(["role"]) == {"role": Item("clerk", "3", {"by": "ann"})}
        assert set(await table.items([])) == {"role", "a"}
        with pytest.raises(StoreUnavailable, match="the table nowhere of a configuration cannot be read"):
            await PostgresItems(address, "nowhere").items([])

    run(scenario)


def test_a_redis_that_is_not_there_is_told(run: Run) -> None:
    async def scenario() -> None:
        with pytest.raises(StoreUnavailable, match="cannot be read"):
            await RedisItems("redis://127.0.0.1:1/0").items(["a"])

    run(scenario)


@pytest.mark.parametrize(
    "text, item", [("a", Item("a")), ("a||1", Item("a", "1")), ("a||b||2", Item("a||b", "2")), ("", Item(""))]
)
def test_what_a_value_in_redis_says(text: str, item: Item) -> None:
    assert redis_item(text) == item


def test_versions_and_differences() -> None:
    before = {"a": Item("1", "1"), "b": Item("2", "4")}
    after = changed(before, {"a": "1", "b": "3", "c": "5", "gone": None})
    assert after == {"a": Item("1", "1"), "b": Item("3", "5"), "c": Item("5", "1")}
    assert difference(before, after) == {"b": Item("3", "5"), "c": Item("5", "1")}
    assert difference(after, before) == {"b": Item("2", "4"), "c": Item("")}


@pytest.mark.parametrize("values", [{"": "x"}, {"k" * 513: "x"}, {"k": "v" * 70_000}])
def test_what_is_no_item_is_refused(values: dict[str, str], tmp_path: Path, run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        with pytest.raises(InvalidArgument):
            await change(tmp_path, **values)

    run(scenario)
