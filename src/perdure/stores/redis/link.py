"""One connection to one server that many calls share: each is written at once, and answers come in their order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as TooLate

from perdure.stores.redis.refusals import refusal, unreachable

ANSWER_SECONDS = 10.0
"""After so long without an answer the connection is given up, and what was asked has an unknown outcome."""
CONNECT_SECONDS = 5.0

Command: TypeAlias = tuple[bytes | str | int, ...]


class Link:
    """Connects when it is first called, and again after the connection broke."""

    def __init__(self, place: str, connection: Callable[[], Connection]) -> None:
        self.place = place
        self._connection = connection
        self._current: _Line | None = None
        self._connecting = asyncio.Lock()

    async def call(self, commands: Sequence[Command]) -> list[Any]:
        """The replies, in order; those that are errors are returned. Raises StoreUnavailable if there is no answer."""
        line = self._current if self._current is not None and self._current.is_open else await self._connect()
        return await line.call(commands)

    async def close(self) -> None:
        line, self._current = self._current, None
        if line is not None:
            await line.close()

    async def _connect(self) -> _Line:
        async with self._connecting:
            if self._current is not None and self._current.is_open:
                return self._current
            connection = self._connection()
            try:
                await connection.connect()  # type: ignore[no-untyped-call]
            except ResponseError as error:
                raise refusal(error, self.place) from error
            except (TimeoutError, RedisError, OSError) as error:
                raise _not_connected(error, self.place) from error
            self._current = _Line(self.place, connection)
            return self._current


def _not_connected(error: Exception, place: str) -> Exception:
    """Some refusals come as broken connections: a wrong password, a server that is still loading."""
    if isinstance(error, RedisError) and type(error) not in (NotConnected, TooLate):
        return refusal(error, place)
    return unreachable(place, error)


class _Line:
    """A connection that stands."""

    def __init__(self, place: str, connection: Connection) -> None:
        self._place = place
        self._connection = connection
        self._asked: deque[tuple[int, asyncio.Future[list[Any]]]] = deque()
        self._writing = asyncio.Lock()
        self._reader = asyncio.get_running_loop().create_task(self._read(), name="perdure-redis")
        self._closing: asyncio.Task[None] | None = None
        self.is_open = True

    async def call(self, commands: Sequence[Command]) -> list[Any]:
        packed = self._connection.pack_commands(commands)
        is_written = True
        answered: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                async with self._writing:
                    if not self.is_open:
                        raise unreachable(self._place, NotConnected("the connection broke"))
                    is_written = False
                    self._asked.append((len(commands), answered))
                    await self._connection.send_packed_command(packed, check_health=False)
                    is_written = True
                return await answered
        except TimeoutError as error:
            self._break(error)
            raise unreachable(self._place, error) from error
        except (RedisError, OSError) as error:
            self._break(error)
            raise unreachable(self._place, error) from error
        except asyncio.CancelledError:
            if not is_written:
                self._break(NotConnected("a call was given up while it was written"))
            raise

    async def close(self) -> None:
        self._break(NotConnected("the store was closed"))
        await asyncio.gather(self._reader, *filter(None, [self._closing]), return_exceptions=True)

    async def _read(self) -> None:
        try:
            while True:
                replies = [await self._reply()]
                count, answered = self._asked[0]
                for _ in range(count - 1):
                    replies.append(await self._reply())
                self._asked.popleft()
                if not answered.done():
                    answered.set_result(replies)
        except (RedisError, OSError, IndexError) as error:
            self._break(error)

    async def _reply(self) -> Any:
        try:
            return await self._connection.read_response(disable_decoding=True, disconnect_on_error=False)
        except ResponseError as error:
            return error
        except NotConnected as error:
            if type(error) is NotConnected:
                raise
            return error  # because the client makes broken connections of some replies

    def _break(self, error: Exception) -> None:
        """Nothing is read from it any more; whoever waits hears that."""
        if not self.is_open:
            return
        self.is_open = False
        asked, self._asked = list(self._asked), deque()
        for _, answered in asked:
            if not answered.done():
                answered.set_exception(unreachable(self._place, error))
                answered.exception()  # because nobody may wait for it any more
        if self._reader is not asyncio.current_task():
            self._reader.cancel()
        self._closing = asyncio.get_running_loop().create_task(self._connection.disconnect(nowait=True))
