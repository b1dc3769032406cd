"""Whether a request may have got to a server of tools: what each transport knows of that."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2

NOT_FOUND = 404
"""What a server says to a session that it does not know, such as one from before it was started again."""


class Passage:
    """Of one request. Only one that has provably not been read by a server may go out again by itself."""

    __slots__ = ("is_sent", "is_unknown")

    def __init__(self) -> None:
        self.is_sent = False
        """Whether a transport has taken it, and so the server may have begun with it."""
        self.is_unknown = False
        """Whether the server has said that it knows no such session."""

    def __repr__(self) -> str:
        return f"<Passage {'sent' if self.is_sent else 'not sent'}>"


_PASSAGE: ContextVar[Passage | None] = ContextVar("perdure_tool_passage", default=None)


@contextmanager
def followed() -> Iterator[Passage]:
    """The passage of the request that is made in the context."""
    passage = Passage()
    token = _PASSAGE.set(passage)
    try:
        yield passage
    finally:
        _PASSAGE.reset(token)


def http_client(
    headers: dict[str, str] | None = None, timeout: httpx2.Timeout | None = None, auth: httpx2.Auth | None = None
) -> httpx2.AsyncClient:
    """A client that notes of each request whether a server has taken it."""
    import httpx2  # because it comes with the library mcp, an extra

    class NotingClient(httpx2.AsyncClient):
        async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
            passage = _PASSAGE.get() or Passage()
            try:
                response = await super().send(request, **options)
            except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout):
                raise  # because without a connection nothing has gone out
            except BaseException:
                passage.is_sent = True
                raise
            if response.status_code == NOT_FOUND:
                passage.is_unknown = True
            else:
                passage.is_sent = True
            return response

    return NotingClient(headers=headers, auth=auth, timeout=timeout)


@asynccontextmanager
async def noting(transport: AbstractAsyncContextManager[tuple[Any, Any]]) -> AsyncIterator[tuple[Any, Any]]:
    """The transport, which notes of each request whether it has been written to the server's program."""
    async with transport as (reads, writes):
        yield reads, _NotingWrites(writes)


class _NotingWrites:
    """A stream of the library that takes requests."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def send(self, item: Any) -> None:
        await self._inner.send(item)
        if (passage := _PASSAGE.get()) is not None:
            passage.is_sent = True

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> _NotingWrites:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
