"""Answers `find` from the fields of documents; what they do not tell is looked at in the heads that are read."""

from __future__ import annotations

import msgspec

from perdure.stores.contract import End, Head, Page, Query
from perdure.stores.mongo.database import Database
from perdure.stores.mongo.documents import SEGMENTS, Doc, head_of, is_there, references
from perdure.stores.mongo.heads import HEADS, Heads
from perdure.stores.rules import matches, read_cursor, write_cursor

PAGE_MAX = 500
"""Heads that are read with one call."""
FIELDS = ("shard", "id", "life", "head")
END_FIELDS = (*FIELDS, "open", "first", "count", "tail")


async def find(database: Database, heads: Heads, query: Query, cursor: str | None, limit: int) -> Page:
    """The page after the cursor."""
    position = None if cursor is None else read_cursor(cursor)
    place = "ended" if query.by_end else "created"
    direction = 1 if query.by_end else -1
    order = [(place, direction), ("id", direction), ("shard", direction)]
    found: list[tuple[tuple[int, str, int], Head]] = []
    while len(found) <= limit:
        condition = _condition(query)
        if position is not None:
            condition["$or"] = _beyond(place, position, "$gt" if query.by_end else "$lt")
        count = min(PAGE_MAX, limit + 1)
        docs = await database.find(HEADS, condition, fields=FIELDS, order=order, limit=count)
        for doc in await heads_of(heads, docs):
            head = head_of(doc)
            when = (head.finished or 0) if query.by_end else head.created
            position = (when, head.id, doc["shard"])
            if matches(head, query):
                found.append((position, head))
        if len(docs) < count:
            break
    page = found[:limit]
    return Page([head for _, head in page], write_cursor(*page[-1][0]) if len(found) > limit else None)


async def heads_of(heads: Heads, docs: list[Doc]) -> list[Doc]:
    """The same with what is kept apart of their heads; those that have gone are left out."""
    there = [doc for doc in docs if is_there(doc)]
    return await heads.resolve(there) if any(True for doc in there for _ in references(doc)) else there


def _condition(query: Query) -> Doc:
    found: Doc = {}
    for name in ("app", "name", "kind", "parent", "suspended", "stalled", "shard"):
        wanted = getattr(query, name)
        if wanted is not None:
            found[name] = wanted
    if query.status:
        found["status"] = {"$in": list(map(str, query.status))}
    if query.tags:
        found["tags"] = {"$all": [f"{name}={value}" for name, value in query.tags.items()]}
    for name, after, before in (
        ("created", query.created_after, query.created_before),
        ("ended", query.finished_after, query.finished_before),
    ):
        between = {sign: bound for sign, bound in (("$gte", after), ("$lt", before)) if bound is not None}
        if between:
            found[name] = between
    if query.by_end and "ended" not in found:
        found["ended"] = {"$exists": True}
    if not {"app", "kind", "shard"} & found.keys():
        found["created"] = found.get("created", {}) | {"$exists": True}
    return found


def _beyond(place: str, position: tuple[int, str, int], sign: str) -> list[Doc]:
    when, id, shard = position
    return [
        {place: {sign: when}},
        {place: when, "id": {sign: id}},
        {place: when, "id": id, "shard": {sign: shard}},
    ]


async def end(heads: Heads, doc: Doc) -> tuple[End, bool]:
    """What has become of the run that an instance has, and whether it goes on."""
    try:
        head = head_of(doc)
    except msgspec.MsgspecError:
        return End(is_unreadable=True), False
    if doc["open"]:
        return End(head), True
    if "tail" not in doc:
        return End(head), False
    last = doc["tail"]["e"].encode()
    rows = await heads.rows(doc["life"], SEGMENTS, doc["first"] - 1, 1) if doc["count"] > 1 else []
    return End(head, rows[0]["d"].encode() if rows else last, last), False


def of_run(found: tuple[End, bool] | None, execution: str | None) -> End | None:
    """What has become of the run of this execution, from what has of its instance."""
    if found is None:
        return End()
    end, goes_on = found
    if goes_on and (end.head is None or execution in (None, end.head.execution)):
        return None
    return end
