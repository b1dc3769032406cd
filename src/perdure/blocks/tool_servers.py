"""A server of tools in the Model Context Protocol: one session with it, opened when it is needed and kept.

The library `mcp` comes with the extra of that name, and is imported when the first session is opened.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from perdure.blocks.resources import McpServer
from perdure.blocks.tool_passage import followed, http_client, noting
from perdure.blocks.tool_tokens import token_auth
from perdure.errors import InvalidArgument, ToolServerUnavailable

if TYPE_CHECKING:
    from mcp import Client

log = logging.getLogger("perdure")
CALL_SECONDS = 30.0
"""How long a server may take to answer one request, unless its declaration says otherwise."""
CLOSE_SECONDS = 5.0
"""How long a session may take to end before it is left."""
PAGES_MAX = 500
"""Pages of a server's list of tools; one that has more is refused, because it may never end."""
TRIES = 2
"""How often a request may go out: again over a new session when the one that was kept turns out to be gone."""
READ_SECONDS = 300.0
"""How long a stream of answers over HTTP may be silent; each request has its own bound beside."""
KEY = "perdure/idempotency-key"
"""Where in a call's `_meta` its key stands, the same for each attempt, so that a server can know a repetition."""
LINE_CHARACTERS_MAX = 10_000
"""Of what a program says on its standard error; a longer line is logged in parts."""

T = TypeVar("T")
Request = Callable[["_Session"], Awaitable[T]]


class ToolServer:
    """A declared server. Answers are plain values, written as the protocol writes them in JSON."""

    def __init__(self, declared: McpServer) -> None:
        self.declared = declared
        self._session: _Session | None = None
        self._opening = asyncio.Lock()

    @property
    def seconds(self) -> float:
        """How long one request may take."""
        return self.declared.timeout or CALL_SECONDS

    async def list_tools(self) -> list[dict[str, Any]]:
        """Every tool, as `{"name": ..., "description": ..., "inputSchema": {...}}`.

        Raises ToolServerUnavailable, and ValueError if the list does not end.
        """
        return await self._ask(self._pages, repeatable=True)

    async def call_tool(self, name: str, arguments: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        """What the tool answers: `{"content": [...], "isError": false}`. Raises ToolServerUnavailable.

        The tool is called once at most. `key` is told to the server, for whom calls with the same one are one call.
        """

        async def call(session: _Session) -> dict[str, Any]:
            if not session.has_listed:
                # because the library asks for a list that it lacks behind the call, and would lose the answer with it
                with followed():
                    await self._pages(session)
            meta: Any = {KEY: key} if key is not None else None
            return _plain(await session.client.call_tool(name, dict(arguments), meta=meta))

        return await self._ask(call, repeatable=False)

    async def close(self) -> None:
        """End the session, if there is one."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _pages(self, session: _Session) -> list[dict[str, Any]]:
        tools: list[dict[str, Any]] = []
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            page = await session.client.list_tools(cursor=cursor, cache_mode="refresh")
            tools += [_plain(tool) for tool in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                session.has_listed = True
                return tools
        raise ValueError(f"the server {self.declared.name!r} lists more than {PAGES_MAX} pages of tools")

    async def _ask(self, request: Request[T], *, repeatable: bool) -> T:
        """The answer to a request. It goes out again over a new session if the one that was kept turns out to be gone,
        and the server has provably not begun with it, or may as well do so twice."""
        for left in reversed(range(TRIES)):
            session = await self._opened()
            with followed() as passage:
                try:
                    async with session.used(), asyncio.timeout(self.seconds):
                        return await request(session)
                except TimeoutError:
                    await self._part(session)
                    raise ToolServerUnavailable(
                        f"the server {self.declared.name!r} has not answered within {self.seconds:g} s; raise its "
                        "`timeout`, or look why it is slow"
                    ) from None
                except Exception as error:
                    if not passage.is_unknown and not _is_broken(error, session):
                        raise
                    await self._part(session)
                    if not left or (passage.is_sent and not repeatable):
                        done = "; the tool may have run" if passage.is_sent and not repeatable else ""
                        raise ToolServerUnavailable(
                            f"the connection to the server {self.declared.name!r} was lost: {_told(error)}{done}; it "
                            "is opened again for the next call"
                        ) from error
        raise AssertionError("the last try raises")

    async def _opened(self) -> _Session:
        async with self._opening:
            if self._session is None or self._session.is_over:
                session = _Session(self.declared, self.seconds)
                await session.open()
                self._session = session
            return self._session

    async def _part(self, session: _Session) -> None:
        """Begin nothing more over a session. What others have under way there may end."""
        if self._session is session:
            self._session = None
        await session.part()

    def __repr__(self) -> str:
        return f"<ToolServer {self.declared.name} {'open' if self._session is not None else 'not open'}>"


class _Session:
    """One session, opened and closed by one task, because the library binds it to the task that opens it."""

    def __init__(self, declared: McpServer, seconds: float) -> None:
        self._declared = declared
        self._seconds = seconds
        self._client: Client | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._requests = 0
        self._is_parted = False
        self.has_listed = False
        """Whether the library knows what tools there are, by which it reads their answers."""

    @property
    def client(self) -> Client:
        assert self._client is not None, "open it first"
        return self._client

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or is told to."""
        return self._over.is_set() or self._task is None or self._task.done()

    @asynccontextmanager
    async def used(self) -> AsyncIterator[None]:
        """For one request. The last one of a session that is parted with closes it."""
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1
            if self._is_parted:
                await self.part()

    async def part(self) -> None:
        """Close it as soon as no request is under way, each of which has a bound."""
        self._is_parted = True
        if self._requests == 0:
            await self.close()

    async def open(self) -> None:
        """Raises ToolServerUnavailable."""
        self._task = asyncio.get_running_loop().create_task(self._hold(), name=f"perdure-tools-{self._declared.name}")
        try:
            async with asyncio.timeout(self._seconds):
                await asyncio.shield(self._ready)
        except InvalidArgument:
            raise
        except asyncio.CancelledError:
            await self.close()  # because nobody else knows of it
            raise
        except Exception as error:
            await self.close()
            why = f"no answer within {self._seconds:g} s" if isinstance(error, TimeoutError) else _told(error)
            where = self._declared.url or self._declared.command
            raise ToolServerUnavailable(
                f"the server of tools {self._declared.name!r} ({where}) cannot be reached: {why}; check its address, "
                "and that it runs"
            ) from error

    async def close(self) -> None:
        self._over.set()
        if self._task is None:
            return
        if self._client is not None:
            await asyncio.wait({self._task}, timeout=CLOSE_SECONDS)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CLOSE_SECONDS)
        if self._ready.done() and not self._ready.cancelled():
            self._ready.exception()  # because whoever waited for it may be gone

    async def _hold(self) -> None:
        try:
            async with _client_of(self._declared, self._seconds) as client:
                self._client = client
                if not self._ready.done():
                    self._ready.set_result(None)
                await self._over.wait()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 because a group of errors is how the library tells of a lost session
            if not self._ready.done():
                self._ready.set_exception(error if isinstance(error, Exception) else RuntimeError(str(error)))
            elif not self._over.is_set():
                log.info("the session with the server of tools %r ended: %s", self._declared.name, _told(error))
        finally:
            self._over.set()


