"""Apps that are kept for a move, and whole instances that leave for another store or come from one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from perdure.stores.contract import Permit, Place, Reservation, Whole
from perdure.stores.redis.keys import digits, shard_keys
from perdure.stores.redis.records import kept, place_of, reservation_fields, reservation_of, whole_fields, whole_of
from perdure.stores.redis.server import Server
from perdure.stores.rules import check_discarding, check_reservable, check_taking_in, owned

PAGE = 1_000
"""Instances that one call names, about."""
WHOLES_PER_CALL = 20
"""Instances that one call reads or inserts as a whole."""


async def reserved(server: Server, shards: Sequence[int]) -> Reservation | None:
    """What the app of the shards is kept for. What is sealed in one of them is sealed."""
    found = [reservation_of(record) for record in await _kept(server, shards) if record]
    return next((one for one in found if one.is_sealed), found[0] if found else None)


async def _kept(server: Server, shards: Sequence[int]) -> list[bytes]:
    return [there for there, _ in await server.run("reserve", [(shard_keys(shard), ["", False]) for shard in shards])]


async def reserve(
    server: Server, app: str, shards: Sequence[int], members: Sequence[str], reservation: Reservation
) -> None:
    """Keep all shards or, if one of them cannot be, none."""
    before = await _kept(server, shards)
    check_reservable(app, await reserved(server, shards), reservation)
    if members:
        raise owned(app, members[0])
    wanted = reservation_fields(app, reservation)
    changes = [
        (shard_keys(shard), [there.decode(), wanted, reservation.is_sealed])
        for shard, there in zip(shards, before, strict=True)
    ]
    answers = await server.run("reserve", changes)
    failed = [(there, owner) for there, owner in answers if owner or there.decode() != wanted]
    if not failed:
        return
    undone = [
        (shard_keys(shard), [wanted, there.decode(), False])
        for shard, there, answer in zip(shards, before, answers, strict=True)
        if not answer[1] and answer[0].decode() == wanted
    ]
    await server.run("reserve", undone)
    there, owner = failed[0]
    raise owned(app, owner.decode()) if owner else kept(there)


async def free(server: Server, app: str, shards: Sequence[int], by: str) -> None:
    there = await reserved(server, shards)
    if there is None or there.by != by or there.is_sealed:
        return
    records = await _kept(server, shards)
    await server.run(
        "reserve",
        [(shard_keys(shard), [record.decode(), "", False]) for shard, record in zip(shards, records, strict=True)],
    )


async def roll(server: Server, shard: int) -> list[Place]:
    """All instances of a shard, by id."""
    found: dict[str, Place] = {}
    cursor = b"0"
    while True:
        cursor, *fields = await server.one("roll", shard_keys(shard), cursor.decode(), PAGE)
        for id, packed in zip(fields[::2], fields[1::2], strict=True):
            place = place_of(id, packed)
            found[place.id] = place
        if cursor == b"0":
            return [found[id] for id in sorted(found)]


async def export(server: Server, shard: int, ids: Sequence[str]) -> list[Whole]:
    wanted = list(dict.fromkeys(ids))
    wholes: list[Whole] = []
    for begin in range(0, len(wanted), WHOLES_PER_CALL):
        some = wanted[begin : begin + WHOLES_PER_CALL]
        found = await server.one("export", shard_keys(shard), *some)
        wholes += [whole_of(id, parts) for id, parts in zip(some, found, strict=True) if parts]
    return wholes


async def take_in(
    server: Server, app: str, shards: Sequence[int], by: str, wholes: Sequence[tuple[int, Whole]]
) -> list[str]:
    there = await reserved(server, shards)
    check_taking_in(app, there, by)
    assert there is not None, "it was checked"
    record = reservation_fields(app, there)
    refused: list[str] = []
    for shard, group in groupby(sorted(wholes, key=lambda one: one[0]), key=lambda one: one[0]):
        inserted = [whole for _, whole in group]
        for begin in range(0, len(inserted), WHOLES_PER_CALL):
            some = inserted[begin : begin + WHOLES_PER_CALL]
            answers = await server.one("take_in", shard_keys(shard), record, *map(whole_fields, some))
            refused += [whole.head.id for whole, taken in zip(some, answers, strict=True) if not taken]
    return refused


async def recount(
    server: Server, app: str, shards: Sequence[int], by: str, shard: int, permits: Sequence[Permit]
) -> None:
    there = await reserved(server, shards)
    check_taking_in(app, there, by)
    assert there is not None, "it was checked"
    given = [[permit.queue, digits(permit.until), digits(permit.at)] for permit in permits]
    await server.one("recount", shard_keys(shard), reservation_fields(app, there), *given)


async def discard(
    server: Server, app: str, shards: Sequence[int], by: str, places: Sequence[tuple[int, Place]]
) -> None:
    there = await reserved(server, shards)
    check_discarding(app, there, by)
    assert there is not None, "it was checked"
    record = reservation_fields(app, there)
    by_shard: dict[int, list[Any]] = {}
    for shard, place in places:
        by_shard.setdefault(shard, []).append([place.id, place.execution])
    for shard, given in by_shard.items():
        for begin in range(0, len(given), PAGE):
            await server.one("discard", shard_keys(shard), record, *given[begin : begin + PAGE])
