"""What stories of stores are told with: an app whose shards are owned, and rows made in one word."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from perdure.codec import Payload
from perdure.stores.contract import (
    Append,
    Batch,
    Creation,
    Delivery,
    EngineStore,
    Halt,
    Head,
    Lease,
    Loaded,
    Mail,
    Outcome,
    Query,
    Reservation,
    Side,
    Status,
    Turn,
    Wait,
    shard_number,
)

APP = "shop"
OWNER = "first owner"
EVENT = b'{"type":"EventRaised","name":"approved"}'
KEPT = Reservation("m", Side.SOURCE, "memory:there", 5)
ODD_IDS = ("ä ö ü 日本 🚀", 'it\'s "quoted"; drop table head; --', "%_*?[x]\\", " ", "\t\n", "x" * 10_240)


def a_head(id: str, **changes: Any) -> Head:
    """A head of a run that was just created, with changes."""
    head = Head(id, APP, "checkout", Status.RUNNING, "e1", 1, 0, created=1_000, updated=1_000)
    return replace(head, **changes)


def a_call(number: int, **changes: Any) -> Wait:
    return replace(Wait(number, "activity", "charge", 5, attempt=1), **changes)


def a_mail(id: str, key: str, **changes: Any) -> Mail:
    return replace(Mail(id, key, EVENT, at=1_000), **changes)


def a_creation(id: str, **changes: Any) -> Creation:
    """A creation of a pending instance; `execution`, `app`, `parent` and such change its head."""
    of_head = {name: changes.pop(name) for name in list(changes) if name in Head.__struct_fields__}
    head = a_head(id, **{"status": Status.PENDING, **of_head})
    return Creation(head, a_mail(id, f"start {head.execution}"), **changes)


class Scene:
    """An open store with one app whose shard is owned, and the steps that tests are told in."""

    def __init__(
        self,
        store: EngineStore,
        shards: list[int],
        leases: list[Lease],
        arrived: Callable[[EngineStore], Awaitable[None]] | None = None,
    ) -> None:
        self.store = store
        self._arrived = arrived
        self._shards = shards
        self._leases = {lease.shard: lease for lease in leases}

    @classmethod
    async def of(
        cls,
        store: EngineStore,
        owner: str = OWNER,
        at: int | None = None,
        arrived: Callable[[EngineStore], Awaitable[None]] | None = None,
    ) -> Scene:
        await store.open()
        return cls(store, await store.shards(APP), await store.acquire(APP, owner, at), arrived)

    def shard(self, id: str = "") -> int:
        return self._shards[shard_number(id, len(self._shards))]

    def neighbours(self, count: int) -> list[str]:
        """Ids of one shard."""
        return [id for n in range(2_000) if self.shard(id := f"i{n}") == self.shard()][:count]

    def lease(self, id: str = "") -> Lease:
        return self._leases[self.shard(id)]

    def turn(self, id: str, expected: int | None, **effects: Any) -> Turn:
        plain = {"execution": "e1", "generation": 1, "at": 2_000}
        return Turn(shard=self.shard(id), id=id, expected=expected, **{**plain, **effects})

    async def commit(self, *turns: Turn, commit_id: str = "commit") -> list[Outcome]:
        """Turns of one shard. What they send to others has arrived."""
        outcomes = await self.store.commit([Batch(self.lease(turns[0].id), turns)], commit_id)
        if self._arrived is not None:
            await self._arrived(self.store)
        return outcomes

    def append(self, id: str, after: int, *values: int, **changes: Any) -> Append:
        """What attempt 1 of call 1 yields."""
        payloads = [Payload("json", None, Raw(b"%d" % value)) for value in values]
        return replace(Append(self.shard(id), id, "e1", 1, 1, 1, after, 2_000, payloads), **changes)

    async def appended(self, *appends: Append, turns: tuple[Turn, ...] = ()) -> list[Outcome]:
        return await self.store.commit([Batch(self.lease(appends[0].id), turns, appends)], "append")

    async def yielded(self, id: str, after: int = 0, limit: int = 1000, **place: int) -> list[tuple[int, bytes, int]]:
        """Offset, data and attempt of the items of a stream, call 1 of generation 1 if nothing else is said."""
        where = {"generation": 1, "number": 1, **place}
        items = await self.store.items(self.shard(id), id, after=after, limit=limit, **where)
        return [(item.offset, bytes(item.value.data), item.attempt) for item in items]

    async def committed(self, *turns: Turn) -> None:
        outcomes = await self.commit(*turns)
        assert outcomes == [Outcome.COMMITTED] * len(turns), outcomes

    async def start(self, id: str, head: Head | None = None, **effects: Any) -> None:
        """The first turn of a run that nobody created before; it leaves the head at sequence 1."""
        head = replace(head or a_head(id), sequence=1)
        await self.committed(self.turn(id, None, execution=head.execution, head=head, **effects))

    async def finish(self, id: str, expected: int = 1, **effects: Any) -> None:
        ended = replace(await self.head(id), status=Status.COMPLETED, finished=3_000, sequence=expected + 1)
        await self.committed(self.turn(id, expected, execution=ended.execution, head=ended, **effects))

    async def head(self, id: str) -> Head:
        head = await self.store.head(self.shard(id), id)
        assert head is not None, f"{id!r} has no head"
        return head

    async def load(self, id: str) -> Loaded:
        (loaded,) = await self.store.load(self.shard(id), [id])
        return loaded

    async def keys(self, id: str) -> list[str]:
        """The keys of the instance's mail, in order of arrival."""
        return [mail.key for mail in (await self.load(id)).mail]

    async def deliver(self, id: str, *keys: str, **changes: Any) -> list[Delivery]:
        return await self.store.deliver(self.shard(id), [a_mail(id, key, **changes) for key in keys])

    async def release(self) -> None:
        await self.store.release(list(self._leases.values()))

    async def create(self, creation: Creation) -> None:
        await self.store.create(self.shard(creation.head.id), creation)

    async def suspects(self) -> dict[str, int]:
        """Deaths by suspect, of all shards."""
        return {one.instance: one.deaths for shard in self._shards for one in await self.store.suspects(shard)}

    async def accused(self) -> list[str]:
        """Who was accused at the death, in order."""
        suspects = [one for shard in self._shards for one in await self.store.suspects(shard) if one.accused]
        return [one.instance for one in sorted(suspects, key=lambda one: one.accused)]

    async def accuse(self, id: str, place: int = 1) -> None:
        await self.store.accuse(self.lease(id), id, place)

    async def find(self, cursor: str | None = None, limit: int = 100, **conditions: Any) -> list[str]:
        page = await self.store.find(Query(**{"app": APP, **conditions}), cursor, limit)
        return [head.id for head in page.heads]

    async def rich(self, id: str) -> None:
        """A run with rows of every sort."""
        await self.start(
            id,
            a_head(id, tags={"k": "v"}, suspended=Halt("x", 1)),
            segment=b"[1]",
            opened=[Wait(1, "activity", "f", 5), Wait(2, "timer", "", 5, due=6)],
            seen=["seen"],
        )
        assert await self.deliver(id, "mail") == [Delivery.DELIVERED]
