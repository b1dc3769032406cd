"""The audit log of an app: one document has its head and its newest entries, older ones are documents of their own."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.stores.mongo.database import Database

HEADS = "audit_heads"
ENTRIES = "audit"


async def append(database: Database, app: str, after: int, entries: Sequence[bytes], digest: str) -> bool:
    """False, and nothing written, if `after` is not the number of the last entry."""
    found = await database.find(HEADS, {"_id": app})
    texts = [entry.decode() for entry in entries]
    written = {"number": after + len(texts), "digest": digest, "newest": texts}
    if not found:
        return after == 0 and await database.insert(HEADS, {"_id": app} | written)
    there = found[0]
    if there["number"] != after:
        return False
    # because what was newest has its place already: whoever writes it there writes the same
    first = after - len(there["newest"]) + 1
    older = [
        {"_id": f"{number}|{app}", "app": app, "number": number, "entry": text}
        for number, text in enumerate(there["newest"], first)
    ]
    if older:
        await database.insert_missing(ENTRIES, older)
    return await database.update(HEADS, {"_id": app, "number": after}, {"$set": written})


async def head(database: Database, app: str) -> tuple[int, str]:
    found = await database.find(HEADS, {"_id": app})
    return (int(found[0]["number"]), str(found[0]["digest"])) if found else (0, "")


async def page(database: Database, app: str, after: int, limit: int) -> list[tuple[int, bytes]]:
    found = await database.find(HEADS, {"_id": app})
    if not found or limit <= 0:
        return []
    newest = list(enumerate(found[0]["newest"], found[0]["number"] - len(found[0]["newest"]) + 1))
    first = newest[0][0] if newest else found[0]["number"] + 1
    condition = {"app": app, "number": {"$gt": after, "$lt": first}}
    older = await database.find(ENTRIES, condition, order=[("number", 1)], limit=limit)
    entries = [(doc["number"], doc["entry"]) for doc in older] + [one for one in newest if one[0] > after]
    return [(number, text.encode()) for number, text in entries[:limit]]
