"""What the owners of shards must look at, asked of all shards at once and put into one order."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.stores.contract import Backlog, Due, Lease, Letter, OpenCall, Touch
from perdure.stores.redis.keys import digits, number_of, shard_keys
from perdure.stores.redis.records import details_field, mails_of, open_calls_of
from perdure.stores.redis.server import Ask, Server

MESSAGES_PER_SHARD = 200
"""Messages that one shard of a cluster may answer with, because its node knows nothing of the others."""
DUE_PER_SHARD_MIN = 50
COUNTED = 1_000
"""Entries of an index that are looked at to count a backlog; the rest is taken to be like them."""
CLAIM_TRIES_MAX = 3
"""How often a look for calls goes on that others were faster to take."""
LOOKED_AT = 1_000
"""Instances that one call looks at for stranded ones."""


async def mail(
    server: Server, shards: Sequence[int], limit: int, after: tuple[int, str]
) -> tuple[list[Letter], dict[int, bytes]]:
    """A page of mail; and of the shards that have something in their outbox, its first number."""
    asked = sorted(shard for shard in shards if shard >= after[0])
    most = min(limit, MESSAGES_PER_SHARD) if server.address.is_cluster else limit
    asks: list[Ask] = [(shard_keys(shard), [after[1] if shard == after[0] else "", most]) for shard in asked]
    found: list[Letter] = []
    unsent: dict[int, bytes] = {}
    is_whole = True
    for shard, answer in zip(asked, await server.run("mail", asks), strict=True):
        if answer[1]:
            unsent[shard] = answer[1]
        if is_whole and len(found) < limit:
            for id, fields in zip(answer[2::2], answer[3::2], strict=True):
                found += [Letter(shard, message) for message in mails_of(id.decode(), fields)]
            is_whole = not answer[0]
    return found, unsent


async def due(
    server: Server, shards: Sequence[int], until: int, limit: int, after: tuple[int, int, str, int]
) -> list[Due]:
    """A page of due waits. A shard that has more than it was asked for ends the page."""
    asked = sorted(set(shards))
    most = max(DUE_PER_SHARD_MIN, 2 * limit // max(1, len(asked))) if len(asked) > 1 else limit
    asks: list[Ask] = [
        (shard_keys(shard), [_from(shard, after), "[" + digits(until) + "\x7f", most]) for shard in asked
    ]
    found: list[Due] = []
    end: tuple[int, int, str, int] | None = None
    for shard, members in zip(asked, await server.run("due", asks), strict=True):
        of_shard = [_due_of(shard, member) for member in members]
        found += of_shard
        if len(members) == most:
            last = _key(of_shard[-1])
            end = last if end is None else min(end, last)
    found.sort(key=_key)
    return [one for one in found if end is None or _key(one) <= end][:limit]


def _key(due: Due) -> tuple[int, int, str, int]:
    return (due.due, due.shard, due.instance, due.number)


def _from(shard: int, after: tuple[int, int, str, int]) -> str:
    when, last, id, number = after
    if shard == last:
        return "(" + digits(when) + id + "\0" + digits(number) + "\x7f"
    return ("(" + digits(when) + "\x7f") if shard < last else "[" + digits(when)


def _due_of(shard: int, member: bytes) -> Due:
    id, _, tail = member[16:].rpartition(b"\0")
    return Due(shard, id.decode(), number_of(tail[:16]), number_of(member[:16]), tail[16:].decode())


async def calls(server: Server, shard: int, index: str, after: str, limit: int, *, awake: bool) -> list[OpenCall]:
    """Waits of one index by instance and number; of runs that are not suspended if `awake`."""
    return open_calls_of(shard, await server.one("calls", shard_keys(shard), index, after, limit, awake))


async def stranded(server: Server, lease: Lease, after: str, limit: int) -> list[str]:
    found: list[str] = []
    while len(found) < limit:
        last, *ids = await server.one("stranded", shard_keys(lease.shard), after, limit - len(found), LOOKED_AT)
        found += [id.decode() for id in ids]
        after = last.decode()
        if not after:
            break
    return found


async def claim(
    server: Server, shards: Sequence[int], owner: str, token: str, names: Sequence[str], limit: int, seconds: float
) -> list[OpenCall]:
    """One round trip if there is nothing to claim, else two: to look, and to take those that wait longest.

    Again, a few times, if others were faster each time, because who has seen nothing comes back late.
    """
    for _ in range(CLAIM_TRIES_MAX if names and limit > 0 else 0):
        claimed = await _claim(server, shards, owner, token, names, limit, seconds)
        if claimed is None:
            return []
        if claimed:
            return claimed
    return []


async def _claim(
    server: Server, shards: Sequence[int], owner: str, token: str, names: Sequence[str], limit: int, seconds: float
) -> list[OpenCall] | None:
    """What was taken of what was there; None if there was nothing."""
    looked = await server.run("offers", [(shard_keys(shard), [limit, list(names)]) for shard in shards])
    offers = [
        (since, shard, id, number)
        for shard, parts in zip(shards, looked, strict=True)
        for since, id, number in zip(*[iter(parts)] * 3, strict=True)
    ]
    if not offers:
        return None
    wanted: dict[int, list[str]] = {}
    for _, shard, id, number in sorted(offers)[:limit]:
        wanted.setdefault(shard, []).extend((id.decode(), number.decode()))
    taken = await server.run(
        "claim", [(shard_keys(shard), [owner, token, seconds, *places]) for shard, places in wanted.items()]
    )
    claimed = [call for shard, parts in zip(wanted, taken, strict=True) for call in open_calls_of(shard, parts)]
    return sorted(claimed, key=lambda call: (call.wait.since, call.shard, call.instance, call.wait.number))


async def touch(server: Server, touches: Sequence[Touch], seconds: float) -> list[bool]:
    by_shard: dict[int, list[int]] = {}
    for place, one in enumerate(touches):
        by_shard.setdefault(one.shard, []).append(place)
    asks: list[Ask] = [
        (shard_keys(shard), [seconds, *(_touch_fields(touches[place]) for place in places)])
        for shard, places in by_shard.items()
    ]
    alive = [False] * len(touches)
    for places, answers in zip(by_shard.values(), await server.run("touch", asks), strict=True):
        for place, answer in zip(places, answers, strict=True):
            alive[place] = bool(answer)
    return alive


def _touch_fields(one: Touch) -> list[object]:
    return [
        one.instance,
        one.execution,
        str(one.generation),
        digits(one.number),
        one.token,
        details_field(one.details),
    ]


async def backlog(server: Server, shards: Sequence[int], until: int) -> Backlog:
    asks: list[Ask] = [(shard_keys(shard), [digits(until), COUNTED]) for shard in shards]
    found = await server.run("backlog", asks)
    unfinished, offered, oldest, claimed, ready, since, calls = zip(*found, strict=True)
    return Backlog(
        sum(unfinished), sum(offered), _earliest(oldest), sum(claimed), sum(ready), _earliest(since), sum(calls)
    )


def _earliest(times: Sequence[bytes]) -> int | None:
    return min((number_of(time) for time in times if time), default=None)
