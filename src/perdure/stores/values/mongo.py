"""Values in a MongoDB database: a document for each; several at once need a replica set, which has transactions."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError

from perdure.errors import InvalidArgument, StoreVersion
from perdure.stores.mongo.address import Address
from perdure.stores.mongo.database import Database
from perdure.stores.mongo.refusals import refusal
from perdure.stores.values.contract import FORMAT, SWEEP_ROWS, Item, Operation, check_keys, check_operations, opened
from perdure.stores.values.plan import Kind, Step, mismatch, steps_of
from perdure.stores.values.undone import Undone, until_done

NEVER = 1 << 53
"""The milliseconds at which a value expires that does not."""
_UNDONE = "TransientTransactionError"
_COLLECTION = "values"
_LAYOUT = "values_meta"


class MongoValues:
    """One space of a database. Belongs to the event loop that opens it. The server's clock says what has expired, as it
    was told when the store was opened and at each sweep."""

    def __init__(self, address: Address, space: str) -> None:
        self.is_transactional = False
        self._address = address
        self._space = space
        self._database: Database | None = None
        self._ahead = 0
        self._pid = 0

    async def open(self) -> None:
        if self._database is not None:
            return
        self._pid = os.getpid()
        database = Database(self._address)
        try:
            await self._make(database)
            await self._read_clock(database)
        except BaseException:
            await database.close()
            raise
        self._database = database

    async def close(self) -> None:
        database, self._database = self._database, None
        if database is not None and os.getpid() == self._pid:
            await database.close()

    async def get(self, keys: Sequence[str]) -> list[Item | None]:
        database = self._opened
        check_keys(keys)
        now = self._now()
        if len(keys) == 1:
            docs = await database.find(_COLLECTION, {"_id": self._id(keys[0])})
            found = {doc["_id"]: doc for doc in docs}
        else:
            found = await database.of_keys(_COLLECTION, map(self._id, keys))
        return [_item(key, found.get(self._id(key)), now) for key in keys]

    async def apply(self, operations: Sequence[Operation]) -> None:
        database = self._opened
        check_operations(operations)
        steps = steps_of(operations)
        if len(steps) > 1 and not self.is_transactional:
            raise InvalidArgument(
                f"{self._address} is one server without a replica set, which has no transactions; apply one operation "
                "at a time, or make it a replica set"
            )
        if steps:
            await until_done(partial(self._together, database, steps))

    async def sweep(self) -> int:
        database = self._opened
        await self._read_clock(database)
        expired = {"expires": {"$lte": self._now()}}
        docs = await database.find(_COLLECTION, expired, fields=["_id"], limit=SWEEP_ROWS)
        if not docs:
            return 0
        return await database.delete(_COLLECTION, {"_id": {"$in": [doc["_id"] for doc in docs]}, **expired})

    # -- steps -----------------------------------------------------------------------------------------------------

    async def _together(self, database: Database, steps: list[Step]) -> None:
        async with self._meant():
            if len(steps) == 1:
                await self._step(database, steps[0], None)
                return
            async with database.transaction() as session:
                for step in steps:
                    await self._step(database, step, session)

    async def _step(self, database: Database, step: Step, session: AsyncClientSession | None) -> None:
        collection, id, now = database.collection(_COLLECTION), self._id(step.key), self._now()
        if session is not None:
            # because in a transaction its own concern counts, and none may be given beside it
            collection = database.bare(_COLLECTION)
        of_etag = {"_id": id, "etag": step.expected, "expires": {"$gt": now}}
        change = {"$set": _fields(step, now)}
        changed = 1
        match step.kind:
            case Kind.PUT:
                await collection.update_one({"_id": id}, change, upsert=True, session=session)
            case Kind.DELETE:
                await collection.delete_one({"_id": id}, session=session)
            case Kind.PUT_OVER:
                changed = (await collection.update_one(of_etag, change, session=session)).matched_count
            case Kind.DELETE_OF:
                changed = (await collection.delete_one(of_etag, session=session)).deleted_count
            case Kind.PUT_FIRST:
                changed = await self._first(collection, id, change, now, session)
        if not changed:
            raise mismatch(step)

    async def _first(
        self, collection: Any, id: str, change: Mapping[str, Any], now: int, session: AsyncClientSession | None
    ) -> int:
        """Write over what has expired, else insert, which fails where something is."""
        try:
            await collection.update_one({"_id": id, "expires": {"$lte": now}}, change, upsert=True, session=session)
        except DuplicateKeyError:
            return 0
        return 1

    # -- the database ----------------------------------------------------------------------------------------------

    async def _make(self, database: Database) -> None:
        async with database.asking():
            hello = await database.command("hello")
            self.is_transactional = "setName" in hello or hello.get("msg") == "isdbgrid"
            # made here, because older servers make no collection within a transaction
            await database.collection(_COLLECTION).create_index("expires")
        await database.insert(_LAYOUT, {"_id": "format", "format": FORMAT})
        (layout,) = await database.find(_LAYOUT, {"_id": "format"})
        if layout["format"] > FORMAT:
            raise StoreVersion(
                f"the values in {self._address} have format {layout['format']}, and this version has {FORMAT}; install "
                "a later perdure"
            )

    async def _read_clock(self, database: Database) -> None:
        self._ahead = await database.now() // 1_000 - time.time_ns() // 1_000_000

    def _now(self) -> int:
        """Milliseconds since 1970 by the server's clock."""
        return time.time_ns() // 1_000_000 + self._ahead

    def _id(self, key: str) -> str:
        return f"{self._space}:{key}"

    @asynccontextmanager
    async def _meant(self) -> AsyncIterator[None]:
        """Within it the client's errors become those of the tree."""
        try:
            yield
        except PyMongoError as error:
            if isinstance(error, OperationFailure) and error.has_error_label(_UNDONE):
                raise Undone(self._address, error) from error
            raise refusal(error, str(self._address)) from error

    @property
    def _opened(self) -> Database:
        return opened(self._database, self._pid)

    def __repr__(self) -> str:
        return f"<values {self._space!r} in {self._address}>"


def _fields(step: Step, now: int) -> dict[str, Any]:
    expires = NEVER if step.ttl is None else now + step.ttl
    return {"value": step.value, "etag": step.etag, "content_type": step.content_type, "expires": expires}


def _item(key: str, doc: Mapping[str, Any] | None, now: int) -> Item | None:
    if doc is None or doc["expires"] <= now:
        return None
    expires = None if doc["expires"] == NEVER else int(doc["expires"]) * 1_000
    return Item(key, bytes(doc["value"]), doc["etag"], doc["content_type"], expires)
