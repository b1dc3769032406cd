"""The calls about state on a real port, as messages of Dapr's own API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from perdure.app import open_store
from perdure.blocks.resources import USUAL, Component, Resources
from perdure.remote.server import Server
from perdure.remote.settings import Listener, ServerSettings
from perdure.remote.wire.schema import RUNTIME_SCHEMA
from tests.remote.peer import Peer

DAPR = "/dapr.proto.runtime.v1.Dapr/"
STORE = "statestore"


class Caller:
    """A client of the state calls, by its messages."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    async def call(self, name: str, answer: str = "", **fields: Any) -> Any:
        request = getattr(RUNTIME_SCHEMA, f"{name}Request")(**fields).SerializeToString()
        data = await self._peer.call(f"{DAPR}{name}", request)
        return RUNTIME_SCHEMA.parse(answer, data) if answer else None

    async def get(self, key: str, store: str = STORE) -> Any:
        return await self.call("GetState", "GetStateResponse", store_name=store, key=key)

    async def save(self, *states: dict[str, Any], store: str = STORE) -> None:
        await self.call("SaveState", store_name=store, states=states)


async def refused(code: grpc.StatusCode, call: Any) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        await call
    assert caught.value.code() == code, caught.value.details()
    return str(caught.value.details())


@asynccontextmanager
async def serving(folder: Path, resources: Resources, *apps: str) -> AsyncIterator[list[Caller]]:
    url = f"sqlite:///{folder}/shop.db"
    listeners = tuple(Listener(app_id=app, grpc_port=0, http_port=None, resources=resources) for app in apps)
    server = Server(open_store(url), ServerSettings(listeners=listeners, store=url, drain_seconds=0.0))
    await server.open()
    peers = [Peer(listener.grpc_port) for listener in server.listeners]
    try:
        async with asyncio.timeout(30):
            yield [Caller(peer) for peer in peers]
    finally:
        for peer in peers:
            await peer.__aexit__()
        await server.close()


def scene(test: Callable[..., Any], resources: Resources = USUAL) -> Callable[[Path], None]:
    """A test with a server, and a caller of each of two apps."""

    def run(tmp_path: Path) -> None:
        async def play() -> None:
            async with serving(tmp_path, resources, "shop", "bank") as callers:
                await test(*callers)

        asyncio.run(play())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@scene
async def test_values_of_two_apps_are_apart(shop: Caller, bank: Caller) -> None:
    await shop.save({"key": "a", "value": b"1"})
    assert (await bank.get("a")).data == b""
    found = await shop.get("a")
    assert (found.data, bool(found.etag), dict(found.metadata)) == (b"1", True, {})
    assert (await shop.get("a", "agent-memory")).data == b""


@scene
async def test_etags_and_concurrency(shop: Caller, bank: Caller) -> None:
    await shop.save({"key": "a", "value": b"1", "options": {"concurrency": 1}})
    aborted = grpc.StatusCode.ABORTED
    await refused(aborted, shop.save({"key": "a", "value": b"2", "options": {"concurrency": 1}}))
    old = (await shop.get("a")).etag
    await shop.save({"key": "a", "value": b"2", "etag": {"value": old}})
    told = await refused(aborted, shop.save({"key": "a", "value": b"3", "etag": {"value": old}}))
    assert "read it and try again" in told
    # because who says that the last write wins means it
    await shop.save({"key": "a", "value": b"3", "etag": {"value": old}, "options": {"concurrency": 2}})
    await shop.save({"key": "a", "value": b"4", "etag": {"value": ""}})
    await refused(aborted, shop.call("DeleteState", store_name=STORE, key="a", etag={"value": old}))
    await shop.call("DeleteState", store_name=STORE, key="a")
    assert (await shop.get("a")).data == b""


@scene
async def test_several_at_once(shop: Caller, bank: Caller) -> None:
    await shop.save(*({"key": f"k{n}", "value": str(n).encode()} for n in range(3)))
    found = await shop.call("GetBulkState", "GetBulkStateResponse", store_name=STORE, keys=["k2", "none", "k0"])
    assert [(one.key, one.data, bool(one.etag)) for one in found.items] == [
        ("k2", b"2", True),
        ("none", b"", False),
        ("k0", b"0", True),
    ]
    many = [f"k{n}" for n in range(2_500)]
    found = await shop.call("GetBulkState", "GetBulkStateResponse", store_name=STORE, keys=many)
    assert [one.key for one in found.items] == many
    # a save of several is all or nothing here
    states = [{"key": "k0", "value": b"new"}, {"key": "k1", "value": b"new", "etag": {"value": "old"}}]
    await refused(grpc.StatusCode.ABORTED, shop.save(*states))
    assert (await shop.get("k0")).data == b"0"
    await shop.call("DeleteBulkState", store_name=STORE, states=[{"key": "k0"}, {"key": "k1"}])
    assert (await shop.get("k0")).data == b""


