"""Shards, their leases and the nodes that live: one document for each, changed on conditions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from perdure.clock import SECOND
from perdure.errors import AppReserved, StoreUnavailable
from perdure.stores.contract import Beat, Lease, Member, Reservation, ShardState, Suspect
from perdure.stores.mongo.address import Address
from perdure.stores.mongo.database import Database, Doc
from perdure.stores.mongo.documents import document_of, is_there, key_of
from perdure.stores.mongo.heads import HEADS, Heads
from perdure.stores.rules import failed_over, lost, reserved_for
from perdure.stores.shard_ids import number_in_app, shard_id

APPS = "apps"
SHARDS = "shards"
MEMBERS = "members"
HINTS = "hints"
TRIES_MAX = 60
"""How often a number for an app is tried that others take, or the announcement of a commit."""

_reservation: Callable[[str], Reservation] = msgspec.json.Decoder(Reservation).decode


async def look_up(database: Database, app: str, shards: int, *, make: bool) -> tuple[int, int]:
    """The app's number and how many shards it has; (0, 0) if there is none and none is made."""
    for _ in range(TRIES_MAX):
        found = await database.find(APPS, {"_id": app})
        if found:
            number, count = found[0]["number"], found[0]["shards"]
            if make:
                await _complete(database, app, number, count)
            return number, count
        if not make:
            return 0, 0
        newest = await database.find(APPS, {}, order=[("number", -1)], limit=1)
        number = newest[0]["number"] + 1 if newest else 1
        await database.insert(APPS, {"_id": app, "number": number, "shards": shards})
    raise RecursionError(f"no number is free for app {app!r}")


async def _complete(database: Database, app: str, number: int, count: int) -> None:
    """Make those of the app's shards that are not there: who was to make them may have died."""
    if await database.count(SHARDS, {"app": app}) == count:
        return
    ids = [shard_id(number, place) for place in range(count)]
    await database.insert_missing(HINTS, [{"_id": id, "told": 0} for id in ids])
    await database.insert_missing(SHARDS, [_new(id, app) for id in ids])


def _new(id: int, app: str) -> Doc:
    return {"_id": id, "app": app, "epoch": 0, "held": False, "owner": None, "until": 0, "commits": 0, "life": 0}


async def shards_of(database: Database, app: str) -> list[Doc]:
    return await database.find(SHARDS, {"app": app}, order=[("_id", 1)])


async def one(database: Database, shard: int) -> Doc:
    (found,) = await database.find(SHARDS, {"_id": shard})
    return found


# -- leases


async def acquire(
    database: Database,
    heads: Heads,
    app: str,
    owner: str,
    at: int | None,
    limit: int | None,
    epochs: dict[int, int],
) -> list[tuple[Lease, int]]:
    """What the owner holds after it took up to `limit` free shards, each with the number of its last commit."""
    shards, now = await asyncio.gather(shards_of(database, app), database.now())
    _check(app, shards, epochs)
    for doc in shards:
        if "reservation" in doc:
            raise kept(doc)
    free = [doc for doc in shards if not doc["held"] or doc["until"] <= now]
    wanted = free if limit is None else free[: max(limit, 0)]
    taken = await database.all(_take(database, heads, doc, owner, at, now) for doc in wanted)
    held = {doc["_id"]: doc for doc in shards if doc not in free and doc["owner"] == owner}
    held |= {doc["_id"]: doc for doc in taken if doc is not None}
    return [(lease_of(held[shard]), held[shard]["commits"]) for shard in sorted(held)]


async def _take(database: Database, heads: Heads, doc: Doc, owner: str, at: int | None, now: int) -> Doc | None:
    """The shard with its new owner, once nobody else can write to it; None if somebody came before."""
    until = now + round(database.address.lease_seconds * SECOND)
    there = {name: doc[name] for name in ("_id", "epoch", "held", "until")}
    epoch = doc["epoch"] + 1
    changed = {"held": True, "owner": owner, "epoch": epoch, "until": until}
    if not await database.update(SHARDS, there | {"reservation": {"$exists": False}}, {"$set": changed}):
        return None
    now_there = await one(database, doc["_id"])
    if now_there["epoch"] != epoch:
        return None
    await heads.bar(doc["_id"], now_there.get("intent", []))
    if at is not None:
        await _begin_life(database, now_there, at)
    return now_there | changed


async def announce(database: Database, lease: Lease, token: str, keys: Sequence[str], number: int) -> int | None:
    """Tell which instances a commit is about to write, so that the next owner knows whom to bar it from.

    The commit's number; None if the lease is lost. Raises StoreRolledBack.
    """
    for _ in range(TRIES_MAX):
        there = {"_id": lease.shard, "epoch": lease.epoch, "held": True, "commits": number}
        change = {"$set": {"token": token, "intent": list(keys), "commits": number + 1}}
        if await database.update(SHARDS, there, change):
            return number + 1
        doc = await one(database, lease.shard)
        if doc["epoch"] < lease.epoch:
            raise failed_over(lease.shard, lease.app, doc["epoch"], lease.epoch)
        if not is_held(doc, lease):
            return None
        number = doc["commits"]
    return None


