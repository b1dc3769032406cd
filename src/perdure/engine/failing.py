"""The failures of an app, read from the store: its newest failed and stalled instances, in groups of the same."""

from __future__ import annotations

import asyncio
from functools import partial

import msgspec

from perdure.engine.node import Node
from perdure.history.alike import (
    FAILURES_LOOKED_MAX,
    UNKNOWN,
    Failed,
    FailureGroup,
    FailureQuery,
    groups,
    of_stalled,
    rerun_id,
)
from perdure.history.events import Failure, RunCompleted, decode_segment
from perdure.paging import each_found
from perdure.stores.contract import Head, Query, Status

READS_AT_ONCE = 16
PAGE = 200


async def failures(node: Node, asked: FailureQuery) -> list[FailureGroup]:
    """Groups of the same failure, the largest first."""
    limit = min(asked.limit, FAILURES_LOOKED_MAX)
    failed = await _found(node, _query(node, asked, status=(Status.FAILED,), finished_after=asked.since), limit)
    stalled = await _found(node, _query(node, asked, stalled=True), limit)
    gate = asyncio.Semaphore(READS_AT_ONCE)
    reruns = await _reruns(node, failed)
    ended = await asyncio.gather(*(_of_failed(node, head, reruns.get(head.id), gate) for head in failed))
    found = [*ended, *(each for each in map(of_stalled, stalled) if asked.since is None or each.at >= asked.since)]
    return [group for group in groups(found) if asked.fingerprint in (None, group.fingerprint)]


def _query(node: Node, asked: FailureQuery, **conditions: object) -> Query:
    return msgspec.structs.replace(Query(app=node.app, name=asked.name), **conditions)


async def _found(node: Node, query: Query, limit: int) -> list[Head]:
    return [head async for head in each_found(partial(node.store.find, query), PAGE, limit)]


async def _reruns(node: Node, failed: list[Head]) -> dict[str, Head]:
    """The reruns of failed instances, by the id of the failed one."""
    found: dict[str, Head] = {}
    by_rerun = {rerun_id(head.id): head.id for head in failed}
    ids = list(by_rerun)
    for at in range(0, len(ids), PAGE):
        places = [(node.shard_of(id), id) for id in ids[at : at + PAGE]]
        for head in await node.store.heads(places):
            found[by_rerun[head.id]] = head
    return found


async def _of_failed(node: Node, head: Head, rerun: Head | None, gate: asyncio.Semaphore) -> Failed:
    async with gate:
        last = await node.store.last_segment(node.shard_of(head.id), head.id)
    return Failed(head, _failure_in(last.events) if last is not None else UNKNOWN, head.finished or 0, rerun)


def _failure_in(data: bytes) -> Failure:
    try:
        ends = [event for event in decode_segment(data) if isinstance(event, RunCompleted)]
    except ValueError:
        return Failure(type="HistoryCorrupt", message="the last turn of the history cannot be read")
    return (ends[-1].failure if ends else None) or UNKNOWN
