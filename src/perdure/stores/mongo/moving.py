"""Apps that are kept for a move, and whole instances that leave for another store or come from one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from perdure.errors import StoreCorrupt
from perdure.stores.contract import Item, Permit, Place, Reservation, Segment, Whole
from perdure.stores.instance import Instance
from perdure.stores.mongo.database import Database, Doc
from perdure.stores.mongo.documents import (
    Document,
    is_there,
    item_of,
    key_of,
    new,
    track_of,
)
from perdure.stores.mongo.heads import HEADS, Decided, Heads
from perdure.stores.mongo.outbox import PERMITS, permit_docs
from perdure.stores.mongo.ownership import SHARDS, kept, members, reservation_of, shards_of
from perdure.stores.rules import check_discarding, check_reservable, check_taking_in, owned

_json = msgspec.json.Encoder().encode


async def reserved(database: Database, app: str) -> Reservation | None:
    """What the app is kept for. What is sealed in one of its shards is sealed."""
    found = [reservation_of(doc) for doc in await shards_of(database, app) if "reservation" in doc]
    return next((one for one in found if one.is_sealed), found[0] if found else None)


async def reserve(database: Database, app: str, reservation: Reservation) -> None:
    """Keep all shards or, if one of them cannot be, none."""
    shards, there = await shards_of(database, app), await reserved(database, app)
    check_reservable(app, there, reservation)
    live = await members(database, app)
    if live:
        raise owned(app, live[0].owner)
    text, now = _json(reservation).decode(), await database.now()
    done: list[Doc] = []
    for doc in shards:
        if doc["held"] and doc["until"] > now:
            await _undo(database, done, text)
            raise owned(app, doc["owner"])
        same = {name: doc[name] for name in ("_id", "epoch", "held", "until")}
        same["reservation"] = doc.get("reservation", {"$exists": False})
        put = {"reservation": text, "held": False, "owner": None, "epoch": doc["epoch"] + reservation.is_sealed}
        if not await database.update(SHARDS, same, {"$set": put}):
            await _undo(database, done, text)
            now_there = await shards_of(database, app)
            holder = next((one for one in now_there if one["held"]), None)
            raise owned(app, holder["owner"]) if holder is not None else kept(now_there[0])
        done.append(doc)
    # because a write that is on its way is refused from now on, and what comes later is not part of the move
    stamp = {"$inc": {"rev": 1}, "$set": {"kept": reservation.by}}
    await database.update_all(HEADS, {"shard": {"$in": [doc["_id"] for doc in shards]}}, stamp)


async def _undo(database: Database, done: Sequence[Doc], text: str) -> None:
    for doc in done:
        was = doc.get("reservation")
        change = {"$unset": {"reservation": ""}} if was is None else {"$set": {"reservation": was}}
        await database.update(SHARDS, {"_id": doc["_id"], "reservation": text}, change)


async def free(database: Database, app: str, by: str) -> None:
    there = await reserved(database, app)
    if there is None or there.by != by or there.is_sealed:
        return
    shards = await shards_of(database, app)
    for doc in shards:
        if "reservation" in doc:
            there_now = {"_id": doc["_id"], "reservation": doc["reservation"]}
            await database.update(SHARDS, there_now, {"$unset": {"reservation": ""}})
    await database.update_all(HEADS, {"shard": {"$in": [doc["_id"] for doc in shards]}}, {"$unset": {"kept": ""}})


async def roll(
    database: Database, heads: Heads, shards: Sequence[int], by: str | None, after: tuple[int, str], limit: int
) -> list[tuple[int, Place]]:
    """Of an app that is kept, by this move, only what was there when it was."""
    found: list[tuple[int, Place]] = []
    for shard in shards:
        if shard < after[0] or len(found) >= limit:
            continue
        last = after[1] if shard == after[0] else ""
        condition: Doc = {"shard": shard, "id": {"$gt": last}}
        if by is not None:
            condition["kept"] = by
        docs = await database.find(
            HEADS,
            condition,
            fields=("id", "life", "execution", "generation", "sequence", "open"),
            order=[("id", 1)],
            limit=limit - len(found),
        )
        found += [
            (shard, Place(doc["id"], doc["execution"], doc["generation"], doc["sequence"], not doc["open"]))
            for doc in docs
            if is_there(doc)
        ]
    return found


async def export(heads: Heads, shard: int, ids: Sequence[str]) -> list[Whole]:
    wanted = list(dict.fromkeys(ids))
    there = await heads.some(shard, wanted)
    return [await _whole(heads, there[id]) for id in wanted if id in there]


async def _whole(heads: Heads, document: Document) -> Whole:
    instance = document.instance
    rows = await heads.segments(document)
    instance.segments = [Segment(row["n"], row["d"].encode()) for row in rows] + instance.segments
    if len(instance.segments) != document.count:
        raise StoreCorrupt(f"instance {instance.head.id!r} has lost segments of its history")
    for (generation, number), strand in instance.streams.items():
        older: list[Item] = [item_of(row["d"]) for row in await heads.log(document, track_of(generation, number), 0)]
        strand.items = [item for item in older if item.offset <= strand.before] + strand.items
        strand.before = 0
    return instance.whole([] if document.claim is None else [document.claim])


async def take_in(
    database: Database, heads: Heads, app: str, by: str, wholes: Sequence[tuple[int, Whole]]
) -> list[str]:
    check_taking_in(app, await reserved(database, app), by)
    refused: list[str] = []
    for shard, whole in wholes:
        found = await heads.change(shard, [whole.head.id], partial(_decide_taking, shard, whole, by))
        document, is_refused = found[whole.head.id]
        if is_refused:
            refused.append(whole.head.id)
        if document is not None:
            await _claim(database, shard, whole)
    return refused


def _decide_taking(
    shard: int, whole: Whole, by: str, _: str, document: Document | None, held: Doc | None
) -> Decided[tuple[Document | None, bool]]:
    if document is not None:
        return Decided((None, document.instance.head.execution != whole.head.execution))
    taken = new(shard, Instance.of(whole), None, held, None)
    taken.first = min((segment.sequence for segment in whole.segments), default=whole.head.sequence)
    taken.count = len(whole.segments)
    taken.keeps = by
    return Decided((taken, False), taken)


async def _claim(database: Database, shard: int, whole: Whole) -> None:
    """Those that are free; a claim whose name is taken is dropped."""
    for claim in whole.claims[:1]:
        name = f"{shard}|{claim.name}"
        if not await database.find(HEADS, {"claim": name}, limit=1):
            change = {"$set": {"claim": name, "claim_until": claim.until}}
            await database.update(HEADS, {"_id": key_of(shard, whole.head.id)}, change)


async def recount(database: Database, app: str, by: str, shard: int, permits: Sequence[Permit]) -> None:
    check_taking_in(app, await reserved(database, app), by)
    queues = sorted({permit.queue for permit in permits})
    await database.delete(PERMITS, {"shard": shard, "queue": {"$in": queues}})
    await database.insert_missing(PERMITS, permit_docs(shard, f"{by} {'/'.join(queues)}", permits))


async def discard(database: Database, heads: Heads, app: str, by: str, places: Sequence[tuple[int, Place]]) -> None:
    check_discarding(app, await reserved(database, app), by)

    def decide(execution: str, _: str, document: Document | None, __: Doc | None) -> Decided[None]:
        is_meant = document is not None and document.instance.head.execution == execution
        return Decided(None, document if is_meant else None, deletes=True)

    for shard, place in places:
        await heads.change(shard, [place.id], partial(decide, place.execution))