async def advance(database: Database, shard: int) -> int:
    """A number higher than that of any commit of the shard before, of which its owner hears at its next."""
    for _ in range(TRIES_MAX):
        number = (await one(database, shard))["commits"]
        if await database.update(SHARDS, {"_id": shard, "commits": number}, {"$set": {"commits": number + 1}}):
            return int(number) + 1
    raise StoreUnavailable(f"{database}: others commit to shard {shard} all the time; it will be tried again")


async def settle(database: Database, heads: Heads, lease: Lease, token: str) -> tuple[bool, int]:
    """Whether all that the shard's newest commit announced was written under this token, and the commit's number.

    What of it is still on its way is refused from now on.
    """
    while True:
        doc = await held(database, lease)
        there = {"_id": lease.shard, "epoch": lease.epoch, "held": True, "commits": doc["commits"]}
        if await database.update(SHARDS, there, {"$set": {"commits": doc["commits"] + 1}}):
            break
    number, keys = doc["commits"] + 1, doc.get("intent", [])
    if doc.get("token") != token:
        return False, number
    await heads.bar(lease.shard, keys)
    found = await database.of_keys(HEADS, keys, ["token"])
    return bool(keys) and all(key in found and found[key].get("token") == token for key in keys), number


async def held(database: Database, lease: Lease) -> Doc:
    """The shard. Raises Fenced if the lease is lost."""
    doc = await one(database, lease.shard)
    if not is_held(doc, lease):
        raise lost(lease)
    return doc


def is_held(doc: Doc, lease: Lease) -> bool:
    return bool(doc["epoch"] == lease.epoch and doc["held"])


async def release(database: Database, leases: Sequence[Lease]) -> None:
    await database.all(_release(database, lease) for lease in leases)


async def _release(database: Database, lease: Lease) -> None:
    there = {"_id": lease.shard, "epoch": lease.epoch}
    await database.update(SHARDS, there, {"$set": {"held": False, "owner": None, "until": 0}})
    if await database.update(SHARDS, {"_id": lease.shard, "life": lease.epoch}, {"$set": {"life": 0}}):
        await database.update_all(HEADS, {"shard": lease.shard, "deaths": {"$gt": 0}}, _FORGOTTEN)


async def beat(database: Database, app: str, member: Member, leases: Sequence[Lease]) -> Beat:
    """The member and all leases."""
    now = await database.now()
    until = now + round(database.address.lease_seconds * SECOND)
    await database.all(
        [
            *(_prolong(database, lease, until) for lease in leases),
            _live(database, app, member, until),
            _bury(database, app, now),
        ]
    )
    found, members_now = await asyncio.gather(
        database.of_keys(SHARDS, [lease.shard for lease in leases]), members(database, app)
    )
    _check(app, found.values(), {lease.shard: lease.epoch for lease in leases})
    held_now = [lease_of(found[lease.shard]) for lease in leases if is_held(found[lease.shard], lease)]
    return Beat(held_now, [replace(member, about=None) for member in members_now])


async def _prolong(database: Database, lease: Lease, until: int) -> None:
    there = {"_id": lease.shard, "epoch": lease.epoch, "held": True}
    await database.update(SHARDS, there, {"$set": {"until": until}})


async def _live(database: Database, app: str, member: Member, until: int) -> None:
    facts = {"has_code": member.has_code, "slots": member.slots, "busy": member.busy, "until": until}
    key = _member_key(app, member.owner)
    if not await database.update(MEMBERS, {"_id": key}, {"$set": facts}):
        await database.insert(MEMBERS, {"_id": key, "app": app, "owner": member.owner} | facts)


async def _bury(database: Database, app: str, now: int) -> None:
    """Forget the members that have not beaten for a lease's time."""
    await database.delete(MEMBERS, {"app": app, "until": {"$lte": now}})


async def members(database: Database, app: str) -> list[Member]:
    now = await database.now()
    found = await database.find(MEMBERS, {"app": app, "until": {"$gt": now}})
    return sorted(map(_member_of, found), key=lambda member: member.owner)


def _member_of(doc: Doc) -> Member:
    about = doc["about"].encode() if "about" in doc else None
    return Member(doc["owner"], doc["has_code"], doc["slots"], doc["busy"], doc["until"], about)


async def tell(database: Database, app: str, owner: str, about: bytes) -> None:
    await database.update(MEMBERS, {"_id": _member_key(app, owner)}, {"$set": {"about": about.decode()}})