@asynccontextmanager
async def _client_of(declared: McpServer, seconds: float) -> AsyncIterator[Client]:
    try:
        from mcp import Client
    except ImportError as error:
        raise InvalidArgument(f'servers of tools need the library mcp: pip install "perdure[mcp]" ({error})') from error
    async with AsyncExitStack() as stack:
        transport = await _transport(declared, seconds, stack)
        yield await stack.enter_async_context(Client(transport, mode=_mode(declared), cache=None))


async def _transport(declared: McpServer, seconds: float, stack: AsyncExitStack) -> Any:
    if declared.transport == "stdio":
        from mcp import StdioServerParameters
        from mcp.client.stdio import stdio_client

        assert declared.command is not None, "the resources are checked where they are read"
        # because a program is found, and finds its own, by what this process has been given
        environment = {**os.environ, **declared.environment}
        parameters = StdioServerParameters(
            command=declared.command,
            args=list(declared.arguments),
            env=environment,
            encoding_error_handler="replace",  # because a line that is no message is passed over, and no reason to end
        )
        return noting(stdio_client(parameters, errlog=stack.enter_context(_heard(declared.name))))
    import httpx2

    assert declared.url is not None, "the resources are checked where they are read"
    headers, auth = dict(declared.headers), token_auth(declared.oauth) if declared.oauth is not None else None
    if declared.transport == "sse":
        from mcp.client.sse import sse_client

        return sse_client(
            declared.url,
            headers=headers,
            timeout=seconds,
            sse_read_timeout=READ_SECONDS,
            auth=auth,
            httpx_client_factory=http_client,
        )
    from mcp.client.streamable_http import streamable_http_client

    http = await stack.enter_async_context(http_client(headers, httpx2.Timeout(seconds, read=READ_SECONDS), auth))
    return streamable_http_client(declared.url, http_client=http)


@contextmanager
def _heard(name: str) -> Iterator[TextIO]:
    """Where a program writes its standard error, whose lines are logged: in a thread, which ends with the program."""
    reads, writes = os.pipe()

    def pass_on() -> None:
        with open(reads, encoding="utf-8", errors="replace") as lines:
            for line in iter(lambda: lines.readline(LINE_CHARACTERS_MAX), ""):
                log.info("tools %s: %s", name, line.rstrip())

    threading.Thread(target=pass_on, name=f"perdure-tools-{name}", daemon=True).start()
    with open(writes, "w", encoding="utf-8") as end:
        yield end


def _mode(declared: McpServer) -> Any:
    """How the version of the protocol is found: tried, unless the declaration names it."""
    from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

    if declared.protocol_version in MODERN_PROTOCOL_VERSIONS:
        return declared.protocol_version
    return "legacy" if declared.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS else "auto"


def _plain(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return found


def _is_broken(error: Exception, session: _Session) -> bool:
    """Whether a request failed because its session is gone, and not because the server has refused it."""
    from anyio import BrokenResourceError, ClosedResourceError
    from mcp import MCPError
    from mcp_types import CONNECTION_CLOSED

    if isinstance(error, MCPError):
        return error.code == CONNECTION_CLOSED or session.is_over
    return session.is_over or isinstance(error, (BrokenResourceError, ClosedResourceError, OSError))


def _told(error: BaseException) -> str:
    """What an error says, and of a group the first in it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__
