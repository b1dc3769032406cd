"""Dapr's pub/sub calls and routes over real connections, on a broker and on the server's own store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator

import grpc
import grpc.aio
import httpx
import pytest

from perdure.blocks.resources import Resources
from perdure.remote.server import Server
from perdure.remote.wire.schema import RUNTIME_SCHEMA as SCHEMA
from servers.valkey import Valkey
from tests.remote.pubsub.program import DROP, PATIENCE_SECONDS, RETRY, Program, components, serving

Story = Callable[[Server, Program], Awaitable[None]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    found = Valkey(tmp_path_factory.mktemp("valkey"), "no")
    yield found
    found.stop()


@pytest.fixture(params=["pubsub.perdure", pytest.param("pubsub.redis", marks=pytest.mark.long)])
def resources(request: pytest.FixtureRequest, server: Valkey) -> Resources:
    server.clear()
    metadata = {"redisHost": f"127.0.0.1:{server.port}"} if request.param == "pubsub.redis" else {}
    return components(("bus", request.param, metadata))


def told(resources: Resources, story: Story) -> None:
    async def play() -> None:
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            serving("shop", "bank", resources=resources) as server,
            Program(server.listeners[0].grpc_port) as program,
        ):
            await story(server, program)

    asyncio.run(play())


def test_an_event_comes_over_a_stream(resources: Resources) -> None:
    async def story(server: Server, program: Program) -> None:
        async with Program(server.listeners[1].grpc_port) as bank:
            stream = await bank.subscribe("bus", "orders")
            parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            await program.publish("bus", "orders", b'{"a": 1}', "application/json", (("traceparent", parent),))
            event = await stream.event()
            assert (event.source, event.type, event.spec_version) == ("shop", "com.dapr.event.sent", "1.0")
            assert (json.loads(event.data), event.data_content_type) == ({"a": 1}, "application/json")
            assert (event.topic, event.pubsub_name) == ("orders", "bus")
            assert event.extensions["traceparent"] == parent
            await stream.answer(event.id)
            assert await stream.is_silent()

    told(resources, story)


def test_each_app_gets_each_event_and_its_streams_share_them(resources: Resources) -> None:
    async def story(server: Server, program: Program) -> None:
        async with Program(server.listeners[1].grpc_port) as bank:
            one, two = await bank.subscribe("bus", "orders"), await bank.subscribe("bus", "orders")
            other = await program.subscribe("bus", "orders")
            await program.publish("bus", "orders", b"hello")
            assert (await other.event()).data == b"hello"
            reading = [asyncio.ensure_future(stream.event()) for stream in (one, two)]
            done, pending = await asyncio.wait(reading, timeout=5, return_when=asyncio.FIRST_COMPLETED)
            assert {task.result().data for task in done} == {b"hello"}
            assert len(pending) == 1
            for task in pending:
                task.cancel()

    told(resources, story)


@pytest.mark.long
def test_what_is_to_be_retried_comes_again(resources: Resources) -> None:
    async def story(server: Server, program: Program) -> None:
        stream = await program.subscribe("bus", "orders")
        await program.publish("bus", "orders", b"1")
        first = await stream.event()
        await stream.answer(first.id, RETRY)
        second = await stream.event()
        assert second.id == first.id
        await stream.answer(second.id)

    told(resources, story)


def test_what_is_dropped_is_a_dead_letter(resources: Resources) -> None:
    async def story(server: Server, program: Program) -> None:
        dead = await program.subscribe("bus", "orders-dead")
        stream = await program.subscribe("bus", "orders", "orders-dead")
        await program.publish("bus", "orders", b"[1]", "application/json")
        event = await stream.event()
        await stream.answer(event.id, DROP)
        buried = await dead.event()
        assert (buried.topic, buried.data) == ("orders-dead", b"[1]")

    told(resources, story)


@pytest.mark.long
def test_what_a_stream_has_not_answered_comes_over_the_next(resources: Resources) -> None:
    async def story(server: Server, program: Program) -> None:
        stream = await program.subscribe("bus", "orders")
        await program.publish("bus", "orders", b"1")
        event = await stream.event()
        stream.call.cancel()
        again = await program.subscribe("bus", "orders")
        assert (await again.event()).id == event.id

    told(resources, story)


def test_a_bulk_is_published_and_tells_of_each_that_is_not(resources: Resources) -> None:
    async def story(server: Server, program: Program) -> None:
        stream = await program.subscribe("bus", "orders")
        entry = SCHEMA.BulkPublishRequestEntry
        request = SCHEMA.BulkPublishRequest(
            pubsub_name="bus",
            topic="orders",
            entries=[
                entry(entry_id="a", event=b"1", content_type="application/json"),
                entry(entry_id="b", event=b"2", metadata={"ttlInSeconds": "soon"}),
                entry(entry_id="c", event=b"3", content_type="application/json"),
            ],
        )
        for name in ("BulkPublishEvent", "BulkPublishEventAlpha1"):
            answer = await program.call(name, request, "BulkPublishResponse")
            assert [failed.entry_id for failed in answer.failedEntries] == ["b"]
            assert "ttlInSeconds" in answer.failedEntries[0].error
            assert sorted([(await stream.event()).data for _ in range(2)]) == [b"1", b"3"]

    told(resources, story)


def test_events_are_published_over_http(resources: Resources) -> None:
    async def story(server: Server, program: Program) -> None:
        stream = await program.subscribe("bus", "orders")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.listeners[0].http_port}/v1.0") as browser:
            answer = await browser.post("/publish/bus/orders?metadata.cloudevent.type=placed", json={"a": 1})
            assert (answer.status_code, answer.content) == (204, b"")
            event = await stream.event()
            assert (event.type, json.loads(event.data)) == ("placed", {"a": 1})
            bulk = [
                {"entryId": "a", "event": {"b": 2}, "contentType": "application/json"},
                {"entryId": "b", "event": "text", "contentType": "text/plain"},
                {"entryId": "c", "event": "AP8=", "contentType": "application/octet-stream"},
            ]
            assert (await browser.post("/publish/bulk/bus/orders", json=bulk)).status_code == 204
            found = {(await stream.event()).data for _ in range(3)}
            assert found == {b'{"b":2}', b"text", b"\x00\xff"}
            answer = await browser.post("/publish/nothing/orders", json=1)
            assert (answer.status_code, answer.json()["errorCode"]) == (404, "ERR_PUBSUB_NOT_FOUND")
            answer = await browser.post("/publish/bus/orders?metadata.ttlInSeconds=0", json=1)
            assert answer.status_code == 400
            for ids, status in ((["a", "a"], 409), (["a", ""], 400)):
                answer = await browser.post("/publish/bulk/bus/orders", json=[{"entryId": i, "event": 1} for i in ids])
                assert (answer.status_code, answer.json()["errorCode"]) == (status, "ERR_MALFORMED_REQUEST")
            wrong = [{"entryId": "a", "event": 1, "metadata": {"ttlInSeconds": "0"}}]
            answer = await browser.post("/publish/bulk/bus/orders", json=wrong)
            assert (answer.status_code, answer.json()["failedEntries"][0]["entryId"]) == (500, "a")

    told(resources, story)


def test_metadata_tell_what_is_subscribed(resources: Resources) -> None:
    async def story(server: Server, program: Program) -> None:
        stream = await program.subscribe("bus", "orders", "dead")
        found = await program.call("GetMetadata", SCHEMA.GetMetadataRequest(), "GetMetadataResponse")
        (one,) = found.subscriptions
        assert (one.pubsub_name, one.topic, one.dead_letter_topic, one.type) == ("bus", "orders", "dead", 3)
        stream.call.cancel()
        while found.subscriptions:
            await asyncio.sleep(0.01)
            found = await program.call("GetMetadata", SCHEMA.GetMetadataRequest(), "GetMetadataResponse")

    told(resources, story)


@pytest.mark.parametrize("resources", ["pubsub.perdure"], indirect=True)
def test_a_program_that_ends_its_half_of_a_stream_is_told_to_open_another_and_misses_nothing(
    resources: Resources,
) -> None:
    async def story(server: Server, program: Program) -> None:
        stream = await program.subscribe("bus", "orders")
        await stream.call.done_writing()
        with pytest.raises(grpc.aio.AioRpcError, match="open another stream") as told:
            await stream.read()
        assert told.value.code() is grpc.StatusCode.UNAVAILABLE
        await program.publish("bus", "orders", b"1")
        again = await program.subscribe("bus", "orders")
        assert (await again.event()).data == b"1"

    told(resources, story)


@pytest.mark.parametrize("resources", ["pubsub.perdure"], indirect=True)
def test_what_cannot_be_is_refused_with_a_sentence(resources: Resources) -> None:
    async def story(server: Server, program: Program) -> None:
        with pytest.raises(grpc.aio.AioRpcError, match="pubsub 'nothing' is not found") as refused:
            await program.publish("nothing", "orders", b"1")
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.aio.AioRpcError, match="no topic is named"):
            await program.publish("bus", "", b"1")
        for stream, fields, words in (
            (program.stream(), {}, "says nothing"),
            (program.stream(), {"event_processed": {"id": "1"}}, "begins with its initial request"),
            (program.stream(), {"initial_request": {"pubsub_name": "bus"}}, "names no topic"),
            (program.stream(), {"initial_request": {"pubsub_name": "no", "topic": "t"}}, "is not found"),
            (await program.subscribe("bus", "t"), {"initial_request": {"topic": "t"}}, "one initial request"),
            (await program.subscribe("bus", "t"), {"event_processed": {"status": {"status": 7}}}, "say SUCCESS"),
        ):
            await stream.send(**fields)
            with pytest.raises(grpc.aio.AioRpcError, match=words):
                await stream.read()

    told(resources, story)
