"""The documents of an app, counted for people."""

from __future__ import annotations

from collections import Counter

from perdure.stores.contract import ENTITY, Census, Status, WaitKind
from perdure.stores.mongo.database import Database, Doc
from perdure.stores.mongo.documents import is_there, wait_of
from perdure.stores.mongo.heads import HEADS

PAGE = 500
"""Instances that one call reads."""
_LOOKED_AT = ("shard", "id", "life", "waits", "mail", "count")


async def census(database: Database, app: str, shards: list[int]) -> Census:
    """Looks at every instance, a page at a time."""
    entities = await database.count(HEADS, {"app": app, "kind": ENTITY})
    calls: Counter[str] = Counter()
    mail = segments = 0
    for shard in shards:
        after = ""
        while True:
            condition = {"shard": shard, "id": {"$gt": after}}
            page = await database.find(HEADS, condition, fields=_LOOKED_AT, order=[("id", 1)], limit=PAGE)
            for doc in filter(is_there, page):
                calls.update(_states(doc))
                mail += len(doc["mail"])
                segments += doc["count"]
            if len(page) < PAGE:
                break
            after = page[-1]["id"]
    return Census(await _counts(database, app, {"$ne": ENTITY}), entities, dict(calls), mail, segments)


async def counts(database: Database, app: str) -> dict[str, int]:
    """Workflows by status."""
    return await _counts(database, app, "workflow")


async def _counts(database: Database, app: str, kind: object) -> dict[str, int]:
    of_app = [{"app": app, "status": str(status), "kind": kind} for status in Status]
    found = await database.all(database.count(HEADS, condition) for condition in of_app)
    return {str(status): count for status, count in zip(Status, found, strict=True) if count}


def _states(doc: Doc) -> list[str]:
    waits = map(wait_of, doc["waits"].values())
    return [wait.state for wait in waits if wait.kind == WaitKind.ACTIVITY]
