"""Looks at a server before anything is written to it, and makes the collections and their indexes."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from pymongo import ASCENDING, DESCENDING
from pymongo.errors import OperationFailure, PyMongoError

from perdure.errors import StoreNotUsable
from perdure.stores.contract import FORMAT, OLDEST, Checkup
from perdure.stores.layout import Layout, check_alone, recognised
from perdure.stores.mongo.database import Database
from perdure.stores.mongo.durability import Accepted, Settings, durability, refused
from perdure.stores.mongo.heads import HEADS, LOG, PAYLOADS
from perdure.stores.mongo.ledger import ENTRIES
from perdure.stores.mongo.notices import NOTICES
from perdure.stores.mongo.outbox import PERMITS
from perdure.stores.mongo.ownership import APPS, MEMBERS, SHARDS
from perdure.stores.mongo.refusals import refusal

LAYOUT = "layout"
RACE = "race"
RACES = 8
"""How often the server is tried before a store is made on it."""
RACERS = 8
"""How many write at once then."""
_INDEXES: dict[str, list[list[tuple[str, int]]]] = {
    HEADS: [
        [("shard", ASCENDING), ("id", ASCENDING)],
        [("shard", ASCENDING), ("flags", ASCENDING), ("id", ASCENDING)],
        [("shard", ASCENDING), ("due", ASCENDING)],
        [("shard", ASCENDING), ("deaths", ASCENDING)],
        [("app", ASCENDING), ("kind", ASCENDING), ("created", DESCENDING), ("id", DESCENDING)],
        [("app", ASCENDING), ("status", ASCENDING), ("created", DESCENDING), ("id", DESCENDING)],
        [("app", ASCENDING), ("status", ASCENDING), ("ended", ASCENDING), ("id", ASCENDING)],
        [("tags", ASCENDING)],
        [("parent", ASCENDING)],
    ],
    LOG: [[("l", ASCENDING), ("t", ASCENDING), ("n", ASCENDING)]],
    PAYLOADS: [[("l", ASCENDING), ("t", ASCENDING), ("n", ASCENDING)]],
    PERMITS: [[("shard", ASCENDING), ("queue", ASCENDING)]],
    SHARDS: [[("app", ASCENDING)]],
    MEMBERS: [[("app", ASCENDING)]],
    NOTICES: [[("shard", ASCENDING), ("state", ASCENDING), ("number", ASCENDING)]],
    ENTRIES: [[("app", ASCENDING), ("number", ASCENDING)]],
}
_UNIQUE: dict[str, str] = {HEADS: "claim", APPS: "number"}


async def inspect(database: Database) -> None:
    """Raises StoreNotUsable, StoreVersion or StoreUnavailable if no store can be kept here."""
    settings = await read_settings(database)
    why = refused(settings, _accepted(database))
    if why is not None:
        raise StoreNotUsable(f"{database} {why}")


async def check_layout(database: Database) -> None:
    """Recognise the layout of collections, begin one, or bring it up to date.

    Indexes come before the number, so that whoever is interrupted, or comes second, does it again without harm.
    """
    found = await _layout(database)
    if found.is_current:
        return
    if database.read_only:
        raise StoreNotUsable(f"{database} is no store of this version yet; open it once with a worker")
    await check_conditions(database)
    check_alone(database, found, await _living(database) if 0 < found.format < OLDEST else [])
    await _make_indexes(database)
    number = {"format": FORMAT, "oldest": OLDEST}
    if not await database.insert(LAYOUT, {"_id": LAYOUT} | number):
        await database.update(LAYOUT, {"_id": LAYOUT, "format": {"$lt": FORMAT}}, {"$set": number})
    await _layout(database)


async def check_conditions(database: Database) -> None:
    """Raises StoreNotUsable if the server lets several win who write at once on a condition that one of them ends.

    Some that speak the protocol do, and no lease would hold there.
    """
    await database.delete(LAYOUT, {"_id": RACE})
    await database.insert(LAYOUT, {"_id": RACE, "round": 0})
    for number in range(RACES):
        there, change = {"_id": RACE, "round": number}, {"$set": {"round": number + 1}}
        won = await database.all(database.update(LAYOUT, there, change) for _ in range(RACERS))
        if sum(won) != 1:
            raise StoreNotUsable(
                f"{database} let {sum(won)} of {RACERS} writers win, where each wrote on the condition that none had; "
                "use MongoDB itself, because no lease would hold on this server"
            )
    await database.delete(LAYOUT, {"_id": RACE})


async def _layout(database: Database) -> Layout:
    """That which is there. Raises StoreVersion if this version cannot go on with it."""
    for doc in await database.find(LAYOUT, {"_id": LAYOUT}):
        return recognised(database, doc["format"], doc.get("oldest"))
    return Layout()


async def _living(database: Database) -> list[str]:
    """Who lives as a node of any app."""
    now = await database.now()
    return sorted(doc["owner"] for doc in await database.find(MEMBERS, {"until": {"$gt": now}}))


async def _make_indexes(database: Database) -> None:
    """May be interrupted and done again: an index that is there stays."""
    async with database.asking():
        for name, keys in _INDEXES.items():
            for key in keys:
                await database.collection(name).create_index(key)
        for name, field in _UNIQUE.items():
            await database.collection(name).create_index([(field, ASCENDING)], unique=True, sparse=True)


async def checkup(database: Database) -> Checkup:
    """What the server says of itself, and what would be refused."""
    settings = await read_settings(database)
    found = (await _layout(database)).format
    old = f"the layout has format {found} and this version writes {FORMAT}; run `perdure store migrate`"
    why = refused(settings, _accepted(database))
    told = {"replica set": settings.set_name, "storage engine": settings.engine}
    return Checkup(
        f"MongoDB {'.'.join(map(str, settings.version))}",
        found,
        durability(settings),
        {"write concern": "majority, journaled", **{name: value for name, value in told.items() if value is not None}},
        [*([] if why is None else [f"{database} {why}"]), *([old] if 0 < found < FORMAT else [])],
    )


async def size(database: Database) -> int | None:
    """Bytes of the files of the whole database."""
    told = await database.stats()
    taken = told.get("totalSize") or told.get("storageSize", 0) + told.get("indexSize", 0)
    return int(taken) or None


async def read_settings(database: Database) -> Settings:
    try:
        hello, build = await asyncio.gather(database.command("hello"), database.command("buildInfo"))
        status = await _status(database)
    except PyMongoError as error:
        raise refusal(error, str(database)) from error
    engine = status.get("storageEngine", {})
    return Settings(
        version=tuple(int(number) for number in re.findall(r"\d+", build["version"])[:2]),
        is_primary=bool(hello.get("isWritablePrimary", hello.get("ismaster", False))),
        is_router=hello.get("msg") == "isdbgrid",
        set_name=hello.get("setName"),
        engine=engine.get("name"),
        is_persistent=engine.get("persistent"),
    )


async def _status(database: Database) -> dict[str, Any]:
    """Nothing where it may not be asked for."""
    try:
        return await database.command("serverStatus")
    except OperationFailure as error:
        if error.code in (13, 59):
            return {}
        raise


def _accepted(database: Database) -> Accepted:
    return Accepted(database.address.accepts_loss, database.address.assumes_durable)
