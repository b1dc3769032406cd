"""The store contract over a server of Redis or Valkey: which script answers which call, with which arguments."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from perdure.errors import AppReserved, ForkedEngine, NotOpen
from perdure.gathering import Gathering
from perdure.stores.apps import Apps
from perdure.stores.contract import (
    Awaited,
    Backlog,
    Batch,
    Beat,
    Census,
    Checkup,
    Creation,
    Delivery,
    Due,
    End,
    Head,
    Heart,
    Holder,
    Item,
    Lease,
    Letter,
    Loaded,
    Mail,
    Member,
    Notice,
    OpenCall,
    Outcome,
    Page,
    Permit,
    Place,
    Posted,
    Query,
    Report,
    Reservation,
    Segment,
    ShardState,
    Stream,
    Suspect,
    Touch,
    Wait,
    Whole,
)
from perdure.stores.reach import apps_of
from perdure.stores.redis import census, moving, notices, ownership, search, wake
from perdure.stores.redis.address import Address, read_address
from perdure.stores.redis.batches import COMMIT_BYTES_MAX, ROW_BYTES_MAX, outcomes_of, written
from perdure.stores.redis.hints import Hints
from perdure.stores.redis.inspection import check_layout, checkup, inspect, size
from perdure.stores.redis.keys import (
    DIRECTORY,
    app_channel,
    app_keys,
    digits,
    number_of,
    shard_channel,
    shard_keys,
)
from perdure.stores.redis.outbox import Outbox
from perdure.stores.redis.ownership import RedisHeart
from perdure.stores.redis.records import (
    creation_fields,
    end_of,
    generation_of,
    head_of,
    item_of,
    mail_fields,
    mails_of,
    segment_of,
    stream_of,
    wait_fields,
    waits_of,
)
from perdure.stores.redis.server import Ask, Server
from perdure.stores.rules import failed_over, lost, taken

IDS_PER_CALL = 50
"""Instances that one call loads; the server does nothing else meanwhile."""
HEADS_PER_CALL = 1_000


def open_store(url: str, *, read_only: bool = False) -> RedisStore:
    """The store at the address, not yet opened. Raises InvalidArgument or UnknownConfiguration if it is none."""
    return RedisStore(read_address(url), read_only=read_only)


class RedisStore:
    """An `EngineStore` on one server, or on the nodes of a cluster.

    What commits send to other shards, they write into an outbox that this object empties in the background, also
    those of shards that it takes over.
    """

    spans_shards = False

    def __init__(
        self,
        address: Address,
        *,
        read_only: bool = False,
        row_bytes_max: int = ROW_BYTES_MAX,
        server: Callable[[Address, bool], Server] = Server,
    ) -> None:
        self.address = address
        self.lease_seconds = address.lease_seconds
        self._read_only = read_only
        self._row_bytes_max = row_bytes_max
        self._new_server = server
        self._server: Server | None = None
        self._outbox: Outbox | None = None
        self._hints = Hints(lambda: Server(address).connection())
        self._apps = Apps(address, address.shards, self._look_up, self._listen)
        self._leases: dict[int, Lease] = {}
        self._epochs: dict[int, int] = {}
        self._series: dict[int, int] = {}
        self._unsent: dict[int, bytes] = {}
        self._roll: tuple[int, list[Place]] | None = None
        self._process = os.getpid()
        self._creations: Gathering[tuple[int, Creation], Holder | Exception | None] = Gathering(self._create)

    def __repr__(self) -> str:
        state = "closed" if self._server is None else f"holds {len(self._leases)} shards"
        return f"<RedisStore {self.address}, {state}>"

    # Store

    async def open(self) -> None:
        if self._server is not None:
            return
        self._process = os.getpid()
        server = self._new_server(self.address, self._read_only)
        try:
            await inspect(server)
            await check_layout(server, read_only=self._read_only)
        except BaseException:
            await server.close()
            raise
        self._server = server
        self._outbox = Outbox(server, self._channel, self._hints.tell)

    async def close(self) -> None:
        if os.getpid() != self._process:
            # because what a forked child inherited is its parent's to close
            return
        server, self._server = self._server, None
        outbox, self._outbox = self._outbox, None
        if outbox is not None:
            await outbox.close()
        await self._hints.close()
        if server is not None:
            await server.close()
        self._leases.clear()
        self._unsent.clear()

    async def emptied(self) -> None:
        """Return when all that this process has sent to other shards has arrived."""
        self._opened()
        if self._outbox is not None:
            await self._outbox.emptied()

    async def shards(self, app: str) -> list[int]:
        return await self._apps.shards(app)

    async def _shards_there(self, app: str) -> list[int]:
        """Those of an app, none if it has none yet."""
        return await self._apps.shards(app, make=False)

    async def _look_up(self, app: str, shards: int, make: bool) -> tuple[int, int]:
        return await ownership.look_up(self._opened(), app, shards, make=make and not self._read_only)

    async def apps(self) -> list[str]:
        return sorted(app.decode() for app in await self._opened().one("apps", DIRECTORY))

    async def create(self, shard: int, creation: Creation) -> Holder | None:
        self._opened()
        if creation.refusal is not None:
            await self._apps.learn([creation.refusal.app or creation.head.app])
        made = await self._creations.add((shard, creation))
        if isinstance(made, Exception):
            raise made
        return made

    async def _create(self, asked: Sequence[tuple[int, Creation]]) -> Sequence[Holder | Exception | None]:
        by_shard: dict[int, list[int]] = {}
        for place, (shard, _) in enumerate(asked):
            by_shard.setdefault(shard, []).append(place)
        asks: list[Ask] = []
        for shard, places in by_shard.items():
            given = [[self._creation(asked[place][1]), digits(asked[place][1].mail.at)] for place in places]
            asks.append((shard_keys(shard), [self._channel(shard), *given]))
        made: list[Holder | Exception | None] = [None] * len(asked)
        try:
            created = await self._opened().run("create", asks)
        except AppReserved as error:  # because others may be of an app that is not
            return [error] if len(asked) == 1 else [made for one in asked for made in await self._create([one])]
        for places, answers in zip(by_shard.values(), created, strict=True):
            for place, answer in zip(places, answers, strict=True):
                made[place] = _made(asked[place][1], answer)
        self._hints.tell()
        return made

    def _creation(self, creation: Creation) -> list[Any]:
        return creation_fields(creation, self._apps.home, creation.head.app)

    async def renew(self, shard: int, holder: Holder, mail: Mail, wait: Wait, at: int) -> bool:
        condition = [holder.id, holder.execution, str(holder.sequence), digits(at)]
        renewed = await self._opened().one(
            "renew", shard_keys(shard), *condition, self._channel(shard), mail_fields(mail), *wait_fields(wait)
        )
        self._hints.tell()
        return bool(renewed)

    async def load(self, shard: int, ids: Sequence[str]) -> list[Loaded]:
        wanted = list(dict.fromkeys(ids))
        loaded: list[Loaded] = []
        for begin in range(0, len(wanted), IDS_PER_CALL):
            some = wanted[begin : begin + IDS_PER_CALL]
            answers = await self._opened().one("load", shard_keys(shard), *some)
            loaded += [_loaded(id, *parts) for id, parts in zip(some, answers, strict=True) if parts]
        return loaded

    async def head(self, shard: int, id: str) -> Head | None:
        return (await self._heads([(shard, id)])).get((shard, id))

    async def heads(self, places: Sequence[tuple[int, str]]) -> list[Head]:
        found = await self._heads(places)
        return [found[place] for place in dict.fromkeys(places) if place in found]

    async def _heads(self, places: Sequence[tuple[int, str]]) -> dict[tuple[int, str], Head]:
        found: dict[tuple[int, str], Head] = {}
        for begin in range(0, len(places), HEADS_PER_CALL):
            by_shard: dict[int, list[str]] = {}
            for shard, id in places[begin : begin + HEADS_PER_CALL]:
                by_shard.setdefault(shard, []).append(id)
            asks: list[Ask] = [(shard_keys(shard), list(ids)) for shard, ids in by_shard.items()]
            for (shard, ids), answers in zip(by_shard.items(), await self._opened().run("heads", asks), strict=True):
                found |= {(shard, id): head_of(*parts) for id, *parts in zip(ids, *answers, strict=True) if parts[0]}
        return found

    async def ends(self, awaited: Sequence[Awaited]) -> list[End | None]:
        ends: list[End | None] = []
        for begin in range(0, len(awaited), HEADS_PER_CALL):
            ends += await self._ends(awaited[begin : begin + HEADS_PER_CALL])
        return ends

    async def _ends(self, awaited: Sequence[Awaited]) -> list[End | None]:
        by_shard: dict[int, list[int]] = {}
        for place, run in enumerate(awaited):
            by_shard.setdefault(run.shard, []).append(place)
        asks: list[Ask] = []
        for shard, places in by_shard.items():
            runs = [awaited[place] for place in places]
            asks.append((shard_keys(shard), [part for run in runs for part in (run.id, run.execution or "")]))
        ends: list[End | None] = [None] * len(awaited)
        for places, answers in zip(by_shard.values(), await self._opened().run("ends", asks), strict=True):
            for place, answer in zip(places, answers, strict=True):
                ends[place] = end_of(*answer) if answer else None
        return ends

    async def history(self, shard: int, id: str, after: int = 0, limit: int = 1000) -> list[Segment]:
        found = await self._opened().one("history", shard_keys(shard), id, after, limit)
        return [segment_of(record) for record in found]

    async def last_segment(self, shard: int, id: str) -> Segment | None:
        found = await self._opened().one("history", shard_keys(shard), id, -1, 1)
        return segment_of(found[0]) if found else None

    async def waits(self, shard: int, id: str) -> list[Wait]:
        return waits_of(await self._opened().one("look", shard_keys(shard), id, "waits"))

    async def published(self, shard: int, id: str, names: Sequence[str]) -> dict[str, bytes]:
        found = await self._opened().one("look", shard_keys(shard), id, "published", list(names))
        return {name: value for name, value in zip(names, found, strict=True) if value is not None}

    async def streams(self, shard: int, id: str) -> list[Stream]:
        packed, found, numbers = await self._opened().one("look", shard_keys(shard), id, "streams")
        if packed is None:
            return []
        generation, waiting = generation_of(packed), set(map(number_of, numbers))
        streams = [stream_of(generation, waiting, *parts) for parts in found]
        return sorted(streams, key=lambda stream: (stream.generation, stream.number))

    async def items(
        self, shard: int, id: str, generation: int, number: int, after: int = 0, limit: int = 1000
    ) -> list[Item]:
        _, found = await self._items(shard, id, f"{generation}:{number}", after, after + limit - 1)
        return [item_of(offset, record) for offset, record in enumerate(found, after + 1)]

    async def last_item(self, shard: int, id: str, generation: int, number: int) -> Item | None:
        length, found = await self._items(shard, id, f"{generation}:{number}", -1, -1)
        return item_of(length, found[0]) if found else None

    async def _items(self, shard: int, id: str, stream: str, first: int, last: int) -> tuple[int, list[bytes]]:
        length, found = await self._opened().one("look", shard_keys(shard), id, "items", stream, first, last)
        return length, found

    async def queued(self, shard: int, after: str = "", limit: int = 1000) -> list[OpenCall]:
        return await wake.calls(self._opened(), shard, "queue", after, limit, awake=False)

    async def permits(self, shard: int, after: int) -> list[Permit]:
        found = await self._opened().one("permits", shard_keys(shard), digits(after))
        permits = [
            Permit(queue.decode(), number_of(member[16:32]), number_of(member[:16]))
            for queue, members in found
            for member in members
        ]
        return sorted(permits, key=lambda permit: (permit.queue, permit.at))

    async def find(self, query: Query, cursor: str | None = None, limit: int = 100) -> Page:
        apps = await self.apps() if query.app is None else [query.app]
        shards = [shard for app in apps for shard in await self._shards_there(app)]
        return await search.find(self._opened(), shards, query, cursor, limit, self._heads)

    async def commit(self, batches: Sequence[Batch], token: str) -> list[Outcome]:
        server, outbox = self._opened(), self._outbox
        await self._apps.learn(apps_of(batches))
        asked = [
            written(batch, token, self._series.get(batch.lease.shard, 0), self._apps.home, self._row_bytes_max)
            for batch in batches
        ]
        size = sum(one.size for one in asked)
        if size > COMMIT_BYTES_MAX:
            raise OverflowError(f"{size:,} bytes are too many for one commit; write the turns one by one")
        answers = await server.run("commit", [(shard_keys(one.batch.lease.shard), one.arguments) for one in asked])
        for one, answer in zip(asked, answers, strict=True):
            lease = one.batch.lease
            if answer[0] == b"back" and int(answer[1]) < lease.epoch:
                raise failed_over(lease.shard, lease.app, int(answer[1]), lease.epoch)
        outcomes: list[Outcome] = []
        for one, answer in zip(asked, answers, strict=True):
            lease = one.batch.lease
            found, letters, more = outcomes_of(one, answer)
            outcomes += found
            if outbox is not None:
                outbox.add(lease.shard, letters, more=more)
        return outcomes

    async def settle_unknown(self, lease: Lease, token: str) -> bool:
        settled = await self._opened().one("settle", shard_keys(lease.shard), lease.epoch, token)
        if not settled:
            raise lost(lease)
        happened, self._series[lease.shard] = settled
        return bool(happened)

    async def deliver(self, shard: int, mail: Sequence[Mail]) -> list[Delivery]:
        given = [mail_fields(message) for message in mail]
        answers = await self._opened().one("deliver", shard_keys(shard), self._channel(shard), *given)
        self._hints.tell()
        return [Delivery(answer.decode()) for answer in answers]

    async def report(self, shard: int, reports: Sequence[Report]) -> list[Outcome]:
        given = [
            [
                digits(told.number),
                False if told.attempt is None else str(told.attempt),
                told.token or False,
                told.mail.execution or "",
                str(told.mail.generation),
                mail_fields(told.mail),
            ]
            for told in reports
        ]
        answers = await self._opened().one("report", shard_keys(shard), self._channel(shard), *given)
        self._hints.tell()
        return [Outcome(answer.decode()) for answer in answers]

    async def purge(self, shard: int, ids: Sequence[str]) -> list[str]:
        asked = list(dict.fromkeys(ids))
        answers = await self._opened().one("purge", shard_keys(shard), *asked)
        return [id for id, is_gone in zip(asked, answers, strict=True) if is_gone]

    # Notices

    async def notices(self, shard: int, after: int, limit: int, *, pending: bool = False) -> list[Posted]:
        return await notices.page(self._opened(), shard, "pending" if pending else "all", after, limit)

    async def newest_notice(self, shard: int) -> int:
        return await notices.done(self._opened(), shard, "newest")

    async def purge_told(self, shard: int, gone: Sequence[Notice]) -> list[str]:
        return await notices.purge(self._opened(), shard, gone)

    async def told(self, shard: int, numbers: Sequence[int]) -> None:
        await notices.done(self._opened(), shard, "told", *numbers)

    async def give_up(self, shard: int, number: int, failure: str) -> None:
        await notices.done(self._opened(), shard, "give_up", number, failure)

    async def given_up(self, shard: int, limit: int) -> list[Posted]:
        return await notices.page(self._opened(), shard, "given_up", 0, limit)

    async def tell_again(self, shard: int) -> int:
        return await notices.done(self._opened(), shard, "tell_again")

    async def trim(self, shard: int, keep: int) -> None:
        await notices.done(self._opened(), shard, "trim", keep)

    # Ledger

    async def audit(self, app: str, after: int, entries: Sequence[bytes], digest: str) -> bool:
        keys = app_keys(await self._apps.number(app))
        texts = [entry.decode() for entry in entries]
        return bool(await self._opened().one("audit", keys, "add", after, digest, *texts))

    async def audit_head(self, app: str) -> tuple[int, str]:
        number, digest = await self._opened().one("audit", app_keys(await self._apps.number(app)), "head")
        return int(number), digest.decode()

    async def audited(self, app: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        keys = app_keys(await self._apps.number(app))
        found = await self._opened().one("audit", keys, "page", after, limit)
        return list(enumerate(found, after + 1))

    # Leases

    async def acquire(self, app: str, owner: str, at: int | None = None, limit: int | None = None) -> list[Lease]:
        shards = await self.shards(app)
        moment = None if at is None else digits(at)
        held_now = await ownership.acquire(self._opened(), app, shards, owner, moment, limit, self._epochs)
        leases = [lease for lease, _ in held_now]
        self._series |= {lease.shard: series for lease, series in held_now}
        self._epochs |= {lease.shard: lease.epoch for lease in leases}
        held = {lease.shard: lease for lease in leases}
        new = [shard for shard in held if shard not in self._leases]
        self._leases = {shard: lease for shard, lease in self._leases.items() if lease.app != app} | held
        if self._outbox is not None:
            self._outbox.read(new)
        self._listen()
        return leases

    async def release(self, leases: Sequence[Lease]) -> None:
        self._let_go(leases)
        await ownership.release(self._opened(), leases)

    async def beat(self, app: str, member: Member, leases: Sequence[Lease]) -> Beat:
        beat = await ownership.beat(self._opened(), app, await self._apps.number(app), member, leases)
        held = {lease.shard for lease in beat.held}
        self._let_go([lease for lease in leases if lease.shard not in held])
        return beat

    def _let_go(self, leases: Iterable[Lease]) -> None:
        for lease in leases:
            self._leases.pop(lease.shard, None)
        self._listen()

    def heart(self) -> Heart:
        return RedisHeart(self.address)

    async def tell(self, app: str, owner: str, about: bytes) -> None:
        await ownership.tell(self._opened(), await self._apps.number(app), owner, about)

    async def leave(self, app: str, owner: str) -> None:
        await ownership.leave(self._opened(), await self._apps.number(app), owner)

    async def members(self, app: str) -> list[Member]:
        return await ownership.members(self._opened(), await self._apps.number(app))

    async def suspects(self, shard: int) -> list[Suspect]:
        return await ownership.suspects(self._opened(), shard)

    async def accuse(self, lease: Lease, instance: str, place: int) -> None:
        await ownership.accuse(self._opened(), lease, instance, place)

    async def acquit(self, lease: Lease, instances: Sequence[str]) -> None:
        await ownership.acquit(self._opened(), lease, instances)

    async def holder(self, app: str) -> str | None:
        first = (await self._shards_there(app))[:1]
        states = await census.shard_states(self._opened(), first)
        return states[0].owner if states else None

    # Wake

    async def recover(self, lease: Lease, after: str = "", limit: int = 500) -> list[OpenCall]:
        return await wake.calls(self._opened(), lease.shard, "calls", after, limit, awake=True)

    async def mail(self, leases: Sequence[Lease], limit: int = 1000, after: tuple[int, str] = (0, "")) -> list[Letter]:
        found, unsent = await wake.mail(self._opened(), [lease.shard for lease in leases], limit, after)
        stuck = [shard for shard, first in unsent.items() if self._unsent.get(shard) == first]
        self._unsent = unsent
        if stuck and self._outbox is not None:
            self._outbox.read(stuck)  # because whoever sent it is gone, or would have sent it by now
        return found

    async def due(
        self, leases: Sequence[Lease], until: int, limit: int = 1000, after: tuple[int, int, str, int] = (-1, 0, "", 0)
    ) -> list[Due]:
        return await wake.due(self._opened(), [lease.shard for lease in leases], until, limit, after)

    async def stranded(self, lease: Lease, after: str = "", limit: int = 500) -> list[str]:
        return await wake.stranded(self._opened(), lease, after, limit)

    async def claim(
        self, app: str, owner: str, token: str, names: Sequence[str], limit: int, seconds: float
    ) -> list[OpenCall]:
        return await wake.claim(self._opened(), await self.shards(app), owner, token, names, limit, seconds)

    async def touch(self, touches: Sequence[Touch], seconds: float) -> list[bool]:
        return await wake.touch(self._opened(), touches, seconds)

    async def backlog(self, app: str, until: int = 0) -> Backlog:
        return await wake.backlog(self._opened(), await self.shards(app), until)

    # Movable

    async def reserve(self, app: str, reservation: Reservation) -> None:
        shards = await self.shards(app)
        members = [member.owner for member in await self.members(app)]
        await moving.reserve(self._opened(), app, shards, members, reservation)

    async def reserved(self, app: str) -> Reservation | None:
        return await moving.reserved(self._opened(), await self._shards_there(app))

    async def free(self, app: str, by: str) -> None:
        await moving.free(self._opened(), app, await self._shards_there(app), by)

    async def roll(self, app: str, after: tuple[int, str] = (0, ""), limit: int = 1000) -> list[tuple[int, Place]]:
        found: list[tuple[int, Place]] = []
        for shard in await self._shards_there(app):
            if shard < after[0] or len(found) >= limit:
                continue
            if self._roll is None or self._roll[0] != shard or shard > after[0]:
                # because it is read as a whole: there is no index by id
                self._roll = shard, await moving.roll(self._opened(), shard)
            found += [(shard, place) for place in self._roll[1] if (shard, place.id) > after]
        return found[:limit]

    async def export(self, shard: int, ids: Sequence[str]) -> list[Whole]:
        return await moving.export(self._opened(), shard, ids)

    async def take_in(self, app: str, by: str, wholes: Sequence[Whole]) -> list[str]:
        shards = await self.shards(app)
        placed = [(self._apps.home(app, whole.head.id), whole) for whole in wholes]
        return await moving.take_in(self._opened(), app, shards, by, placed)

    async def recount(self, app: str, by: str, shard: int, permits: Sequence[Permit]) -> None:
        await moving.recount(self._opened(), app, await self.shards(app), by, shard, permits)

    async def discard(self, app: str, by: str, places: Sequence[Place]) -> None:
        shards = await self.shards(app)
        placed = [(self._apps.home(app, place.id), place) for place in places]
        await moving.discard(self._opened(), app, shards, by, placed)

    # Inspected

    async def check(self) -> Checkup:
        server = self._new_server(self.address, True)
        try:
            return await checkup(server)
        finally:
            await server.close()

    async def census(self, app: str) -> Census:
        return await census.census(self._opened(), await self._shards_there(app))

    async def counts(self, app: str) -> dict[str, int]:
        return await census.counts(self._opened(), await self._shards_there(app))

    async def shard_states(self, app: str) -> list[ShardState]:
        return await census.shard_states(self._opened(), await self._shards_there(app))

    async def size(self) -> int | None:
        return await size(self._opened())

    async def watch(self) -> AsyncIterator[None]:
        async for _ in self._hints.watch():
            yield

    # -- what the above is made of ----------------------------------------------------------------------------------

    def _opened(self) -> Server:
        if os.getpid() != self._process:
            raise ForkedEngine("the store was opened before fork(); open one in the child")
        if self._server is None:
            raise NotOpen(f"{self.address} is closed; open the store first")
        return self._server

    def _channel(self, shard: int) -> str:
        """Where the shard's owner hears of mail; none if this process is it, and hears without."""
        return "" if shard in self._leases else shard_channel(shard)

    def _listen(self) -> None:
        channels = {shard_channel(shard) for shard in self._leases}
        self._hints.want(channels | set(map(app_channel, self._apps.numbers())))


def _made(creation: Creation, answer: Any) -> Holder | Exception | None:
    if answer == b"taken":
        return taken(creation.head.id)
    if not answer:
        return None
    id, packed, facts = answer
    head = head_of(packed, facts)
    return Holder(id.decode(), head.execution, head.sequence, head.created)


def _loaded(
    id: str, head: bytes, facts: bytes, segments: list[bytes], mail: list[bytes], waits: list[bytes], seen: list[bytes]
) -> Loaded:
    return Loaded(
        head_of(head, facts),
        [segment_of(record) for record in segments],
        mails_of(id, mail),
        waits_of(waits),
        [key.decode() for key in seen],
    )
