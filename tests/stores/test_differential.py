"""A database and the store in plain dicts stay alike over a long random life, told from a seed."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from perdure.codec import Payload
from perdure.errors import PerdureError
from perdure.stores.contract import (
    ANSWERED,
    FINISHED,
    HELD,
    Append,
    Awaited,
    Batch,
    Creation,
    EngineStore,
    Halt,
    Head,
    Lease,
    Mail,
    Query,
    Report,
    Status,
    Turn,
    Wait,
)
from perdure.stores.memory import MemoryStore
from perdure.stores.sql.runner import InlineRunner
from perdure.stores.sql.sqlite import open_store

STEPS = 1_000
APP = "shop"
IDS = [f"i{number}" for number in range(12)] + ["ü'", 'q"']
KEYS = [f"k{number}" for number in range(60)]
STATUSES = [Status.RUNNING] * 6 + [Status.COMPLETED, Status.FAILED, Status.TERMINATED]


Lose = Callable[[EngineStore], Awaitable[None]]
"""Frees the shards as the death of their owner does."""


class Life:
    """What happens to both stores. Guesses are good often enough that most turns commit."""

    def __init__(self, seed: int, shard: int) -> None:
        self.random = random.Random(seed)
        self.shard = shard
        self.heads: dict[str, Head] = {}
        self.calls: list[tuple[str, Wait]] = []
        self.lengths: dict[tuple[str, int, int], int] = {}
        self.now = 1_000
        self.told = 0

    def step(self) -> tuple[str, Any]:
        """The name of what happens next, and its arguments."""
        self.now += self.random.randrange(3)
        self.told += 1
        name = self.random.choices(
            ["commit", "create", "deliver", "report", "purge", "take over", "die", "accuse", "acquit", "settle"],
            [70, 10, 16, 8, 5, 1, 2, 1, 1, 2],
        )[0]
        match name:
            case "commit":
                ids = self.random.sample(IDS, self.random.randint(1, 5))
                appends = {append.id: append for append in (self.append() for _ in range(self.random.randrange(4)))}
                return name, ([self.turn(id) for id in ids], list(appends.values()))
            case "create":
                return name, self.creation(self.random.choice(IDS))
            case "deliver":
                return name, [self.mail() for _ in range(self.random.randint(0, 5))]
            case "report":
                return name, [self.report() for _ in range(self.random.randint(1, 3))]
            case "purge" | "acquit":
                return name, self.random.choices(IDS, k=2)
            case "accuse":
                return name, (self.random.choice(IDS), self.random.randint(1, 9))
            case "take over" | "die":
                return name, self.now
            case _:
                return name, None

    async def look(self, store: EngineStore) -> None:
        """Learn what became of everything."""
        found = await store.load(self.shard, IDS)
        self.heads = {loaded.head.id: loaded.head for loaded in found}
        self.calls = [(loaded.head.id, wait) for loaded in found for wait in loaded.waits if wait.kind == "activity"]
        self.lengths = {
            (id, stream.generation, stream.number): stream.length
            for id in IDS
            for stream in await store.streams(self.shard, id)
        }

    def maybe(self, share: float) -> bool:
        return self.random.random() < share

    def some(self, values: list[Any], most: int) -> list[Any]:
        return self.random.sample(values, self.random.randint(0, min(most, len(values))))

    def head(self, id: str, **changes: Any) -> Head:
        head = Head(
            id,
            APP,
            self.random.choice(["buy", "Sell"]),
            Status.RUNNING,
            f"e{self.told}",
            1,
            1,
            self.now,
            self.now,
        )
        tags = {self.random.choice("kl"): self.random.choice("vw")} if self.maybe(0.5) else None
        return replace(head, tags=tags, parent=self.random.choice([None, *IDS]), **changes)

    def turn(self, id: str) -> Turn:
        known = self.heads.get(id)
        start = known is None or (known.status in FINISHED and self.maybe(0.6)) or self.maybe(0.05)
        if known is None or start:
            head = self.head(id)
            return Turn(self.shard, id, head.execution, 1, None, self.now, head, **self.effects())
        wrong = (
            self.random.choice([{"generation": 9}, {"execution": "other"}, {"expected": 77}]) if self.maybe(0.1) else {}
        )
        condition = {"execution": known.execution, "generation": known.generation, "expected": known.sequence}
        effects = self.effects()
        if self.maybe(0.3):
            effects |= self.next_head(known)
        return Turn(shard=self.shard, id=id, at=self.now, **{**condition, **wrong}, **effects)

    def append(self) -> Append:
        """Items of a call that is open, if there is one; now and then they cannot be taken."""
        id, call = self.random.choice(self.calls or [("nobody", self.wait(1))])
        head = self.heads.get(id) or self.head(id)
        after = self.lengths.get((id, head.generation, call.number), 0)
        values = [Payload("json", None, Raw(b"%d" % (self.told + n))) for n in range(self.random.randint(1, 3))]
        good = Append(
            self.shard, id, head.execution, head.generation, call.number, call.attempt, after, self.now, values
        )
        wrong = {"generation": 9}, {"execution": "other"}, {"attempt": 77}, {"after": 7}, {"number": 99}
        return replace(good, **self.random.choice(wrong)) if self.maybe(0.2) else good

    def report(self) -> Report:
        """The end of an attempt of a call that is open, if there is one; now and then it is late."""
        id, call = self.random.choice(self.calls or [("nobody", self.wait(1))])
        head = self.heads.get(id) or self.head(id)
        self.told += 1
        mail = Mail(id, f"r{self.told}", b"[]", self.now, head.execution, head.generation)
        attempt = self.random.choice([None, call.attempt, call.attempt, call.attempt + 1])
        if self.maybe(0.1):
            mail = replace(mail, generation=9)
        return Report(call.number, attempt, mail)

    def next_head(self, known: Head) -> dict[str, Any]:
        erase = self.maybe(0.15)
        status = self.random.choice(STATUSES)
        halt = Halt("x", self.now) if self.maybe(0.2) else None
        head = replace(
            known,
            status=status,
            sequence=known.sequence + 1,
            updated=self.now,
            finished=None if status == Status.RUNNING else self.now,
            generation=known.generation + erase,
            suspended=halt if self.maybe(0.5) else None,
            stalled=halt,
            custom_status=Payload("json", None, Raw(b'{"n":%d}' % self.now)) if self.maybe(0.5) else None,
            more={"n": self.now} if self.maybe(0.5) else {},
        )
        return {"head": head, "erase": erase}

    def effects(self) -> dict[str, Any]:
        numbers = self.random.sample(range(8), 8)
        closed, changed, opened = numbers[:4], numbers[4:6], numbers[: self.random.randint(0, 4)]
        return {
            "segment": b"[%d]" % self.told if self.maybe(0.9) else None,
            "closed": closed,
            "changed": [self.wait(number) for number in changed],
            "opened": [self.wait(number) for number in opened],
            "consumed": self.some(KEYS, 5),
            "seen": self.some(KEYS, 3),
            "mail": [self.mail() for _ in range(self.random.choice([0, 0, 1, 3]))],
            "created": [self.creation(self.random.choice(IDS)) for _ in range(self.random.choice([0, 0, 0, 1, 2]))],
        }

    def wait(self, number: int) -> Wait:
        due = self.now + self.random.randrange(50) if self.maybe(0.5) else None
        kind = self.random.choice(["activity", "timer", "start"])
        state = self.random.choice([HELD, HELD, ANSWERED])
        return Wait(number, kind, "f", self.now, due, attempt=self.told, state=state)

    def mail(self, id: str | None = None) -> Mail:
        return Mail(
            id or self.random.choice([*IDS, "nobody"]),
            self.random.choice(KEYS),
            b"[%d]" % self.told,
            self.now,
        )

    def creation(self, id: str) -> Creation:
        head = self.head(id, status=Status.PENDING, sequence=0)
        call = self.random.choice([None, "p/1/1", "p/1/2"])
        refusal = self.mail() if self.maybe(0.7) else None
        waits = (self.wait(1),) if self.maybe(0.3) else ()
        return Creation(head, self.mail(id), waits, call, refusal, self.maybe(0.3))


async def happen(store: EngineStore, lease: Lease, name: str, about: Any, lose: Lose) -> tuple[Any, Lease]:
    """Do it; what the store says, and the lease from now on."""
    try:
        match name:
            case "commit":
                turns, appends = about
                return await store.commit([Batch(lease, turns, appends)], str(turns[0].at)), lease
            case "create":
                return await store.create(lease.shard, about), lease
            case "deliver":
                return await store.deliver(lease.shard, about), lease
            case "report":
                return await store.report(lease.shard, about), lease
            case "purge":
                return await store.purge(lease.shard, about), lease
            case "take over":
                await store.release([lease])
                (heir,) = await store.acquire(APP, lease.owner + "'", about)
                return replace(heir, until=None), heir
            case "die":
                await (lose_memory if isinstance(store, MemoryStore) else lose)(store)
                (heir,) = await store.acquire(APP, lease.owner + "'", about)
                return replace(heir, until=None), heir
            case "accuse":
                return await store.accuse(lease, *about), lease
            case "acquit":
                return await store.acquit(lease, about), lease
            case _:
                return await store.settle_unknown(lease, str(about)), lease
    except PerdureError as error:
        return (type(error), str(error)), lease


async def lose_memory(store: EngineStore) -> None:
    assert isinstance(store, MemoryStore)
    store.expire(APP)


async def lose_process(store: EngineStore) -> None:
    await store.close()
    await store.open()


async def snapshot(store: EngineStore, lease: Lease) -> dict[str, Any]:
    """All that can be read."""
    everything = Query(app=APP, kind="workflow")
    queries = [everything, Query(tags={"k": "v"}), Query(text="sELL"), Query(status=("running", "failed"))]
    queries += [Query(stalled=True), Query(suspended=False), Query(parent="i1"), Query(finished_after=1_200)]
    return {
        "loaded": await store.load(lease.shard, IDS),
        "streams": [await store.streams(lease.shard, id) for id in IDS],
        "items": [
            await store.items(lease.shard, id, stream.generation, stream.number)
            for id in IDS
            for stream in await store.streams(lease.shard, id)
        ],
        "found": [await found_by(store, query, limit) for query in queries for limit in (3, 100)],
        "due": [replace(due, shard=0) for limit in (3, 1_000) for due in await store.due([lease], 10**9, limit)],
        "recover": [replace(call, shard=0) for after in ("", "i2") for call in await store.recover(lease, after, 3)],
        "mail": [[letter.mail for letter in await store.mail([lease], limit)] for limit in (3, 1_000)],
        "ends": await store.ends([Awaited(lease.shard, id, run) for id in IDS for run in (None, "other")]),
        "stranded": [await store.stranded(lease, after, 3) for after in ("", "i2")],
        "apps": await store.apps(),
        "suspects": await store.suspects(lease.shard),
    }


async def found_by(store: EngineStore, query: Query, limit: int) -> tuple[list[Head], bool]:
    """The first page, and whether there are more."""
    page = await store.find(query, None, limit)
    return page.heads, page.cursor is not None


def at(about: Any, shard: int) -> Any:
    """The same, where the shard has this id: each store gives its own, and its own times to leases."""
    match about:
        case Lease():
            return replace(about, shard=shard, until=None)
        case Turn() | Append():
            return replace(about, shard=shard)
        case list() | tuple():
            return type(about)(at(one, shard) for one in about)
        case _:
            return about


async def live_alike(other: EngineStore, seed: int, lose: Lose, steps: int = STEPS, every: int = 10) -> None:
    """Let everything happen to the oracle and to the other store, compare what they say, and all that can be read after
    `every` so many steps; then close them."""
    outcomes: dict[str, int] = {}

    async def play() -> None:
        stores: list[EngineStore] = [MemoryStore(), other]
        leases = []
        for store in stores:
            await store.open()
            leases += await store.acquire(APP, "owner")
        shards = [lease.shard for lease in leases]
        life = Life(seed, shards[0])
        for number in range(steps):
            name, about = life.step()
            said = []
            for place, store in enumerate(stores):
                answer, leases[place] = await happen(store, leases[place], name, at(about, shards[place]), lose)
                said.append(at(answer, shards[0]))
            assert said[0] == said[1], (seed, number, name, about)
            for place, outcome in enumerate(said[0] if isinstance(said[0], list) else [type(said[0]).__name__]):
                if name == "commit" and place >= len(about[0]):
                    outcome = f"append {outcome}"
                outcomes[f"{name} {outcome}"] = outcomes.get(f"{name} {outcome}", 0) + 1
            await life.look(stores[0])
            if number % every == 0 or number == steps - 1:
                oracle, found = [await snapshot(store, lease) for store, lease in zip(stores, leases, strict=True)]
                assert oracle == found, (seed, number)
        for store in stores:
            await store.close()

    await play()
    for often, outcome in (
        (300, "commit committed"),
        (50, "commit conflict"),
        (20, "commit exists"),
        (100, "commit append committed"),
        (100, "commit append conflict"),
        (20, "deliver delivered"),
        (5, "deliver duplicate"),
        (5, "deliver finished"),
        (5, "deliver no-instance"),
        (20, "report committed"),
        (20, "report conflict"),
        (5, "create NoneType"),
        (5, "create tuple"),
        (1, "take over Lease"),
        (5, "die Lease"),
        (3, "accuse NoneType"),
        (3, "acquit NoneType"),
    ):
        assert outcomes.get(outcome, 0) >= often * steps // STEPS, (outcome, outcomes)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2, 3))])
def test_both_stores_live_the_same_life(tmp_path: Path, seed: int) -> None:
    asyncio.run(live_alike(open_store(f"sqlite:///{tmp_path}/store.db", InlineRunner), seed, lose_process))
