"""Which blobs the store refers to: a search through everything that may hold a payload."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from perdure.paging import each_found
from perdure.stores.contract import EngineStore, Head, Loaded, Query, shard_number

PAGE = 200
_NAME = re.compile(rb"[0-9]{8}/[0-9a-f]{64}")
"""What the name of a blob looks like, wherever it stands."""


async def unreferenced(store: EngineStore, names: set[str]) -> set[str]:
    """Those of `names` that no instance of any app refers to: in history, mail, open calls or custom status."""
    left = set(names)
    shards = {app: await store.shards(app) for app in await store.apps()}
    async for head in each_found(partial(store.find, Query(kind=None)), PAGE):
        for loaded in await store.load(_shard(shards[head.app], head), [head.id]):
            left.difference_update(found.decode() for part in _parts(loaded) for found in _NAME.findall(part))
        if not left:
            break
    return left


def _shard(shards: list[int], head: Head) -> int:
    return shards[shard_number(head.id, len(shards))]


def _parts(loaded: Loaded) -> Iterator[bytes]:
    yield from (segment.events for segment in loaded.segments)
    yield from (mail.event for mail in loaded.mail)
    payloads = [loaded.head.custom_status, *(wait.input for wait in loaded.waits), *(w.details for w in loaded.waits)]
    yield from (bytes(payload.data) for payload in payloads if payload is not None)
