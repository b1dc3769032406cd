"""Proxies as they stand before several servers: one that sees connections, one that sees requests."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio


class ConnectionBalancer:
    """Hands each connection to the next server that takes it, and knows nothing of what goes through."""

    def __init__(self, ports: list[int]) -> None:
        self.port = 0
        self._next = itertools.cycle(ports)
        self._count = len(ports)
        self._pipes: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> ConnectionBalancer:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for pipe in list(self._pipes):
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(self._count):
            try:
                back, forth = await asyncio.open_connection("127.0.0.1", next(self._next))
            except OSError:
                continue
            for source, target in ((reader, forth), (back, writer)):
                task = asyncio.create_task(_copy(source, target))
                self._pipes.add(task)
                task.add_done_callback(self._pipes.discard)
            return
        writer.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    except OSError:
        return  # because a server that was killed resets its connections
    finally:
        target.close()


class RequestBalancer(grpc.GenericRpcHandler):
    """Sends each call to the next server, whatever it is about; one that is gone is passed over.

    Streams of work go to the server at the place `home`, if one is given.
    """

    def __init__(self, ports: list[int], home: int | None = None) -> None:
        self.port = 0
        self._home = home
        self.calls = [0] * len(ports)
        self._ports = ports
        self._turn = itertools.count()

    async def __aenter__(self) -> RequestBalancer:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) for port in self._ports]
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._server.stop(0)
        for channel in self._channels:
            await channel.close()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        path = handler_call_details.method
        if path.endswith("/GetWorkItems"):
            return grpc.unary_stream_rpc_method_handler(self._stream(path))
        return grpc.unary_unary_rpc_method_handler(self._unary(path))

    def _unary(self, path: str) -> Any:
        async def call(data: bytes, context: Any) -> bytes:
            first = self._chosen()
            others = [channel for channel in self._channels if channel is not first]
            for channel in (first, *others):
                try:
                    answer: bytes = await channel.unary_unary(path)(data, metadata=_metadata(context))
                    return answer
                except grpc.aio.AioRpcError as error:
                    if error.code() != grpc.StatusCode.UNAVAILABLE or channel is others[-1]:
                        await context.abort(error.code(), error.details() or "")
            raise AssertionError("there is no server")

        return call

    def _stream(self, path: str) -> Any:
        async def call(data: bytes, context: Any) -> AsyncIterator[bytes]:
            chosen = self._chosen() if self._home is None else self._channels[self._home]
            items = chosen.unary_stream(path)(data, metadata=_metadata(context))
            try:
                async for item in items:
                    yield item
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details() or "")
            finally:
                items.cancel()

        return call

    def _chosen(self) -> grpc.aio.Channel:
        place = next(self._turn) % len(self._channels)
        self.calls[place] += 1
        return self._channels[place]


def _metadata(context: Any) -> tuple[tuple[str, str | bytes], ...]:
    """What goes on with a call: the user agent under another name, because a channel has one of its own."""
    names = {"user-agent": "x-user-agent"}
    return tuple((names.get(key, key), value) for key, value in context.invocation_metadata())
