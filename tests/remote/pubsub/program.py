"""A program of Dapr's pub/sub that a test drives by hand, and the server that it talks to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from perdure.app import open_store
from perdure.blocks.resources import USUAL, Component, Resources, Subscription
from perdure.remote.server import Server
from perdure.remote.settings import Listener, ServerSettings
from perdure.remote.wire.schema import RUNTIME_SCHEMA as SCHEMA

SERVICE = "/dapr.proto.runtime.v1.Dapr/"
PATIENCE_SECONDS = 30.0
SUCCESS, RETRY, DROP = range(3)


def components(*found: tuple[str, str, Mapping[str, str]], subscriptions: tuple[Subscription, ...] = ()) -> Resources:
    return Resources(
        components=tuple(
            Component(name=name, type=type, version="v1", metadata=metadata) for name, type, metadata in found
        ),
        subscriptions=subscriptions,
    )


@asynccontextmanager
async def serving(
    *apps: str, resources: Resources = USUAL, store: str = "memory:", **more: Any
) -> AsyncIterator[Server]:
    listeners = tuple(
        Listener(app_id=app, grpc_port=0, http_port=0, resources=resources, **more) for app in apps or ("shop",)
    )
    server = Server(open_store(store), ServerSettings(listeners=listeners, store=store, drain_seconds=0.0, ui=False))
    await server.open()
    try:
        yield server
    finally:
        await server.close()


class Program:
    """One connection to the server of an app, at its gRPC port."""

    def __init__(self, port: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 100)]
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)

    async def __aenter__(self) -> Program:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._channel.close()

    async def call(self, name: str, message: Any, answer: str | None = None, metadata: Any = ()) -> Any:
        data = await self._channel.unary_unary(SERVICE + name)(
            message.SerializeToString(), timeout=PATIENCE_SECONDS, metadata=metadata
        )
        return None if answer is None else SCHEMA.parse(answer, data)

    async def publish(self, pubsub: str, topic: str, data: bytes, kind: str = "", headers: Any = (), **metadata: str):
        message = SCHEMA.PublishEventRequest(
            pubsub_name=pubsub, topic=topic, data=data, data_content_type=kind, metadata=metadata
        )
        await self.call("PublishEvent", message, metadata=headers)

    async def subscribe(self, pubsub: str, topic: str, dead_letter: str = "") -> Listening:
        """Begin a stream; it is subscribed when this returns."""
        stream = self._channel.stream_stream(SERVICE + "SubscribeTopicEventsAlpha1")()
        listening = Listening(stream)
        initial = SCHEMA.SubscribeTopicEventsRequestInitialAlpha1(
            pubsub_name=pubsub, topic=topic, dead_letter_topic=dead_letter
        )
        await listening.send(initial_request=initial)
        first = await listening.read()
        assert first.HasField("initial_response"), first
        return listening

    def stream(self) -> Listening:
        return Listening(self._channel.stream_stream(SERVICE + "SubscribeTopicEventsAlpha1")())


class Listening:
    """A stream of a topic's events."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def send(self, **fields: Any) -> None:
        await self.call.write(SCHEMA.SubscribeTopicEventsRequestAlpha1(**fields).SerializeToString())

    async def read(self) -> Any:
        async with asyncio.timeout(PATIENCE_SECONDS):
            data = await self.call.read()
        assert data is not grpc.aio.EOF, "the stream has ended"
        return SCHEMA.parse("SubscribeTopicEventsResponseAlpha1", data)

    async def event(self) -> Any:
        return (await self.read()).event_message

    async def answer(self, id: str, status: int = SUCCESS) -> None:
        response = SCHEMA.TopicEventResponse(status=status)
        await self.send(event_processed=SCHEMA.SubscribeTopicEventsRequestProcessedAlpha1(id=id, status=response))

    async def is_silent(self, seconds: float = 0.3) -> bool:
        """Whether nothing comes for a while; the stream is of no use afterwards."""
        try:
            async with asyncio.timeout(seconds):
                await self.call.read()
        except TimeoutError:
            return True
        return False
