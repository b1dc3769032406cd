"""A connection to a server: calls as bytes, and what stands against them as errors of the tree."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import grpc.aio

from perdure.engine.auditing import MCP, acting
from perdure.errors import (
    CertificateNotUsable,
    EtagMismatch,
    InstanceExists,
    InstanceNotFound,
    InvalidArgument,
    NotAuthenticated,
    NotPermitted,
    NotSupportedByServer,
    PayloadTooLarge,
    PerdureError,
    ServerError,
    ServerUnavailable,
)
from perdure.history.audit_log import Principal
from perdure.remote.native.calls import Call, read_answer, write_request
from perdure.remote.native.target import Target
from perdure.remote.rpc.caller import NATIVE_AGENT
from perdure.remote.security import APP_KEY, TOKEN_KEY, USER_KEY
from perdure.remote.wire.schema import MESSAGE_BYTES_MAX

AGENT = f"{NATIVE_AGENT}python"
"""Who calls: one of Perdure's own."""
PUBLIC_AGENT = "perdure"
"""Likewise where the public protocol is spoken."""
PING_MS = 20_000
"""Silence after which a connection is tried, so that one that is dead is noticed."""
PING_TIMEOUT_MS = 10_000
RECONNECT_MS = 100
RECONNECT_MS_MAX = 5_000
"""Between a channel's own tries to connect: the first pause, and how far it grows."""

_Code = grpc.StatusCode
_KINDS: dict[grpc.StatusCode, type[PerdureError]] = {
    _Code.UNAVAILABLE: ServerUnavailable,
    _Code.CANCELLED: ServerUnavailable,
    _Code.UNAUTHENTICATED: NotAuthenticated,
    _Code.PERMISSION_DENIED: NotPermitted,
    _Code.INVALID_ARGUMENT: InvalidArgument,
    _Code.UNIMPLEMENTED: NotSupportedByServer,
    _Code.RESOURCE_EXHAUSTED: PayloadTooLarge,
    _Code.NOT_FOUND: InstanceNotFound,
    _Code.ALREADY_EXISTS: InstanceExists,
    _Code.ABORTED: EtagMismatch,
}


class Channel:
    """Calls to one server, for one app. It connects, and connects again, by itself."""

    def __init__(self, target: Target, app: str | None, agent: str = AGENT) -> None:
        self.target = target
        self._metadata = _metadata(target, app)
        options = [
            ("grpc.primary_user_agent", f"{agent}/{version('perdure')}"),
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.max_send_message_length", -1),
            ("grpc.keepalive_time_ms", PING_MS),
            ("grpc.keepalive_timeout_ms", PING_TIMEOUT_MS),
            ("grpc.http2.ping_timeout_ms", PING_TIMEOUT_MS),  # because this is the one that counts in newer libraries
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.initial_reconnect_backoff_ms", RECONNECT_MS),
            ("grpc.min_reconnect_backoff_ms", RECONNECT_MS),
            ("grpc.max_reconnect_backoff_ms", RECONNECT_MS_MAX),
            ("grpc.use_local_subchannel_pool", 1),  # because another app of this process is another worker
        ]
        if target.is_encrypted:
            self._channel = grpc.aio.secure_channel(target.address, _credentials(target), options)
        else:
            self._channel = grpc.aio.insecure_channel(target.address, options)
        self._unary: dict[str, Any] = {}

    async def send(self, path: str, data: bytes, timeout: float | None = None) -> bytes:
        """The answer of a call, as bytes. Raises TimeoutError after `timeout` seconds, and what the server says."""
        call = self._unary.get(path)
        if call is None:
            call = self._unary[path] = self._channel.unary_unary(path)
        try:
            answer: bytes = await call(data, timeout=timeout, metadata=(*self._metadata, *_claim()))
        except grpc.aio.AioRpcError as error:
            raise self._error(error, path) from None
        return answer

    async def ask(self, call: Call, *arguments: Any, timeout: float | None = None) -> Any:
        """The answer of a call of Perdure's own. Raises what the server says."""
        return read_answer(call, await self.send(call.path, write_request(call, *arguments), timeout))

    def stream(self, path: str, data: bytes) -> AsyncIterator[bytes]:
        """The messages that a call gives. Raises what ends it."""
        call_of: Any = self._channel.unary_stream(path)
        return self._given(call_of, data, path)

    def converse(self, path: str, outgoing: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The messages that a call gives to which more is said while it runs. Raises what ends it."""
        call_of: Any = self._channel.stream_stream(path)
        return self._given(call_of, outgoing, path)

    async def _given(self, call_of: Any, said: bytes | AsyncIterator[bytes], path: str) -> AsyncIterator[bytes]:
        call: Any = call_of(said, metadata=self._metadata)
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise self._error(error, path) from None
        finally:
            call.cancel()

    async def close(self) -> None:
        await self._channel.close()

    def _error(self, error: grpc.aio.AioRpcError, path: str) -> Exception:
        code, details = error.code(), error.details() or ""
        if code is _Code.DEADLINE_EXCEEDED:
            return TimeoutError(f"{path} got no answer in time from {self.target.address}")
        if code is _Code.UNIMPLEMENTED:
            return NotSupportedByServer(f"the server at {self.target.address} does not know the call {path}")
        if code is _Code.UNAVAILABLE:
            return ServerUnavailable(f"no answer from the server at {self.target.address}: {details}")
        kind = _KINDS.get(code, ServerError)
        return kind(details.rsplit(" [PERDURE-", 1)[0] or f"{path} failed with {code.name}")

    def __repr__(self) -> str:
        return f"<Channel to {self.target.address}>"


def _claim() -> tuple[tuple[str, str], ...]:
    """Who runs a command of the command line, or has a model do it; nothing of programs, whose calls are many."""
    principal = acting.get()
    if not isinstance(principal, Principal) or principal.kind not in ("cli", MCP):
        return ()
    lead = "" if principal.kind == "cli" else f"{MCP}:"
    return ((USER_KEY, quote(f"{lead}{principal.name}@{principal.place}")),)


def _metadata(target: Target, app: str | None) -> tuple[tuple[str, str], ...]:
    found = []
    if target.token is not None:
        found.append((TOKEN_KEY, target.token.reveal()))
    if app is not None:
        found.append((APP_KEY, app))
    return tuple(found)


def _credentials(target: Target) -> grpc.ChannelCredentials:
    if (target.cert is None) != (target.key is None):
        raise InvalidArgument("a client's certificate takes two files, PERDURE_TLS_CERT and PERDURE_TLS_KEY")
    return grpc.ssl_channel_credentials(_bytes(target.ca), _bytes(target.key), _bytes(target.cert))


def _bytes(file: Path | None) -> bytes | None:
    try:
        return file.read_bytes() if file is not None else None
    except OSError as error:
        raise CertificateNotUsable(f"{file} cannot be read: {error.strerror}") from error
