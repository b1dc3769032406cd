"""KEDA's questions, over real connections: which numbers it gets, without a token, and for which app."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from perdure.app import open_store
from perdure.engine.load import Load
from perdure.remote.loads import LOOK_SECONDS, Loads
from perdure.remote.security import Token
from perdure.remote.server import Server
from perdure.remote.settings import Listener, ServerSettings
from perdure.stores.contract import OFFERED, Batch, Head, Member, Status, Turn, Wait
from perdure.stores.memory import MemoryStore
from tests.remote.peer import Peer, until

SERVICE = "/externalscaler.ExternalScaler/"


def messages() -> dict[str, Any]:
    """KEDA's messages, as a program that knows nothing of Perdure has them."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="keda.proto", package="externalscaler", syntax="proto3")

    def message(title: str, *fields: tuple[str, int, int] | tuple[str, int, str, bool]) -> Any:
        made = file.message_type.add(name=title)
        for name, number, kind, *repeated in fields:
            label = kinds.LABEL_REPEATED if repeated and repeated[0] else kinds.LABEL_OPTIONAL
            field = made.field.add(name=name, number=number, label=label)
            if isinstance(kind, str):
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".externalscaler.{kind}"
            else:
                field.type = kind
        return made

    reference = message(
        "ScaledObjectRef",
        ("name", 1, kinds.TYPE_STRING),
        ("namespace", 2, kinds.TYPE_STRING),
        ("scalerMetadata", 3, "ScaledObjectRef.ScalerMetadataEntry", True),
    )
    entry = reference.nested_type.add(name="ScalerMetadataEntry")
    entry.options.map_entry = True
    for number, name in enumerate(("key", "value"), 1):
        entry.field.add(name=name, number=number, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    message("IsActiveResponse", ("result", 1, kinds.TYPE_BOOL))
    message(
        "MetricSpec",
        ("metricName", 1, kinds.TYPE_STRING),
        ("targetSize", 2, kinds.TYPE_INT64),
        ("targetSizeFloat", 3, kinds.TYPE_DOUBLE),
    )
    message("GetMetricSpecResponse", ("metricSpecs", 1, "MetricSpec", True))
    message("GetMetricsRequest", ("scaledObjectRef", 1, "ScaledObjectRef", False), ("metricName", 2, kinds.TYPE_STRING))
    message(
        "MetricValue",
        ("metricName", 1, kinds.TYPE_STRING),
        ("metricValue", 2, kinds.TYPE_INT64),
        ("metricValueFloat", 3, kinds.TYPE_DOUBLE),
    )
    message("GetMetricsResponse", ("metricValues", 1, "MetricValue", True))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    found = (each.name for each in file.message_type)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"externalscaler.{name}")) for name in found
    }


KEDA = messages()


class Scaler:
    """KEDA, asking."""

    def __init__(self, port: int, **metadata: str) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])
        self.reference = KEDA["ScaledObjectRef"](name="shop", namespace="default", scalerMetadata=metadata)

    async def __aenter__(self) -> Scaler:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._channel.close()

    async def is_active(self) -> bool:
        return bool((await self._call("IsActive", self.reference, "IsActiveResponse")).result)

    async def stream(self) -> AsyncIterator[bool]:
        call = self._channel.unary_stream(
            SERVICE + "StreamIsActive",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=KEDA["IsActiveResponse"].FromString,
        )(self.reference, timeout=30)
        async for answer in call:
            yield answer.result

    async def target(self) -> tuple[str, int, float]:
        (spec,) = (await self._call("GetMetricSpec", self.reference, "GetMetricSpecResponse")).metricSpecs
        return spec.metricName, spec.targetSize, spec.targetSizeFloat

    async def value(self) -> int:
        name, _, _ = await self.target()
        asked = KEDA["GetMetricsRequest"](scaledObjectRef=self.reference, metricName=name)
        (value,) = (await self._call("GetMetrics", asked, "GetMetricsResponse")).metricValues
        assert (value.metricName, value.metricValueFloat) == (name, value.metricValue)
        return int(value.metricValue)

    async def _call(self, name: str, asked: Any, answer: str) -> Any:
        call = self._channel.unary_unary(
            SERVICE + name,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=KEDA[answer].FromString,
        )
        return await call(asked, timeout=15)


@asynccontextmanager
async def serving(store: Any, *apps: str, **settings: Any) -> AsyncIterator[Server]:
    listeners = tuple(Listener(app_id=app, grpc_port=0, http_port=0) for app in apps or ("shop",))
    server = Server(store, ServerSettings(listeners=listeners, store="memory:", drain_seconds=0.0, **settings))
    await server.open()
    try:
        yield server
    finally:
        await server.close()


def port(server: Server, which: int = 0) -> int:
    return server.listeners[which].grpc_port


async def browsed(server: Server) -> dict[str, Any]:
    async with httpx.AsyncClient(trust_env=False) as browser:
        answer = await browser.get(f"http://127.0.0.1:{server.listeners[0].http_port}/v1.0/scaling")
        assert answer.status_code == 200
        found: dict[str, Any] = answer.json()
        return found


