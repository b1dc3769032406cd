"""A program that listens for Dapr's AppCallback: it tells what it subscribes to, and keeps what it is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from perdure.remote.wire.schema import RUNTIME_SCHEMA as SCHEMA
from servers.ports import free_port

SERVICE = "dapr.proto.runtime.v1.AppCallback"
SUCCESS, RETRY, DROP = range(3)

Answer = Callable[[Any], int | grpc.StatusCode]


class Callback:
    """Answers what `answer` says of an event, a status of it or of gRPC. `bulks` names what takes many at a time."""

    def __init__(
        self,
        *subscriptions: Any,
        answer: Answer = lambda event: SUCCESS,
        bulks: str | None = f"{SERVICE}/OnBulkTopicEvent",
        tells: bool = True,
    ) -> None:
        self.port = free_port()
        self.url = f"grpc://127.0.0.1:{self.port}"
        self.subscriptions = subscriptions
        self.answer = answer
        self.bulks = bulks
        self.tells = tells
        self.got: list[Any] = []
        self.metadata: list[dict[str, Any]] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Callback]:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        handler = grpc.method_handlers_generic_handler
        methods = {"OnTopicEvent": self._event, **({"ListTopicSubscriptions": self._told} if self.tells else {})}
        server.add_generic_rpc_handlers([handler(SERVICE, {name: _raw(call) for name, call in methods.items()})])
        if self.bulks is not None:
            service, name = self.bulks.split("/")
            server.add_generic_rpc_handlers([handler(service, {name: _raw(self._bulk)})])
        assert server.add_insecure_port(f"127.0.0.1:{self.port}") == self.port
        await server.start()
        try:
            yield self
        finally:
            await server.stop(0)

    async def _told(self, data: bytes, context: Any) -> bytes:
        assert data == b""
        told: bytes = SCHEMA.ListTopicSubscriptionsResponse(subscriptions=self.subscriptions).SerializeToString()
        return told

    async def _event(self, data: bytes, context: Any) -> bytes:
        event = SCHEMA.TopicEventRequest.FromString(data)
        self.got.append(event)
        self.metadata.append(dict(context.invocation_metadata()))
        answer = self.answer(event)
        if isinstance(answer, grpc.StatusCode):
            await context.abort(answer, "as the test wants it")
        verdict: bytes = SCHEMA.TopicEventResponse(status=answer).SerializeToString()
        return verdict

    async def _bulk(self, data: bytes, context: Any) -> bytes:
        bulk = SCHEMA.TopicEventBulkRequest.FromString(data)
        self.got.append(bulk)
        statuses = [{"entry_id": one.entry_id, "status": self.answer(one.cloud_event)} for one in bulk.entries]
        verdicts: bytes = SCHEMA.TopicEventBulkResponse(statuses=statuses).SerializeToString()
        return verdicts


def _raw(call: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(call)
