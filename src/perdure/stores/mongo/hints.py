"""Hears from the database that a shard has something new, where it has change streams. Hints may be lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable

from pymongo import WriteConcern
from pymongo.errors import OperationFailure, PyMongoError

from perdure.cancellation import cancel_and_wait
from perdure.stores.mongo.database import Database
from perdure.stores.mongo.ownership import HINTS
from perdure.stores.watchers import Watchers

log = logging.getLogger("perdure")

PAUSE_SECONDS_MAX = 2.0
"""Bound of the pause before the changes are listened to again."""
AWAIT_MILLISECONDS = 500
"""How long the server waits for a change before it says that there is none."""
QUIET_SECONDS = 0.02
"""Pause before it is asked again, for a server that does not wait."""
_UNHEARD = WriteConcern(0)
"""Nobody waits for a hint to be written."""


class Hints:
    """Listens when somebody watches, to the shards that are wanted at the time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watchers = Watchers()
        self._wanted: frozenset[int] = frozenset()
        self._is_closed = False
        self._task: asyncio.Task[None] | None = None

    def want(self, shards: Iterable[int]) -> None:
        """Listen to these shards, and to no others."""
        self._wanted = frozenset(shards)

    def tell(self) -> None:
        """Something was written in this process."""
        self._watchers.tell()

    async def publish(self, shards: Iterable[int]) -> None:
        """Something was written to shards that others may own."""
        self.tell()
        foreign = sorted(set(shards) - self._wanted)
        if foreign:
            collection = self._database.collection(HINTS, _UNHEARD)
            async with self._database.asking():
                await collection.update_many({"_id": {"$in": foreign}}, {"$inc": {"told": 1}})

    async def watch(self) -> AsyncIterator[None]:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._listen(), name="perdure-mongo-hints")
        async for _ in self._watchers.watch():
            yield

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            self._is_closed = True
            await cancel_and_wait(task)
        self.tell()

    async def _listen(self) -> None:
        pause = 0.0
        while not self._is_closed:
            wanted = self._wanted
            try:
                await self._hear(wanted)
            except OperationFailure:
                log.info("%s tells of no changes, so others' work is found by polling alone", self._database)
                return  # because a server that is in no replica set has none
            except PyMongoError:
                pass  # because polling finds the same meanwhile
            pause = 0.0 if wanted != self._wanted else min(2 * pause + 0.05, PAUSE_SECONDS_MAX)
            await asyncio.sleep(pause)

    async def _hear(self, wanted: frozenset[int]) -> None:
        """Return when others are wanted. A client that is cancelled may ask once more, so it is told by a flag too."""
        changes = [{"$match": {"documentKey._id": {"$in": sorted(wanted)}}}]
        collection = self._database.collection(HINTS)
        async with await collection.watch(changes, max_await_time_ms=AWAIT_MILLISECONDS) as stream:
            self.tell()  # because what came before was not heard
            while wanted == self._wanted and not self._is_closed:
                if await stream.try_next() is not None:
                    self.tell()
                else:
                    await asyncio.sleep(QUIET_SECONDS)
