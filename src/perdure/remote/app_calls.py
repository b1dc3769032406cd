"""Calls to the port on which a program itself listens, as a sidecar makes them to one that speaks gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import grpc
import grpc.aio

from perdure.errors import InvalidArgument
from perdure.remote.app_channel import ANSWER_BYTES_MAX, REQUESTS_MAX, TOKEN_HEADER, AppAbsent, AppUnreachable

RECONNECT_MS = 100
RECONNECT_MS_MAX = 500
"""Between tries to connect: the first pause, and how far it grows. Short, because the program is on this machine."""
_GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""What a call ends with whose program has ended meanwhile, or does not listen."""


class AppRefused(Exception):
    """The program has answered with an error, which is its own. `is_unknown`: it has nothing that is called so."""

    def __init__(self, message: str, *, is_unknown: bool) -> None:
        super().__init__(message)
        self.is_unknown = is_unknown


class AppCalls:
    """Calls to one program at `url`, such as grpc://127.0.0.1:8000. Raises InvalidArgument."""

    def __init__(self, url: str, token: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme != "grpc" or not parts.hostname or not parts.port:
            raise InvalidArgument(f"the program's address is {url!r}; write grpc://127.0.0.1:PORT")
        self.url = url
        self._metadata = {TOKEN_HEADER: token} if token else {}
        self._gate = asyncio.Semaphore(REQUESTS_MAX)
        self._channel = grpc.aio.insecure_channel(
            parts.netloc,
            [
                ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
                ("grpc.max_send_message_length", -1),
                ("grpc.initial_reconnect_backoff_ms", RECONNECT_MS),
                ("grpc.min_reconnect_backoff_ms", RECONNECT_MS),
                ("grpc.max_reconnect_backoff_ms", RECONNECT_MS_MAX),
                ("grpc.enable_http_proxy", 0),  # because the program is beside the server
            ],
        )

    async def call(
        self, name: str, data: bytes, metadata: Mapping[str, str] | None = None, *, timeout: float | None = None
    ) -> bytes:
        """The answer of a call by its full name, such as /package.Service/Method.

        Raises AppUnreachable if there is none, also if the program says so itself, AppAbsent if it was not connected
        when it was to be asked, AppRefused if the answer is an error.
        """
        sent = tuple({**self._metadata, **(metadata or {})}.items())
        call: Any = self._channel.unary_unary(name)
        async with self._gate:
            is_connected = self._channel.get_state() is grpc.ChannelConnectivity.READY
            try:
                answer: bytes = await call(data, timeout=timeout, metadata=sent)
            except grpc.aio.AioRpcError as error:
                said = f"{self.url} answers {error.code().name} to {name}: {error.details()}"
                if error.code() in _GONE:
                    raise (AppUnreachable if is_connected else AppAbsent)(said) from error
                raise AppRefused(said, is_unknown=error.code() is grpc.StatusCode.UNIMPLEMENTED) from error
        return answer

    async def close(self) -> None:
        """Cut what is under way."""
        await self._channel.close()

    def __repr__(self) -> str:
        return f"<AppCalls to {self.url}>"