@pytest.mark.long
def test_a_server_without_workers_tells_of_what_was_started(tmp_path: Any) -> None:
    async def play() -> None:
        store = open_store(f"sqlite:///{tmp_path}/shop.db")
        async with serving(store, api_token=Token("secret")) as server, Scaler(port(server), appId="shop") as keda:
            assert not await keda.is_active()
            assert await keda.target() == ("perdure-load", 100, 100.0)
            assert await keda.value() == 0
            stream = keda.stream()
            assert await anext(stream) is False
            async with Peer(port(server), metadata=(("dapr-api-token", "secret"),)) as peer:
                for number in range(3):
                    await peer.start("checkout", f"i{number}")
            assert await anext(stream) is True
            assert (await keda.is_active(), await keda.value()) == (True, 3)
            found = await browsed(server)
            assert (found["appID"], found["active"], found["waiting"], found["unfinished"]) == ("shop", True, 3, 3)
            assert found["oldestSeconds"] > 0

    asyncio.run(play())


@pytest.mark.long
def test_the_nodes_of_a_store_count_together() -> None:
    async def play() -> None:
        store = MemoryStore(shard_count=4, lease_seconds=60.0)
        await offer(store, 30)
        async with serving(store) as server, Scaler(port(server), appId="shop", target="10") as keda:
            assert await keda.target() == ("perdure-load", 10, 10.0)
            assert (await keda.is_active(), await keda.value()) == (True, 30), "nobody with code lives"
            for number, busy in enumerate((4, 4, 2)):
                await store.beat("shop", Member(f"n{number}", slots=4, busy=busy), [])
            found = await until_looked_again(server, lambda found: found["nodes"] == 3)
            assert (found["slots"], found["busy"], found["waiting"], found["offered"]) == (12, 10, 30, 30)
            assert await keda.value() == 30 + 25, "two and a half nodes are at work"

    asyncio.run(play())


async def offer(store: MemoryStore, count: int) -> None:
    """A workflow whose calls wait for a slot, left by a node that was asked to stop."""
    leases = await store.acquire("shop", "gone")
    waits = [Wait(number, "activity", "charge", 5, attempt=1, state=OFFERED) for number in range(count)]
    head = Head("i", "shop", "checkout", Status.RUNNING, "e", 1, 1, 5, 5)
    lease = next(lease for lease in leases if lease.shard == 3)
    await store.commit([Batch(lease, [Turn(3, "i", "e", 1, None, 5, head, opened=waits)])], "t")
    await store.release(leases)


async def until_looked_again(server: Server, holds: Any) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = await browsed(server)
        return found if holds(found) else None

    found: dict[str, Any] = await until(look)
    return found


@pytest.mark.parametrize("target", ["0", "-1", "many", "nan", "inf"])
def test_a_target_that_is_none_is_refused(target: str) -> None:
    async def play() -> grpc.aio.AioRpcError:
        async with serving(MemoryStore()) as server, Scaler(port(server), target=target) as keda:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await keda.target()
            return refused.value

    refused = asyncio.run(play())
    assert refused.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "above 0" in (refused.details() or "")


def test_without_a_token_only_the_apps_of_this_server_are_told_of_and_nothing_else_answers() -> None:
    async def play() -> None:
        async with serving(MemoryStore(), "shop", "bank", api_token=Token("secret")) as server:
            for app, expected in (("shop", None), ("bank", None), ("mill", grpc.StatusCode.PERMISSION_DENIED)):
                async with Scaler(port(server), appId=app) as keda:
                    for call in (keda.is_active, keda.value, keda.target):
                        assert await refusal(call()) == expected
            async with Peer(port(server)) as peer:
                assert await refusal(peer.call("Hello")) == grpc.StatusCode.UNAUTHENTICATED

    asyncio.run(play())


async def refusal(call: Any) -> grpc.StatusCode | None:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return None


def test_however_many_ask_the_store_is_looked_at_once_in_a_while() -> None:
    async def play() -> None:
        now, looks = 0.0, 0

        async def look(app: str) -> Load:
            nonlocal looks
            looks += 1
            await asyncio.sleep(0)
            if app == "broken":
                raise ValueError(app)
            return Load(app=app, ready=looks)

        loads = Loads(look, lambda: now)
        answers = await asyncio.gather(*(loads.of("shop") for _ in range(100)))
        assert ({load.ready for load in answers}, looks) == ({1}, 1)
        now = LOOK_SECONDS / 2
        assert ((await loads.of("shop")).ready, (await loads.of("bank")).app) == (1, "bank")
        now = LOOK_SECONDS
        assert (await loads.of("shop")).ready == 3
        for _ in range(2):
            with pytest.raises(ValueError, match="broken"):
                await loads.of("broken")
        assert looks == 5, "an error is no answer to be kept"
        waiting = asyncio.ensure_future(loads.of("mill"))
        await asyncio.sleep(0)
        await loads.stop()
        assert await asyncio.gather(waiting, return_exceptions=True) != [Load(app="mill")]

    asyncio.run(play())
