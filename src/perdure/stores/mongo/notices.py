"""Notices of each shard until they are told: documents of their own, to which turns and purges send them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from perdure.stores.contract import Notice, Posted
from perdure.stores.mongo.database import Database, Doc
from perdure.stores.mongo.documents import Document
from perdure.stores.mongo.heads import HEADS
from perdure.stores.mongo.ownership import advance

NOTICES = "notices"
PENDING, TOLD, GIVEN_UP, LEAVING = range(4)
"""States; a notice that is LEAVING is pending as soon as its instance is gone."""
PER_COMMIT_BITS = 20
"""The number of a notice is that of its commit, and then its place in it."""


def number_of(commit: int, place: int) -> int:
    return (commit << PER_COMMIT_BITS) + place


def doc_of(shard: int, number: int, notice: Notice) -> Doc:
    return {
        "_id": f"{shard}|{number}",
        "shard": shard,
        "number": number,
        "instance": notice.instance,
        "event": notice.event.decode(),
        "state": PENDING,
    }


async def page(database: Database, shard: int, after: int, limit: int, *, pending: bool) -> list[Posted]:
    await _settle(database, shard)
    states = [PENDING] if pending else [PENDING, TOLD, GIVEN_UP]
    condition = {"shard": shard, "number": {"$gt": after}, "state": {"$in": states}}
    return await _posted(database, condition, limit)


async def newest(database: Database, shard: int) -> int:
    await _settle(database, shard)
    condition = {"shard": shard, "state": {"$in": [PENDING, TOLD, GIVEN_UP]}}
    found = await database.find(NOTICES, condition, order=[("number", -1)], limit=1)
    return int(found[0]["number"]) if found else 0


async def purge_told(
    database: Database,
    shard: int,
    gone: Sequence[Notice],
    documents: dict[str, Document],
    purge: Callable[[list[str]], Awaitable[list[str]]],
) -> list[str]:
    """Notices are written before, and count when their instance is gone, whoever notices that."""
    commit = await advance(database, shard)
    leaving = [
        doc_of(shard, number_of(commit, place), notice)
        | {"_id": _leaving_key(documents[notice.instance]), "state": LEAVING, "life": documents[notice.instance].life}
        for place, notice in enumerate(gone)
        if notice.instance in documents
    ]
    await database.insert_missing(NOTICES, leaving)
    purged = await purge([notice.instance for notice in gone])
    await _settle(database, shard)
    keys = [_leaving_key(documents[id]) for id in documents if id not in purged]
    await database.delete(NOTICES, {"_id": {"$in": keys}, "state": LEAVING})
    return purged


def _leaving_key(document: Document) -> str:
    return f"{document.shard}|gone|{document.life}"


async def _settle(database: Database, shard: int) -> None:
    """What is leaving and whose instance is gone is pending."""
    leaving = await database.find(NOTICES, {"shard": shard, "state": LEAVING})
    if not leaving:
        return
    lives = await database.find(HEADS, {"life": {"$in": [doc["life"] for doc in leaving]}}, fields=["life"])
    there = {doc["life"] for doc in lives}
    keys = [doc["_id"] for doc in leaving if doc["life"] not in there]
    if keys:
        change = {"$set": {"state": PENDING}}
        await database.update_all(NOTICES, {"_id": {"$in": keys}, "state": LEAVING}, change)


async def told(database: Database, shard: int, numbers: Sequence[int]) -> None:
    condition = {"shard": shard, "number": {"$in": list(numbers)}}
    await database.update_all(NOTICES, condition, {"$set": {"state": TOLD}})


async def give_up(database: Database, shard: int, number: int, failure: str) -> None:
    change = {"$set": {"state": GIVEN_UP, "failure": failure}}
    await database.update_all(NOTICES, {"shard": shard, "number": number}, change)


async def given_up(database: Database, shard: int, limit: int) -> list[Posted]:
    return await _posted(database, {"shard": shard, "state": GIVEN_UP}, limit)


async def tell_again(database: Database, shard: int) -> int:
    found = await database.find(NOTICES, {"shard": shard, "state": GIVEN_UP}, fields=["number"])
    keys = [doc["_id"] for doc in found]
    change = {"$set": {"state": PENDING}, "$unset": {"failure": ""}}
    await database.update_all(NOTICES, {"_id": {"$in": keys}, "state": GIVEN_UP}, change)
    return len(keys)


async def trim(database: Database, shard: int, keep: int) -> None:
    for state in (TOLD, GIVEN_UP):
        of_state: dict[str, Any] = {"shard": shard, "state": state}
        newest = await database.find(NOTICES, of_state, fields=["number"], order=[("number", -1)], limit=keep + 1)
        if len(newest) > keep:
            await database.delete(NOTICES, of_state | {"number": {"$lte": newest[-1]["number"]}})


async def _posted(database: Database, condition: Doc, limit: int) -> list[Posted]:
    found = await database.find(NOTICES, condition, order=[("number", 1)], limit=limit) if limit > 0 else []
    return [Posted(doc["number"], doc["instance"], doc["event"].encode(), doc.get("failure")) for doc in found]
