"""Leases and members as the scripts keep them: who may write to which shard, who lives, who is suspected."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from perdure.stores.contract import Beat, Lease, Member, Suspect
from perdure.stores.redis.address import Address
from perdure.stores.redis.keys import DIRECTORY, app_keys, shard_keys
from perdure.stores.redis.records import member_fields, member_of
from perdure.stores.redis.server import Ask, Server
from perdure.stores.rules import failed_over, lost
from perdure.stores.shard_ids import number_in_app


async def acquire(
    server: Server,
    app: str,
    shards: Sequence[int],
    owner: str,
    at: str | None,
    limit: int | None,
    epochs: dict[int, int],
) -> list[tuple[Lease, int]]:
    """What the owner holds of the shards after it took up to `limit` free ones, each with its series.

    `epochs` are those seen before.
    """

    def asks(of: Sequence[int], takes: bool) -> list[Ask]:
        lasts = server.address.lease_seconds
        return [(shard_keys(shard), [owner, at or False, lasts, epochs.get(shard, 0), takes]) for shard in of]

    seen = dict(zip(shards, await server.run("acquire", asks(shards, False)), strict=True))
    _check(app, seen, epochs)
    free = [shard for shard in shards if seen[shard] == b"free"]
    wanted = free if limit is None else free[: max(limit, 0)]
    seen |= dict(zip(wanted, await server.run("acquire", asks(wanted, True)), strict=True))
    _check(app, seen, epochs)
    return [
        (Lease(shard, app, number_in_app(shard), owner, int(said[0]), int(said[1])), int(said[2]))
        for shard, said in seen.items()
        if isinstance(said, list)
    ]


async def release(server: Server, leases: Sequence[Lease]) -> None:
    await server.run("release", [(shard_keys(lease.shard), [lease.epoch]) for lease in leases])


async def beat(server: Server, app: str, number: int, member: Member, leases: Sequence[Lease]) -> Beat:
    """The member and all leases in one round trip."""
    seconds = server.address.lease_seconds
    held, members = await asyncio.gather(
        server.run("beat", [(shard_keys(lease.shard), [lease.epoch, seconds]) for lease in leases]),
        server.one("members", app_keys(number), seconds, member.owner, member_fields(member).decode()),
    )
    said = dict(zip((lease.shard for lease in leases), held, strict=True))
    _check(app, said, {lease.shard: lease.epoch for lease in leases})
    living = _members(members[0], {})
    return Beat([_prolonged(lease, said[lease.shard]) for lease in leases if said[lease.shard]], living)


def _prolonged(lease: Lease, until: bytes) -> Lease:
    return Lease(lease.shard, lease.app, lease.number, lease.owner, lease.epoch, int(until))


async def members(server: Server, number: int) -> list[Member]:
    fields, told = await server.one("members", app_keys(number), 0)
    return _members(fields, dict(zip(told[::2], told[1::2], strict=True)))


async def tell(server: Server, number: int, owner: str, about: bytes) -> None:
    await server.one("members", app_keys(number), -2, owner, about.decode())


async def leave(server: Server, number: int, owner: str) -> None:
    await server.one("members", app_keys(number), -1, owner)


def _members(fields: Sequence[bytes], told: dict[bytes, bytes]) -> list[Member]:
    found = zip(fields[::2], fields[1::2], strict=True)
    return sorted((member_of(record, told.get(owner)) for owner, record in found), key=lambda member: member.owner)


async def suspects(server: Server, shard: int) -> list[Suspect]:
    deaths, accused = await server.one("suspects", shard_keys(shard), "list")
    places = dict(zip(accused[::2], accused[1::2], strict=True))
    found = zip(deaths[::2], deaths[1::2], strict=True)
    return sorted(
        (Suspect(id.decode(), int(count), int(places.get(id, 0))) for id, count in found),
        key=lambda suspect: suspect.instance,
    )


async def accuse(server: Server, lease: Lease, instance: str, place: int) -> None:
    if not await server.one("suspects", shard_keys(lease.shard), "accuse", lease.epoch, instance, place):
        raise lost(lease)


async def acquit(server: Server, lease: Lease, instances: Sequence[str]) -> None:
    if not await server.one("suspects", shard_keys(lease.shard), "acquit", lease.epoch, list(instances)):
        raise lost(lease)


class RedisHeart:
    """Beats through a connection of its own, for a thread that has its own event loop."""

    def __init__(self, address: Address) -> None:
        self._server = Server(address)
        self._numbers: dict[str, int] = {}

    async def beat(self, app: str, member: Member, leases: Sequence[Lease]) -> Beat:
        if app not in self._numbers:
            self._numbers[app] = (await look_up(self._server, app, 1, make=True))[0]
        return await beat(self._server, app, self._numbers[app], member, leases)

    async def close(self) -> None:
        await self._server.close()


async def look_up(server: Server, app: str, shards: int, *, make: bool) -> tuple[int, int]:
    """The app's number and how many shards it has; (0, 0) if there is none and none is made."""
    found = await server.one("apps", DIRECTORY, app, shards, make)
    number, _, count = found.partition(b":")
    return (int(number), int(count)) if found else (0, 0)


def _check(app: str, said: dict[int, Any], known: dict[int, int]) -> None:
    """Raises StoreRolledBack if a shard is older than what is known of it."""
    for shard, answer in said.items():
        if isinstance(answer, list) and answer[0] == b"back":
            raise failed_over(shard, app, int(answer[1]), known.get(shard, 0))