@scene
async def test_a_transaction(shop: Caller, bank: Caller) -> None:
    def transact(*operations: tuple[str, dict[str, Any]], **more: Any) -> Any:
        told = [{"operationType": kind, "request": request} for kind, request in operations]
        return shop.call("ExecuteStateTransaction", storeName=STORE, operations=told, **more)

    await transact(("upsert", {"key": "a", "value": b"1"}), ("Upsert", {"key": "b", "value": b"1"}))
    bad = transact(("delete", {"key": "a"}), ("delete", {"key": "b", "etag": {"value": "old"}}))
    await refused(grpc.StatusCode.ABORTED, bad)
    assert (await shop.get("a")).data == b"1"
    await transact(("delete", {"key": "a"}), ("upsert", {"key": "b", "value": b"2"}), metadata={"ttlInSeconds": "60"})
    assert (await shop.get("a")).data == b""
    assert "ttlExpireTime" in (await shop.get("b")).metadata
    told = await refused(grpc.StatusCode.INVALID_ARGUMENT, transact(("insert", {"key": "a"})))
    assert "operation type 'insert' is not supported" in told


@scene
async def test_what_is_refused(shop: Caller, bank: Caller) -> None:
    wrong = grpc.StatusCode.INVALID_ARGUMENT
    assert "state store other is not found" in await refused(wrong, shop.get("a", "other"))
    await refused(wrong, shop.get("bank||a"))
    await refused(wrong, shop.get(""))
    await refused(wrong, shop.save({"key": "", "value": b"1"}))
    for ttl in ("0", "-2", "soon", "1.5"):
        await refused(wrong, shop.save({"key": "a", "value": b"1", "metadata": {"ttlInSeconds": ttl}}))
    await refused(grpc.StatusCode.UNIMPLEMENTED, shop.call("QueryState", store_name=STORE, query="{}"))
    await refused(grpc.StatusCode.UNIMPLEMENTED, shop._peer.call(f"{DAPR}QueryStateAlpha1"))


def test_an_app_without_state_stores(tmp_path: Path) -> None:
    async def play() -> None:
        async with serving(tmp_path, Resources(), "shop") as (shop,):
            told = await refused(grpc.StatusCode.FAILED_PRECONDITION, shop.get("a"))
            assert "state store is not configured" in told

    asyncio.run(play())


def test_a_server_that_does_not_answer_holds_up_its_own_callers_alone(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def play() -> None:
        listener = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        dead = Component(name="dead", type="state.redis", version="v1", metadata={"redisHost": f"127.0.0.1:{port}"})
        alive = Component(name="alive", type="state.in-memory", version="v1")
        async with serving(tmp_path, Resources(components=(dead, alive)), "shop") as (shop,):
            waiting = asyncio.ensure_future(shop.get("a", "dead"))
            await asyncio.sleep(0.1)
            async with asyncio.timeout(30):
                await shop.save({"key": "a", "value": b"1"}, store="alive")
            assert not waiting.done()
            waiting.cancel()
        listener.close()

    asyncio.run(play())


def test_a_component_decides_prefix_time_to_live_and_who_sees_it(tmp_path: Path) -> None:
    address = {"connectionString": f"{tmp_path}/values.db"}
    resources = Resources(
        components=(
            Component(name="shared", type="state.sqlite", version="v1", metadata={**address, "keyPrefix": "none"}),
            Component(name="own", type="state.sqlite", version="v1", metadata=address, scopes=("bank",)),
            Component(name="redis", type="state.redis", version="v1", metadata={"redisHost": "127.0.0.1:1"}),
        )
    )

    async def play() -> None:
        async with serving(tmp_path, resources, "shop", "bank") as (shop, bank):
            await shop.save({"key": "a", "value": b"1"}, store="shared")
            assert (await bank.get("a", "shared")).data == b"1"
            assert (await bank.get("a", "own")).data == b""
            await refused(grpc.StatusCode.INVALID_ARGUMENT, shop.get("a", "own"))
            # a store that is not there harms its own callers alone
            await refused(grpc.StatusCode.UNAVAILABLE, shop.get("a", "redis"))

    asyncio.run(play())
