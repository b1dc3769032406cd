"""Hears what other processes publish: that a shard has mail, or an app calls for any node. Hints may be lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

from redis.asyncio.connection import Connection
from redis.exceptions import RedisError

from perdure.cancellation import cancel_and_wait
from perdure.stores.watchers import Watchers

PING_SECONDS = 20.0
"""A connection on which nothing is heard for twice as long is given up, because nobody tells of a broken cable."""
PAUSE_SECONDS_MAX = 2.0
"""Bound of the pause before the channels are subscribed to again."""


class Hints:
    """Subscribes when somebody watches, to the channels that are wanted at the time."""

    def __init__(self, connection: Callable[[], Connection]) -> None:
        self._new_connection = connection
        self._connection: Connection | None = None
        self._wanted: set[str] = set()
        self._watchers = Watchers()
        self._changed = asyncio.Event()
        self._has_heard = False
        self._tasks: list[asyncio.Task[None]] = []

    def want(self, channels: Iterable[str]) -> None:
        """Listen to these channels, and to no others."""
        wanted = set(channels)
        if wanted != self._wanted:
            self._wanted = wanted
            self._changed.set()

    def tell(self) -> None:
        """Something was written in this process."""
        self._watchers.tell()

    async def watch(self) -> AsyncIterator[None]:
        if not self._tasks:
            self._tasks = [asyncio.get_running_loop().create_task(self._listen(), name="perdure-redis-hints")]
        async for _ in self._watchers.watch():
            yield

    async def close(self) -> None:
        tasks, self._tasks = self._tasks, []
        await cancel_and_wait(*tasks)
        self.tell()

    async def _listen(self) -> None:
        pause = 0.0
        while True:
            connection = self._new_connection()
            try:
                await connection.connect()  # type: ignore[no-untyped-call]
                self._has_heard = False
                await self._hear(connection)
            except (RedisError, OSError, TimeoutError):
                # because polling finds the same meanwhile
                pause = 0.0 if self._has_heard else min(2 * pause + 0.05, PAUSE_SECONDS_MAX)
            finally:
                await connection.disconnect(nowait=True)
            await asyncio.sleep(pause)

    async def _hear(self, connection: Connection) -> None:
        subscribing = asyncio.get_running_loop().create_task(self._subscribe(connection), name="perdure-redis-channels")
        try:
            while True:
                async with asyncio.timeout(2 * PING_SECONDS):
                    message = await connection.read_response(disable_decoding=True)
                self._has_heard = True
                if message[0] == b"message":
                    self.tell()
        finally:
            subscribing.cancel()
            await asyncio.gather(subscribing, return_exceptions=True)

    async def _subscribe(self, connection: Connection) -> None:
        heard: set[str] = set()
        while True:
            self._changed.clear()
            for command, channels in (("SUBSCRIBE", self._wanted - heard), ("UNSUBSCRIBE", heard - self._wanted)):
                if channels:
                    await connection.send_command(command, *sorted(channels), check_health=False)
            if self._wanted != heard:
                self.tell()  # because what came before the subscription was not heard
            heard = set(self._wanted)
            try:
                async with asyncio.timeout(PING_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                await connection.send_command("PING", check_health=False)
