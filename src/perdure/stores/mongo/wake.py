"""What the owners of shards must look at: instances whose document says that there is something, in one order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from heapq import merge

from perdure.stores.contract import (
    CLAIMED,
    ENTITY,
    IN_QUEUE,
    OFFERED,
    OUT,
    Backlog,
    Due,
    Lease,
    Letter,
    OpenCall,
    Wait,
    WaitKind,
)
from perdure.stores.instance import is_owners
from perdure.stores.mongo.database import Database, Doc
from perdure.stores.mongo.documents import Document
from perdure.stores.mongo.heads import HEADS, Heads

PAGE = 200
"""Instances that one call reads."""
COUNTED_MAX = 10_000
"""Instances that are looked at to count a backlog; what lies beyond is not counted."""


async def mail(heads: Heads, leases: Sequence[Lease], limit: int, after: tuple[int, str]) -> list[Letter]:
    present: list[Letter] = []
    for shard in sorted({lease.shard for lease in leases if lease.shard >= after[0]}):
        last = after[1] if shard == after[0] else ""
        async for document in _flagged(heads, shard, "mail", last, limit - len(present)):
            if len(present) >= limit:
                return present
            present += document.instance.letters(shard)
        if len(present) >= limit:
            return present
    return present


async def due(
    heads: Heads, leases: Sequence[Lease], until: int, limit: int, after: tuple[int, int, str, int]
) -> list[Due]:
    """Instances come by the first of their times, so that none is read whose first is later than all that is given."""
    shards = sorted({lease.shard for lease in leases})
    found: list[Due] = []
    position: tuple[int, int, str] | None = None
    while True:
        condition: Doc = {"shard": {"$in": shards}, "open": True, "due": {"$lte": until}}
        if position is not None:
            when, shard, id = position
            condition["$or"] = [
                {"due": {"$gt": when}},
                {"due": when, "shard": {"$gt": shard}},
                {"due": when, "shard": shard, "id": {"$gt": id}},
            ]
        page = await heads.documents(condition, [("due", 1), ("shard", 1), ("id", 1)], PAGE)
        found = list(merge(found, sorted(_dues(page, until, after), key=_key), key=_key))[:limit]
        if len(page) < PAGE:
            return found
        position = (page[-1].held["due"], page[-1].shard, page[-1].instance.head.id)
        if len(found) == limit and _key(found[-1])[:3] <= position:
            return found


def _dues(page: Sequence[Document], until: int, after: tuple[int, int, str, int]) -> Iterator[Due]:
    for document in page:
        shard, id = document.shard, document.instance.head.id
        for wait in document.instance.waits.values():
            is_due = wait.due is not None and wait.due <= until and wait.state not in OUT
            if is_due and wait.due is not None and (wait.due, shard, id, wait.number) > after:
                yield Due(shard, id, wait.number, wait.due, wait.kind)


def _key(due: Due) -> tuple[int, int, str, int]:
    return (due.due, due.shard, due.instance, due.number)


async def open_calls(heads: Heads, shard: int, after: str, limit: int) -> list[OpenCall]:
    return await _calls(heads, shard, "calls", after, limit, _is_open_call)


async def queued(heads: Heads, shard: int, after: str, limit: int) -> list[OpenCall]:
    return await _calls(heads, shard, "queue", after, limit, lambda _, wait: wait.state in IN_QUEUE)


def _is_open_call(document: Document, wait: Wait) -> bool:
    return wait.kind == WaitKind.ACTIVITY and document.instance.head.suspended is None


async def _calls(
    heads: Heads, shard: int, flag: str, after: str, limit: int, fits: Callable[[Document, Wait], bool]
) -> list[OpenCall]:
    calls: list[OpenCall] = []
    async for document in _flagged(heads, shard, flag, after, limit):
        if len(calls) >= limit:
            break
        head = document.instance.head
        calls += [
            OpenCall(shard, head.id, head.execution, head.generation, wait)
            for wait in document.instance.open_waits
            if fits(document, wait)
        ]
    return calls


async def stranded(heads: Heads, shard: int, after: str, limit: int) -> list[str]:
    condition: Doc = {"shard": shard, "open": True, "flags": {"$all": ["stranded"]}, "id": {"$gt": after}}
    return [one.instance.head.id for one in await heads.documents(condition, [("id", 1)], limit)]


async def _flagged(heads: Heads, shard: int, flag: str, after: str, wanted: int) -> AsyncIterator[Document]:
    """Unfinished instances of the shard with this flag, whole, by id."""
    while True:
        condition: Doc = {"shard": shard, "open": True, "flags": {"$all": [flag]}, "id": {"$gt": after}}
        count = max(1, min(PAGE, wanted))
        page = await heads.documents(condition, [("id", 1)], count)
        for document in await heads.whole(page):
            if not document.instance.finished:
                yield document
        if len(page) < count:
            return
        after = page[-1].instance.head.id


async def backlog(database: Database, heads: Heads, shards: Sequence[int], until: int) -> Backlog:
    condition: Doc = {"shard": {"$in": list(shards)}, "open": True}
    flags = ("mail", "calls", "queue", "offers")
    awake: list[Doc] = [{"flags": {"$all": [flag]}} for flag in flags]
    unfinished, found = await asyncio.gather(
        database.count(HEADS, condition | {"kind": {"$ne": ENTITY}}),
        heads.documents(condition | {"$or": [*awake, {"due": {"$lte": until}}]}, limit=COUNTED_MAX),
    )
    instances = [document.instance for document in found]
    waits = [wait for instance in instances for wait in instance.waits.values()]
    offered = [wait.since for wait in waits if wait.state == OFFERED]
    moving = [instance for instance in instances if instance.moves]
    ready = [times for instance in moving if (times := instance.turn_times(until))]
    return Backlog(
        unfinished=unfinished,
        offered=len(offered),
        oldest=min(offered, default=None),
        claimed=sum(wait.state == CLAIMED for wait in waits),
        ready=len(ready),
        since=min(map(min, ready), default=None),
        calls=sum(is_owners(wait, until) for instance in moving for wait in instance.waits.values()),
    )