async def leave(database: Database, app: str, owner: str) -> None:
    await database.delete(MEMBERS, {"_id": _member_key(app, owner)})


def _member_key(app: str, owner: str) -> str:
    return f"{len(app)}|{app}|{owner}"


async def shard_states(database: Database, app: str) -> list[ShardState]:
    return [
        ShardState(
            doc["_id"], number_in_app(doc["_id"]), doc["epoch"], doc["owner"], doc["until"] if doc["held"] else None
        )
        for doc in await shards_of(database, app)
    ]


def lease_of(doc: Doc) -> Lease:
    return Lease(doc["_id"], doc["app"], number_in_app(doc["_id"]), doc["owner"], doc["epoch"], doc["until"])


# -- lives and suspects

_FORGOTTEN = {"$unset": {"deaths": "", "accused": "", "accused_at": "", "judged": ""}}


async def _begin_life(database: Database, shard: Doc, at: int) -> None:
    """Count a death for each that could have been running, if the life before has not ended in good order."""
    id = shard["_id"]
    if shard["life"]:
        awake = [{"flags": {"$all": ["mail"]}}, {"flags": {"$all": ["calls"]}}, {"due": {"$lte": at}}]
        looked_at, suspected = await asyncio.gather(
            database.find(HEADS, {"shard": id, "open": True, "$or": awake}),
            database.find(HEADS, {"shard": id, "deaths": {"$gt": 0}}),
        )
        running = {doc["_id"]: doc for doc in looked_at if is_there(doc) and document_of(doc).instance.could_run(at)}
        has_accused = any("accused" in doc for doc in suspected)
        await database.all(
            database.update(HEADS, {"_id": doc["_id"], "life": doc["life"]}, _FORGOTTEN)
            for doc in suspected
            if doc["_id"] not in running
        )
        await database.all(
            database.update(
                HEADS, {"_id": doc["_id"], "life": doc["life"]}, _judged(doc, shard["epoch"], rotates=has_accused)
            )
            for doc in running.values()
        )
    await database.update(SHARDS, {"_id": id, "epoch": shard["epoch"]}, {"$set": {"life": shard["epoch"]}})


def _judged(doc: Doc, epoch: int, *, rotates: bool) -> Doc:
    """One death more. If the owner that died has accused anybody, its accusations are what is told from now on."""
    put: dict[str, Any] = {"deaths": doc.get("deaths", 0) + 1, "judged": epoch}
    if not rotates:
        return {"$set": put}
    if "accused" not in doc:
        return {"$set": put, "$unset": {"accused_at": ""}}
    return {"$set": put | {"accused_at": doc["accused"]}, "$unset": {"accused": ""}}


async def suspects(database: Database, shard: int) -> list[Suspect]:
    found = await database.find(HEADS, {"shard": shard, "deaths": {"$gt": 0}}, order=[("id", 1)])
    return [Suspect(doc["id"], doc["deaths"], doc.get("accused_at", 0)) for doc in found]


async def accuse(database: Database, lease: Lease, instance: str, place: int) -> None:
    await held(database, lease)
    await database.update(HEADS, _suspect(lease, instance), {"$set": {"accused": place}})


async def acquit(database: Database, lease: Lease, instances: Sequence[str]) -> None:
    await held(database, lease)
    await database.all(database.update(HEADS, _suspect(lease, id), _FORGOTTEN) for id in instances)


def _suspect(lease: Lease, instance: str) -> Doc:
    """Nobody's who was judged by a later owner."""
    return {"_id": key_of(lease.shard, instance), "deaths": {"$gt": 0}, "judged": {"$lte": lease.epoch}}


# -- what is kept for a move


async def check_free(database: Database, shards: Sequence[int]) -> None:
    """Raises AppReserved if one of the shards is kept for a move."""
    for doc in await database.find(SHARDS, {"_id": {"$in": list(shards)}, "reservation": {"$exists": True}}, limit=1):
        raise kept(doc)


def kept(doc: Doc) -> AppReserved:
    return reserved_for(doc["app"], reservation_of(doc))


def reservation_of(doc: Doc) -> Reservation:
    return _reservation(doc["reservation"])


# -- a store that is older than what was seen of it


def _check(app: str, docs: Iterable[Doc], known: dict[int, int]) -> None:
    for doc in docs:
        if doc["epoch"] < known.get(doc["_id"], 0):
            raise failed_over(doc["_id"], app, doc["epoch"], known[doc["_id"]])


class MongoHeart:
    """Beats through a connection of its own, for a thread that has its own event loop."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._database: Database | None = None

    async def beat(self, app: str, member: Member, leases: Sequence[Lease]) -> Beat:
        if self._database is None:
            self._database = Database(self._address)
        return await beat(self._database, app, member, leases)

    async def close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            await database.close()
