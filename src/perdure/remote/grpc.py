"""gRPC as a transport: bytes of calls in, bytes of answers out, and statuses for what fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any
from urllib.parse import unquote

import grpc
import grpc.aio

from perdure.engine.auditing import acting
from perdure.errors import ServerUnavailable
from perdure.history.audit_log import Principal
from perdure.remote.rpc.caller import Caller
from perdure.remote.rpc.status import refusal_of
from perdure.remote.rpc.table import Table
from perdure.remote.security import USER_CHARACTERS_MAX, USER_KEY

log = logging.getLogger("perdure")
PINGS_APART_MS = 5_000
"""How close a client's pings may come; some come every 30 s, also while no call runs."""
KEEPALIVE_MS = 30_000
"""After how long a silence a client is asked whether it is there: one whose machine lost its power does not say so."""
KEEPALIVE_TIMEOUT_MS = 60_000
"""How long its answer may take before its calls end. Long, because some SDKs do not answer while a program computes."""

LIBRARY_LOG = "grpc._cython.cygrpc"
"""Where the library tells of calls that broke, with their stacks."""

Metadata = list[tuple[str, str | bytes]]
Admit = Callable[[Metadata], Caller]
"""Who makes a call, from its metadata. Raises what stands against it."""
AdmitTo = Callable[[Metadata, bool], Caller]
"""The same, also for calls that are open to all."""
Context = grpc.aio.ServicerContext[bytes, bytes]


def _is_news(record: logging.LogRecord) -> bool:
    """Not that a stream has broken while something was written to it: its worker was killed, and its work goes on."""
    return not str(record.msg).startswith("ExecuteBatchError raised in core")


class GrpcListener:
    """One port on which calls are answered."""

    def __init__(self, table: Table, admit: AdmitTo, *, message_bytes_max: int, calls_max: int) -> None:
        logging.getLogger(LIBRARY_LOG).addFilter(_is_news)
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", message_bytes_max),
                ("grpc.max_send_message_length", -1),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", PINGS_APART_MS),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.keepalive_time_ms", KEEPALIVE_MS),
                ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
                ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),  # because it is this one that counts
                ("grpc.http2.max_pings_without_data", 0),  # because the third would wait for minutes otherwise
                ("grpc.http2.max_ping_strikes", 0),
                ("grpc.so_reuseport", 0),  # because two servers on one port would each get half of the calls
            ],
            maximum_concurrent_rpcs=calls_max,
        )
        self._server.add_generic_rpc_handlers((_Router(table, admit),))
        self._watching: asyncio.Task[bool] | None = None
        self.port = 0

    async def open(self, host: str, port: int, credentials: grpc.ServerCredentials | None = None) -> None:
        """Listen. Raises RuntimeError if the address cannot be had."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if credentials is not None:
            self.port = self._server.add_secure_port(address, credentials)
        else:
            self.port = self._server.add_insecure_port(address)
        await self._server.start()

    def watch(self, failed: Callable[[BaseException], None]) -> None:
        """Tell `failed` if it ceases to listen before it is closed."""

        def ended(watching: asyncio.Task[bool]) -> None:
            if self._watching is watching:
                failed(ServerUnavailable(f"the server listens no more on gRPC port {self.port}; start it again"))

        self._watching = asyncio.get_running_loop().create_task(self._server.wait_for_termination())
        self._watching.add_done_callback(ended)

    async def close(self, seconds: float) -> None:
        """Take no more calls, and cut those that run after `seconds`."""
        self._watching = None  # not cancelled, because what it waits for is shared with the stop
        await self._server.stop(seconds)

    def __repr__(self) -> str:
        return f"<GrpcListener on port {self.port}>"


class _Router(grpc.GenericRpcHandler):
    def __init__(self, table: Table, admit_to: AdmitTo) -> None:
        def admit(name: str) -> Admit:
            is_open = name in table.open
            return lambda metadata: admit_to(metadata, is_open)

        self._handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {}
        for name, unary in table.unary.items():
            self._handlers[name] = grpc.unary_unary_rpc_method_handler(_unary(name, unary, admit(name)))
        for name, streaming in table.streaming.items():
            self._handlers[name] = grpc.unary_stream_rpc_method_handler(_streaming(name, streaming, admit(name)))
        for name, conversing in table.conversing.items():
            self._handlers[name] = grpc.stream_stream_rpc_method_handler(_streaming(name, conversing, admit(name)))

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        return self._handlers.get(handler_call_details.method)


def _unary(name: str, handler: Any, admit: Admit) -> Any:
    async def call(data: bytes, context: Context) -> bytes:
        try:
            caller = admit(_metadata(context))
            acting.set(partial(_principal, caller, context))
            answer: bytes = await handler(data, caller)
            return answer
        except asyncio.CancelledError:
            raise
        except Exception as error:
            await _abort(context, error, name)
            raise AssertionError("abort raises") from error

    return call


def _principal(caller: Caller, context: Context) -> Principal:
    """Who calls, for the audit log."""
    claims = [value for key, value in _metadata(context) if key == USER_KEY and isinstance(value, str)]
    said = unquote(claims[0])[:USER_CHARACTERS_MAX] if claims else ""
    return Principal(kind="server", name=caller.grant.name, place=unquote(context.peer()), claims=said)


def _streaming(name: str, handler: Any, admit: Admit) -> Any:
    """Also of a call whose caller goes on as well: it hands over an iterator of what comes instead of bytes."""

    async def call(asked: bytes | AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        try:
            # closed here and now, because a worker that is gone gets no work and what it had is others'
            async with aclosing(handler(asked, admit(_metadata(context)))) as items:
                async for item in items:
                    yield item
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 because every error becomes a status
            await _abort(context, error, name)

    return call


_CODES = {code.value[0]: code for code in grpc.StatusCode}


async def _abort(context: Context, error: Exception, name: str) -> None:
    refusal = refusal_of(error, name)
    await context.abort(_CODES[refusal.status], refusal.text)


def _metadata(context: Context) -> Metadata:
    return list(context.invocation_metadata() or ())
