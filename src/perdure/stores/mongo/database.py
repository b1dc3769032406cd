"""One database and its collections, read and written so that what is acknowledged stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar

from pymongo import AsyncMongoClient, ReadPreference, WriteConcern
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError, ConfigurationError, DuplicateKeyError, InvalidURI, PyMongoError
from pymongo.read_concern import ReadConcern

from perdure.clock import SECOND
from perdure.errors import StoreNotUsable
from perdure.stores.mongo.address import Address, refused_address
from perdure.stores.mongo.refusals import DUPLICATE, refusal

CONNECTIONS_MAX = 16
"""Bound of connections of one node; also of calls that are under way at once for one call of the store."""
SELECT_SECONDS = 5.0
"""How long a call waits for a primary before it is told that there is none."""
ANSWER_SECONDS = 20.0
"""After this the outcome of a call is unknown."""
PAGE = 500
"""Documents that one call inserts, or names."""

ACKNOWLEDGED = WriteConcern("majority", j=True)
"""Every write is acknowledged by a majority of the replica set, each of which has it in its journal."""

Doc: TypeAlias = dict[str, Any]
T = TypeVar("T")


class Database:
    """Belongs to the event loop that first calls it."""

    def __init__(self, address: Address, read_only: bool = False) -> None:
        self.address = address
        self.read_only = read_only
        try:
            self._client: AsyncMongoClient[Doc] = AsyncMongoClient(
                address.url,
                retryWrites=False,  # because whoever writes reads back what became of it
                maxPoolSize=CONNECTIONS_MAX,
                serverSelectionTimeoutMS=round(SELECT_SECONDS * 1000),
                connectTimeoutMS=round(SELECT_SECONDS * 1000),
                socketTimeoutMS=round(ANSWER_SECONDS * 1000),
                appname="perdure",
            )
        except (ConfigurationError, InvalidURI, ValueError, TypeError) as error:
            raise refused_address(address, error) from error
        self._slots = asyncio.Semaphore(CONNECTIONS_MAX)

    def __repr__(self) -> str:
        return str(self.address)

    def collection(self, name: str, concern: WriteConcern = ACKNOWLEDGED) -> AsyncCollection[Doc]:
        found = self._client[self.address.database][f"perdure_{name}"]
        return found.with_options(
            write_concern=concern, read_concern=ReadConcern("majority"), read_preference=ReadPreference.PRIMARY
        )

    def bare(self, name: str) -> AsyncCollection[Doc]:
        """A collection whose writes are acknowledged as the transaction says that they are made in."""
        return self._client[self.address.database][f"perdure_{name}"]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncClientSession]:
        """A session whose writes are done together when it ends, or not at all if it raises."""
        async with (
            self._client.start_session() as session,
            await session.start_transaction(ReadConcern("snapshot"), ACKNOWLEDGED),
        ):
            yield session

    async def close(self) -> None:
        await self._client.close()

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """Within it the client's errors become those of the store, but for a key that is there already."""
        try:
            yield
        except DuplicateKeyError:
            raise
        except PyMongoError as error:
            raise refusal(error, str(self.address)) from error

    async def command(self, name: str, **options: Any) -> Doc:
        """What the server answers. Raises PyMongoError."""
        return await self._client.admin.command(name, **options)

    async def stats(self) -> Doc:
        async with self.asking():
            return await self._client[self.address.database].command("dbStats")

    async def now(self) -> int:
        """The time of the primary's clock."""
        async with self.asking():
            told = (await self.command("hello"))["localTime"]
        milliseconds: int = round(told.timestamp() * 1000)
        return milliseconds * (SECOND // 1000)

    # -- documents

    async def find(
        self,
        name: str,
        condition: Mapping[str, Any],
        *,
        fields: Sequence[str] | None = None,
        order: Sequence[tuple[str, int]] = (),
        limit: int = 0,
    ) -> list[Doc]:
        async with self.asking():
            found = self.collection(name).find(condition, dict.fromkeys(fields, 1) if fields else None)
            if order:
                found = found.sort(list(order))
            return await (found.limit(limit) if limit else found).to_list()

    async def of_keys(self, name: str, keys: Iterable[Any], fields: Sequence[str] | None = None) -> dict[Any, Doc]:
        """Those that exist, by key."""
        wanted = list(dict.fromkeys(keys))
        pages = [
            self.find(name, {"_id": {"$in": wanted[begin : begin + PAGE]}}, fields=fields)
            for begin in range(0, len(wanted), PAGE)
        ]
        return {doc["_id"]: doc for page in await self.all(pages) for doc in page}

    async def count(self, name: str, condition: Mapping[str, Any]) -> int:
        async with self.asking():
            return await self.collection(name).count_documents(condition)

    async def insert(self, name: str, doc: Doc) -> bool:
        """False, and nothing written, if its key, or another that must be unique, is there."""
        self._writes()
        try:
            async with self.asking():
                await self.collection(name).insert_one(doc)
        except DuplicateKeyError:
            return False
        return True

    async def insert_missing(self, name: str, docs: Sequence[Doc]) -> None:
        """Insert those whose keys are not there."""
        self._writes()
        for begin in range(0, len(docs), PAGE):
            async with self.asking():
                try:
                    await self.collection(name).insert_many(docs[begin : begin + PAGE], ordered=False)
                except BulkWriteError as error:
                    failed = error.details.get("writeErrors", [])
                    if error.details.get("writeConcernErrors") or any(one["code"] != DUPLICATE for one in failed):
                        raise

    async def update(self, name: str, condition: Mapping[str, Any], change: Mapping[str, Any]) -> bool:
        """Whether there was one that fits the condition, which is changed."""
        self._writes()
        async with self.asking():
            return (await self.collection(name).update_one(condition, change)).matched_count > 0

    async def update_all(self, name: str, condition: Mapping[str, Any], change: Mapping[str, Any]) -> None:
        self._writes()
        async with self.asking():
            await self.collection(name).update_many(condition, change)

    async def replace(self, name: str, condition: Mapping[str, Any], doc: Doc) -> bool:
        """Whether there was one that fits the condition, whose place the document has taken.

        False also if another has a key of it that must be unique.
        """
        self._writes()
        try:
            async with self.asking():
                return (await self.collection(name).replace_one(condition, doc)).matched_count > 0
        except DuplicateKeyError:
            return False

    async def delete(self, name: str, condition: Mapping[str, Any]) -> int:
        self._writes()
        async with self.asking():
            return (await self.collection(name).delete_many(condition)).deleted_count

    async def all(self, calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
        """The answers of several calls that are made at once; if one fails its error, when all have ended."""
        answers = await asyncio.gather(*(self._one(call) for call in calls), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    async def _one(self, call: Coroutine[Any, Any, T]) -> T:
        async with self._slots:
            return await call

    def _writes(self) -> None:
        if self.read_only:
            raise StoreNotUsable(f"{self.address} was opened to read; open it without read_only to write")
