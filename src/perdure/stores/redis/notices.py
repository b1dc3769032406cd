"""Notices as the scripts keep them: what is to be told of a shard's instances, and what became of that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure.stores.contract import Notice, Posted
from perdure.stores.redis.keys import shard_keys
from perdure.stores.redis.records import text
from perdure.stores.redis.server import Server


async def page(server: Server, shard: int, which: str, after: int, limit: int) -> list[Posted]:
    return [_posted(*one) for one in await server.one("notices", shard_keys(shard), "page", which, after, limit)]


async def purge(server: Server, shard: int, notices: Sequence[Notice]) -> list[str]:
    asked = [[notice.instance, text(notice.event)] for notice in notices]
    answers = await server.one("purge", shard_keys(shard), *asked)
    return [notice.instance for notice, is_gone in zip(notices, answers, strict=True) if is_gone]


async def done(server: Server, shard: int, *what: Any) -> int:
    return int(await server.one("notices", shard_keys(shard), *what))


def _posted(number: bytes, instance: bytes, event: bytes, failure: bytes) -> Posted:
    return Posted(int(number), instance.decode(), event, failure.decode() or None)
