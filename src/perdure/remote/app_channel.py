"""Requests to the port on which a program itself listens, as a sidecar makes them: HTTP/1.1 over kept connections."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import h11
import msgspec

from perdure.errors import InvalidArgument, ServerUnavailable

KEPT_MAX = 32
"""Connections to one program that rest; one more is closed when its request is done."""
REQUESTS_MAX = 1_000
"""Requests to one program at once; what is beyond waits here."""
ANSWER_BYTES_MAX = 16 * 1024 * 1024
"""Bound of the body of an answer."""
CONNECT_SECONDS = 5.0
REQUEST_SECONDS = 3_600.0
"""How long an answer may take unless the request says otherwise: methods of programs may be long."""
TOKEN_HEADER = "dapr-api-token"  # noqa: S105 the name of a header
TOKEN_VARIABLE = "APP_API_TOKEN"  # noqa: S105 the name of a variable
"""Holds what the program asks of its callers, which it then shows itself to be."""
_READ_BYTES = 65_536


class AppUnreachable(ServerUnavailable):
    """The program gave no answer: the connection ended first. It may have done what was asked, or not."""


class AppAbsent(AppUnreachable):
    """The program does not listen; it was asked nothing."""


class AppAnswer(msgspec.Struct, frozen=True):
    """What the program answered; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


class AppChannel:
    """Requests to one program at `url`, such as http://127.0.0.1:8000. Raises InvalidArgument."""

    def __init__(self, url: str, token: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or not parts.port:
            raise InvalidArgument(f"the program's address is {url!r}; write http://127.0.0.1:PORT")
        self.url = url
        self._host, self._port = parts.hostname, parts.port
        self._headers = [("host", parts.netloc), ("user-agent", "perdure")]
        if token:
            self._headers.append((TOKEN_HEADER, token))
        self._resting: list[_Connection] = []
        self._gate = asyncio.Semaphore(REQUESTS_MAX)
        self._is_closed = False

    async def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float = REQUEST_SECONDS,
    ) -> AppAnswer:
        """The answer to a request of at most `timeout` seconds; `path` is escaped already.

        Raises AppAbsent if nobody listens, else AppUnreachable.
        """
        sent = [*self._headers, *(headers or {}).items(), ("content-length", str(len(body)))]
        request = h11.Request(method=method, target=path, headers=sent)
        async with self._gate:
            try:
                async with asyncio.timeout(timeout):
                    return await self._exchange(request, body)
            except TimeoutError:
                raise AppUnreachable(f"{self.url} gave no answer to {method} {path[:200]} in {timeout:g} s") from None
            except (OSError, h11.ProtocolError, EOFError) as error:
                raise AppUnreachable(f"{self.url} gave no answer to {method} {path[:200]}: {error}") from error

    async def close(self) -> None:
        """Close what rests; what is under way ends by itself."""
        self._is_closed = True
        for connection in self._resting:
            connection.close()
        self._resting.clear()

    async def _exchange(self, request: h11.Request, body: bytes) -> AppAnswer:
        connection = self._rested() or await _Connection.open(self._host, self._port)
        try:
            answer = await connection.exchange(request, body)
        except BaseException:
            connection.close()
            raise
        if self._is_closed or len(self._resting) >= KEPT_MAX or not connection.is_reusable():
            connection.close()
        else:
            self._resting.append(connection)
        return answer

    def _rested(self) -> _Connection | None:
        """One that rests and was not closed by the program meanwhile."""
        while self._resting:
            connection = self._resting.pop()
            if not connection.is_over:
                return connection
            connection.close()
        return None

    def __repr__(self) -> str:
        return f"<AppChannel to {self.url}>"


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)

    @classmethod
    async def open(cls, host: str, port: int) -> _Connection:
        async with asyncio.timeout(CONNECT_SECONDS):
            try:
                return cls(*await asyncio.open_connection(host, port))
            except OSError as error:
                raise AppAbsent(f"nobody listens at {host}:{port}: {error}") from error

    @property
    def is_over(self) -> bool:
        return self._reader.at_eof() or self._writer.is_closing()

    async def exchange(self, request: h11.Request, body: bytes) -> AppAnswer:
        self._send(request)
        if body:
            self._send(h11.Data(data=body))
        self._send(h11.EndOfMessage())
        await self._writer.drain()
        response = await self._next(h11.Response)
        chunks: list[bytes] = []
        size = 0
        while isinstance(event := await self._event(), h11.Data):
            size += len(event.data)
            if size > ANSWER_BYTES_MAX:
                raise EOFError(f"the answer is larger than {ANSWER_BYTES_MAX:,} bytes")
            chunks.append(bytes(event.data))
        return AppAnswer(response.status_code, _headers(response.headers), b"".join(chunks))

    def is_reusable(self) -> bool:
        """Make it ready for the next request; whether that goes."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    def close(self) -> None:
        self._writer.close()

    def _send(self, event: Any) -> None:
        self._writer.write(self._http.send(event) or b"")

    async def _next(self, kind: type[h11.Response]) -> h11.Response:
        event = await self._event()
        while isinstance(event, h11.InformationalResponse):
            event = await self._event()
        if isinstance(event, kind):
            return event
        raise EOFError("the connection ended before the answer")

    async def _event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(_READ_BYTES))
        return event


def _headers(pairs: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}
