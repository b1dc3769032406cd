"""The rows of an app, counted for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from perdure.stores.contract import Census, ShardState, Status
from perdure.stores.redis.keys import shard_keys
from perdure.stores.redis.server import Ask, Server
from perdure.stores.shard_ids import number_in_app

PAGE = 500
"""Instances that one call looks at, of one shard."""
_WORKFLOWS, _OTHERS = "workflow:all", "other:all"


async def census(server: Server, shards: Sequence[int]) -> Census:
    """Looks at every instance, a page of each shard at a time."""
    indexes = [*(f"workflow:status:{status}" for status in Status), _OTHERS]
    sizes = await server.run("sizes", [(shard_keys(shard), list(indexes)) for shard in shards])
    *by_status, others = map(sum, zip(*sizes, strict=True)) if sizes else [0] * len(indexes)
    workflows = {str(status): count for status, count in zip(Status, by_status, strict=True) if count}
    calls: Counter[str] = Counter()
    mail = segments = 0
    left = [(shard, index, "") for shard in shards for index in (_WORKFLOWS, _OTHERS)]
    while left:
        now, later = _one_of_each(left)
        asks: list[Ask] = [(shard_keys(shard), [index, after, PAGE]) for shard, index, after in now]
        left = later
        for (shard, index, _), answer in zip(now, await server.run("census", asks), strict=True):
            last, messages, found, *states = answer
            mail, segments = mail + messages, segments + found
            calls.update({state.decode(): count for state, count in zip(states[::2], states[1::2], strict=True)})
            if last:
                left.append((shard, index, last.decode()))
    return Census(workflows, others, dict(calls), mail, segments)


async def counts(server: Server, shards: Sequence[int]) -> dict[str, int]:
    """Asks the indexes for their sizes, and looks at no instance."""
    indexes = [f"workflow:status:{status}" for status in Status]
    sizes = await server.run("sizes", [(shard_keys(shard), list(indexes)) for shard in shards])
    found = map(sum, zip(*sizes, strict=True)) if sizes else ()
    return {str(status): count for status, count in zip(Status, found, strict=False) if count}


def _one_of_each(left: list[tuple[int, str, str]]) -> tuple[list[tuple[int, str, str]], list[tuple[int, str, str]]]:
    """The first page to read of each shard, and what has to wait for the next call."""
    now = list({shard: (shard, index, after) for shard, index, after in reversed(left)}.values())
    return now, [one for one in left if one not in now]


async def shard_states(server: Server, shards: Sequence[int]) -> list[ShardState]:
    found = await server.run("lease", [(shard_keys(shard), []) for shard in shards])
    return [
        ShardState(shard, number_in_app(shard), int(epoch), owner.decode() or None, int(until) if until else None)
        for shard, (epoch, owner, until) in zip(shards, found, strict=True)
    ]
