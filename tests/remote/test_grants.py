"""What a caller may do at a port of a real server, and what it may not."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest

from perdure.remote.security import Token
from perdure.remote.server import Server
from perdure.remote.settings import Listener, ServerSettings
from perdure.stores.memory import MemoryStore

SECONDS = 10
OWN, ALL = ("dapr-api-token", "own"), ("dapr-api-token", "every")
BILLING = ("dapr-app-id", "billing")
SERVICE = "/TaskHubSidecarService/"


def field(number, *parts):
    """A field of a protobuf message: bytes of a known length."""
    data = b"".join(part if isinstance(part, bytes) else part.encode() for part in parts)
    assert number < 16
    assert len(data) < 128
    return bytes([number << 3 | 2, len(data)]) + data


def router(number, app):
    return field(number, field(2, app))


@asynccontextmanager
async def serving(*apps, **settings):
    listeners = tuple(Listener(app_id=app, grpc_port=0, http_port=None) for app in apps)
    server = Server(MemoryStore(), ServerSettings(listeners=listeners, store="memory:", drain_seconds=0, **settings))
    await server.open()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.listeners[0].grpc_port}") as channel:
            yield server, channel
    finally:
        await server.close()


async def call(channel, name, data=b"", *metadata):
    return await channel.unary_unary(SERVICE + name)(data, timeout=SECONDS, metadata=metadata)


async def status(channel, name, data=b"", *metadata):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, name, data, *metadata)
    return refused.value.code()


START = field(1, "i") + field(2, "wait")
NAMING_ANOTHER = [
    ("StartInstance", START + router(11, "billing")),
    ("GetInstance", field(1, "i") + router(3, "billing")),
    ("RaiseEvent", field(1, "i") + field(2, "e") + router(4, "billing")),
    ("TerminateInstance", field(1, "i") + router(4, "billing")),
    ("SuspendInstance", field(1, "i") + router(3, "billing")),
    ("ResumeInstance", field(1, "i") + router(3, "billing")),
    ("PurgeInstances", field(1, "i") + router(5, "billing")),
]


@pytest.mark.parametrize("name, data", NAMING_ANOTHER)
def test_a_request_that_names_an_app_without_right_is_refused(name, data):
    async def scenario():
        async with serving("shop", api_token=Token("own"), all_apps_token=Token("every")) as (server, channel):
            assert await status(channel, name, data, OWN) == grpc.StatusCode.PERMISSION_DENIED
            assert server.hosted.operations_of("billing") is None
        async with serving("shop") as (server, channel):
            assert await status(channel, name, data) == grpc.StatusCode.PERMISSION_DENIED

    asyncio.run(scenario())


def test_a_request_may_name_an_app_with_the_token_for_all_or_of_the_same_server():
    async def scenario():
        async with serving("shop", api_token=Token("own"), all_apps_token=Token("every")) as (_, channel):
            assert await call(channel, "StartInstance", START + router(11, "billing"), ALL) == field(1, "i")
            assert await call(channel, "StartInstance", START, OWN) == field(1, "i")
        async with serving("shop", "billing") as (_, channel):
            assert await call(channel, "StartInstance", START + router(11, "billing")) == field(1, "i")
            assert await call(channel, "StartInstance", START) == field(1, "i")

    asyncio.run(scenario())


def test_who_was_admitted_is_known_by_all_that_it_says_of_itself_and_nobody_else_is():
    async def scenario():
        async with serving("shop", api_token=Token("own"), all_apps_token=Token("every")) as (_, channel):
            for _ in range(2):
                assert await call(channel, "Hello", b"", OWN) == b""
                assert await status(channel, "Hello") == grpc.StatusCode.UNAUTHENTICATED
                assert await status(channel, "Hello", b"", ("dapr-api-token", "owm")) == grpc.StatusCode.UNAUTHENTICATED
                assert await status(channel, "Hello", b"", OWN, BILLING) == grpc.StatusCode.PERMISSION_DENIED
                assert await call(channel, "Hello", b"", ALL, BILLING) == b""

    asyncio.run(scenario())


def test_callers_beyond_the_bound_are_looked_at_each_time(monkeypatch):
    async def scenario():
        async with serving("shop", api_token=Token("own")) as (_, channel):
            for app in ("shop", "", "shop"):
                assert await call(channel, "Hello", b"", OWN, ("dapr-app-id", app)) == b""
                assert await status(channel, "Hello", b"", OWN, BILLING) == grpc.StatusCode.PERMISSION_DENIED

    monkeypatch.setattr("perdure.remote.server.CALLERS_KNOWN_MAX", 1)
    asyncio.run(scenario())


def test_an_answer_for_a_foreign_instance_changes_nothing():
    async def scenario():
        async with serving("shop", api_token=Token("own"), all_apps_token=Token("every")) as (server, channel):
            stream = channel.unary_stream(SERVICE + "GetWorkItems")(b"", metadata=(ALL, BILLING))
            items = aiter(stream)
            taken = asyncio.ensure_future(anext(items))
            await call(channel, "StartInstance", START, ALL, BILLING)
            async with asyncio.timeout(SECONDS):
                assert b"wait" in await taken
            (token,) = server.hosted.dispatcher.streams[0].in_flight
            ends = field(2, b"\x20\x01", field(5, b"\x08\x01"))  # action 2: id 4, completeOrchestration 5: COMPLETED
            for name in ("CompleteOrchestratorTask", "CompleteWorkflowTask"):
                await call(channel, name, field(1, "i") + ends, OWN)
                await call(channel, name, field(1, "i") + ends + field(4, token), OWN)
            await call(channel, "AbandonTaskOrchestratorWorkItem", field(1, token), OWN)
            await call(channel, "CompleteActivityTask", field(1, "i") + field(5, token), OWN)
            assert list(server.hosted.dispatcher.streams[0].in_flight) == [token]
            await call(channel, "CompleteOrchestratorTask", field(1, "i") + ends + field(4, token), ALL, BILLING)
            assert not server.hosted.dispatcher.streams[0].in_flight
            stream.cancel()

    asyncio.run(scenario())
