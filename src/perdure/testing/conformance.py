"""The one suite that says whether a store keeps the contract, for the stores here and for those of others.

Derive a class from `StoreConformance` whose name begins with `Test`, say how a store is made, and run pytest:

    class TestMyStore(StoreConformance):
        async def make(self, directory): return MyStore(directory / "store")
        async def succeed(self, store): ...
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from perdure.codec import Payload
from perdure.errors import Fenced, InstanceExists, InvalidArgument, PerdureError, StoreRolledBack
from perdure.stores.contract import (
    ADMITTED,
    ANSWERED,
    ANSWERS_MAX,
    MAILBOX_MESSAGES_MAX,
    QUEUED,
    SEEN_MAX,
    Append,
    Claim,
    Creation,
    Delivery,
    EngineStore,
    Halt,
    Head,
    Lease,
    Loaded,
    Mail,
    Outcome,
    Page,
    Permit,
    Published,
    Query,
    Segment,
    Status,
    Stream,
    Turn,
    Wait,
    WaitKind,
    shard_number,
)

APP = "shop"
OWNER = "first owner"
EVENT = b'{"type":"EventRaised","name":"approved"}'
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

    def __init__(self, store: EngineStore, shards: list[int], leases: list[Lease]) -> None:
        self.store = store
        self._shards = shards
        self._leases = {lease.shard: lease for lease in leases}

    @classmethod
    async def of(cls, store: EngineStore, owner: str = OWNER, at: int | None = None) -> Scene:
        await store.open()
        return cls(store, await store.shards(APP), await store.acquire(APP, owner, at))

    def shard(self, id: str = "") -> int:
        return self._shards[shard_number(id, len(self._shards))]

    def lease(self, id: str = "") -> Lease:
        return self._leases[self.shard(id)]

    def turn(self, id: str, expected: int | None, **effects: Any) -> Turn:
        plain = {"execution": "e1", "generation": 1, "at": 2_000}
        return Turn(shard=self.shard(id), id=id, expected=expected, **{**plain, **effects})

    async def commit(self, *turns: Turn, commit_id: str = "commit") -> list[Outcome]:
        return await self.store.commit(self.lease(turns[0].id), turns, commit_id)

    def append(self, id: str, after: int, *values: int, **changes: Any) -> Append:
        """What attempt 1 of call 1 yields."""
        payloads = [Payload("json", None, Raw(b"%d" % value)) for value in values]
        return replace(Append(self.shard(id), id, "e1", 1, 1, 1, after, 2_000, payloads), **changes)

    async def appended(self, *appends: Append, turns: tuple[Turn, ...] = ()) -> list[Outcome]:
        return await self.store.commit(self.lease(appends[0].id), turns, "append", appends)

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


Scenario = Callable[[Any, Scene], Awaitable[None]]


def scenario(test: Scenario) -> Callable[[Any, Path], None]:
    """A test that is a plain function, of a coroutine that is told its scene."""

    def run(self: StoreConformance, tmp_path: Path) -> None:
        asyncio.run(self.play(tmp_path, test))

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


async def raised(kind: type[PerdureError], call: Awaitable[Any]) -> PerdureError:
    """The error that the call must raise."""
    try:
        await call
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


class StoreConformance:
    """One test for each sentence of the contract."""

    row_bytes_max: int | None = None
    """From which size of a row the store made here answers TOO_LARGE; None if it takes any."""

    async def make(self, directory: Path) -> EngineStore:
        """A store on a new database, not yet opened; files may lie in the directory."""
        raise NotImplementedError

    async def succeed(self, store: EngineStore) -> EngineStore:
        """A store on the same database, not yet opened, after the process that had this one is gone."""
        raise NotImplementedError

    async def play(self, directory: Path, test: Scenario) -> None:
        scene = await Scene.of(await self.make(directory))
        try:
            await test(self, scene)
        finally:
            await scene.store.close()

    async def heir(self, scene: Scene) -> Scene:
        return await Scene.of(await self.succeed(scene.store), "second owner")

    # shards, open and close

    @scenario
    async def test_shards_are_the_same_for_ever(self, scene: Scene) -> None:
        shards = await scene.store.shards(APP)
        others = await scene.store.shards("bank")
        assert shards == await scene.store.shards(APP)
        assert len(set(shards + others)) == len(shards) + len(others)
        assert await scene.store.apps() == ["bank", "shop"]
        heir = await self.heir(scene)
        assert await heir.store.shards(APP) == shards
        assert await heir.store.shards("bank") == others
        await heir.store.close()

    @scenario
    async def test_close_may_be_called_twice_and_open_again(self, scene: Scene) -> None:
        await scene.start("a")
        await scene.store.close()
        await scene.store.close()
        await scene.store.open()
        assert (await scene.head("a")).sequence == 1

    # create

    @scenario
    async def test_create_inserts_head_mail_and_waits(self, scene: Scene) -> None:
        creation = a_creation("a", waits=(Wait(1, "start", "", 1_000, due=9_000),), tags={"k": "v"})
        await scene.store.create(scene.shard("a"), creation)
        assert await scene.load("a") == Loaded(creation.head, [], [creation.mail], list(creation.waits), [])
        assert await scene.find(tags={"k": "v"}) == ["a"]

    @scenario
    async def test_create_refuses_an_id_that_is_active(self, scene: Scene) -> None:
        await scene.start("a")
        error = await raised(InstanceExists, scene.store.create(scene.shard("a"), a_creation("a", execution="e2")))
        assert isinstance(error, InstanceExists)
        assert error.instance_id == "a"
        assert (await scene.head("a")).execution == "e1"
        assert await scene.keys("a") == []

    @scenario
    async def test_create_again_is_a_success_that_changes_nothing(self, scene: Scene) -> None:
        creation = a_creation("a", parent_call="p/1/7")
        await scene.store.create(scene.shard("a"), creation)
        await scene.committed(scene.turn("a", 0, consumed=["start e1"]))
        await scene.store.create(scene.shard("a"), creation)
        await scene.store.create(scene.shard("a"), a_creation("a", execution="e2", parent_call="p/1/7"))
        assert await scene.keys("a") == []
        await scene.finish("a")
        await scene.store.create(scene.shard("a"), a_creation("a", execution="e2", parent_call="p/1/7"))
        assert (await scene.head("a")).execution == "e1"

    @scenario
    async def test_create_replaces_a_finished_run_and_all_its_rows(self, scene: Scene) -> None:
        await self._rich(scene, "a")
        await scene.finish("a", 1)
        creation = a_creation("a", execution="e2", name="other")
        await scene.store.create(scene.shard("a"), creation)
        assert await scene.load("a") == Loaded(creation.head, [], [creation.mail], [], [])
        assert await scene.find(tags={"k": "v"}) == []
        assert await scene.find(name="other") == ["a"]

    @scenario
    async def test_create_unique_refuses_a_finished_run_too(self, scene: Scene) -> None:
        await scene.start("a")
        await scene.finish("a")
        creation = a_creation("a", execution="e2", unique=True)
        await raised(InstanceExists, scene.store.create(scene.shard("a"), creation))
        assert (await scene.head("a")).execution == "e1"

    # reading

    @scenario
    async def test_load_gives_those_that_exist_in_the_order_asked(self, scene: Scene) -> None:
        ids = [id for id in "fedcba" if scene.shard(id) == scene.shard("a")]
        for id in reversed(ids):
            await scene.start(id)
        asked = [ids[0], "nobody", *ids]
        assert [loaded.head.id for loaded in await scene.store.load(scene.shard("a"), asked)] == ids
        assert [head.id for head in await scene.store.heads(scene.shard("a"), asked)] == ids
        assert await scene.store.head(scene.shard("nobody"), "nobody") is None

    @scenario
    async def test_history_is_paged_by_sequence(self, scene: Scene) -> None:
        await scene.start("a", segment=b"[1]")
        for number in range(1, 5):
            await scene.committed(scene.turn("a", number, segment=b"[%d]" % (number + 1)))
        shard = scene.shard("a")
        assert await scene.store.history(shard, "a", 0, 2) == [Segment(1, b"[1]"), Segment(2, b"[2]")]
        assert [s.sequence for s in await scene.store.history(shard, "a", 2)] == [3, 4, 5]
        assert await scene.store.last_segment(shard, "a") == Segment(5, b"[5]")
        assert await scene.store.history(shard, "nobody") == []
        assert await scene.store.last_segment(shard, "nobody") is None

    @scenario
    async def test_every_field_comes_back_as_it_was(self, scene: Scene) -> None:
        text = '{"b": [1,  2.50, "\\u00e9é"],"a":\t1e400}'
        payload = Payload("json", "key-7", Raw(text.encode()))
        halt = Halt("non-determinism", 5, "other code", "me", "f1", "shop.py:7")
        head = a_head(
            "a",
            finished=7,
            parent="p",
            tags={"k": "v", "ü": ""},
            custom_status=payload,
            suspended=halt,
            stalled=Halt("x", 2**53),
            version="v2",
            more={"of a newer version": {"n": [1, None, 2.5]}},
            created=2**62,
            sequence=1,
        )
        wait = Wait(
            3,
            "activity",
            "charge",
            4,
            2**62,
            "bank",
            "shop.py:8",
            2,
            "claimed",
            "t",
            "node",
            9,
            payload,
            payload,
            b'{"retry": 1}',
            '{"type":"É"}'.encode(),
        )
        segment = '[{"type":"RunStarted", "name":"ü"}]'.encode()
        await scene.start("a", head, segment=segment, opened=[wait, Wait(1, "timer", "", 5)], seen=["s"])
        mail = a_mail("a", "m", execution="e9", generation=4, at=2**62, event='{"ü":  1}'.encode())
        await scene.store.deliver(scene.shard("a"), [mail])
        loaded = await scene.load("a")
        assert loaded == Loaded(head, [Segment(1, segment)], [mail], [Wait(1, "timer", "", 5), wait], ["s"])
        assert loaded.head.custom_status is not None
        assert bytes(loaded.head.custom_status.data) == text.encode()
        assert await scene.store.waits(scene.shard("a"), "a") == loaded.waits

    @scenario
    async def test_odd_ids_are_ids(self, scene: Scene) -> None:
        for id in ODD_IDS:
            await scene.start(id, a_head(id, parent=id, tags={id: id}), opened=[Wait(1, "timer", id, 1, due=5)])
            assert await scene.deliver(id, id) == [Delivery.DELIVERED]
            await scene.committed(scene.turn(id, 1, consumed=[id], seen=[id], closed=[1]))
            assert await scene.deliver(id, id) == [Delivery.DUPLICATE]
            assert (await scene.load(id)).head.id == id
            assert await scene.find(tags={id: id}) == [id]
            assert await scene.find(parent=id) == [id]
            assert id in await scene.find(text=id)
        assert set(await scene.find()) == set(ODD_IDS)

    # commit

    @scenario
    async def test_a_turn_without_head_only_advances_it(self, scene: Scene) -> None:
        await scene.start("a")
        before = await scene.head("a")
        await scene.committed(scene.turn("a", 1, at=7_000))
        assert await scene.head("a") == replace(before, sequence=2, updated=7_000)

    @scenario
    async def test_a_turn_with_head_replaces_it(self, scene: Scene) -> None:
        await scene.start("a", a_head("a", suspended=Halt("by hand", 1), more={"x": 1}))
        head = a_head("a", status=Status.FAILED, sequence=2, finished=9, version="v", more={"y": 2})
        await scene.committed(scene.turn("a", 1, head=head))
        assert await scene.head("a") == head
        assert await scene.find(status=("failed",)) == ["a"]
        assert await scene.find(status=("running",)) == []

    @scenario
    async def test_a_condition_that_does_not_hold_is_a_conflict(self, scene: Scene) -> None:
        await scene.start("a", opened=[Wait(1, "timer", "", 5)])
        before = await scene.load("a")
        effects: dict[str, Any] = {
            "segment": b"[]",
            "closed": [1],
            "opened": [Wait(2, "timer", "", 5)],
            "seen": ["s"],
        }
        head = a_head("a", sequence=9)
        for wrong in ({"execution": "e2"}, {"generation": 2}, {"expected": 0}, {"expected": 2}):
            for part in ({}, {"head": head}, {"erase": True}):
                turn = scene.turn("a", **{"expected": 1, **wrong, **part, **effects})
                assert await scene.commit(turn) == [Outcome.CONFLICT]
        assert await scene.commit(scene.turn("nobody", 1)) == [Outcome.CONFLICT]
        assert await scene.load("a") == before

    @scenario
    async def test_a_start_needs_a_free_id(self, scene: Scene) -> None:
        await scene.start("a", seen=["s"])
        before = await scene.load("a")
        turn = scene.turn("a", None, execution="e2", head=a_head("a", execution="e2"), segment=b"[]")
        assert await scene.commit(turn) == [Outcome.EXISTS]
        assert await scene.load("a") == before
        await scene.store.create(scene.shard("b"), a_creation("b"))
        assert await scene.commit(scene.turn("b", None, head=a_head("b"))) == [Outcome.EXISTS]

    @scenario
    async def test_a_start_over_a_finished_run_erases_its_rows(self, scene: Scene) -> None:
        await self._rich(scene, "a")
        await scene.finish("a")
        await scene.start("a", a_head("a", execution="e2"), segment=b"[9]")
        assert await scene.load("a") == Loaded(
            a_head("a", execution="e2", sequence=1), [Segment(1, b"[9]")], [], [], []
        )
        assert await scene.find(tags={"k": "v"}) == []
        assert await scene.deliver("a", "mail") == [Delivery.DELIVERED]

    @scenario
    async def test_one_bad_turn_harms_no_other(self, scene: Scene) -> None:
        ids = [f"i{n}" for n in range(200) if scene.shard(f"i{n}") == scene.shard()][:6]
        for id in ids[:4]:
            await scene.start(id)
        good = [scene.turn(id, 1, segment=b"[]", mail=[a_mail(ids[3], f"from {id}")]) for id in ids[:3]]
        bad = scene.turn(ids[3], 7, mail=[a_mail(ids[0], "of the bad")], created=[a_creation("never")])
        start = scene.turn(ids[4], None, head=a_head(ids[4], sequence=1))
        late = scene.turn(ids[5], 3)
        exists = replace(start, id=ids[3], head=a_head(ids[3]))
        assert await scene.commit(good[0], bad, good[1], late, start, good[2]) == [
            Outcome.COMMITTED,
            Outcome.CONFLICT,
            Outcome.COMMITTED,
            Outcome.CONFLICT,
            Outcome.COMMITTED,
            Outcome.COMMITTED,
        ]
        assert [(await scene.head(id)).sequence for id in ids[:5]] == [2, 2, 2, 1, 1]
        assert await scene.keys(ids[3]) == [f"from {id}" for id in ids[:3]]
        assert await scene.keys(ids[0]) == []
        assert await scene.store.head(scene.shard("never"), "never") is None
        assert await scene.commit(exists, scene.turn(ids[4], 1)) == [Outcome.EXISTS, Outcome.COMMITTED]

    @scenario
    async def test_erase_drops_the_generation_before_and_keeps_mail_and_seen(self, scene: Scene) -> None:
        await self._rich(scene, "a")
        before = await scene.load("a")
        head = replace(before.head, generation=2, sequence=2)
        opened = [Wait(1, "timer", "of the next", 5)]
        await scene.committed(scene.turn("a", 1, erase=True, head=head, segment=b"[2]", opened=opened))
        assert await scene.load("a") == Loaded(head, [Segment(2, b"[2]")], before.mail, opened, before.seen)
        assert await scene.commit(scene.turn("a", 2)) == [Outcome.CONFLICT]
        await scene.committed(scene.turn("a", 2, generation=2))

    @scenario
    async def test_waits_are_closed_changed_and_opened(self, scene: Scene) -> None:
        await scene.start("a", opened=[Wait(n, "activity", f"f{n}", 5, due=n) for n in (1, 2, 3)])
        changed = [Wait(2, "activity", "f2", 5, attempt=2, due=99), Wait(8, "timer", "not there", 5)]
        opened = [Wait(4, "timer", "", 6), Wait(1, "event", "again", 6)]
        await scene.committed(scene.turn("a", 1, closed=[1, 3, 7], changed=changed, opened=opened))
        assert await scene.store.waits(scene.shard("a"), "a") == [opened[1], changed[0], opened[0]]
        assert [due.due for due in await scene.store.due(scene.lease("a"), 1_000)] == [99]

    @scenario
    async def test_consumed_mail_goes_and_is_seen_where_listed(self, scene: Scene) -> None:
        await scene.start("a")
        await scene.deliver("a", "m1", "m2", "m3")
        await scene.committed(scene.turn("a", 1, consumed=["m1", "m2", "nothing"], seen=["m2"]))
        assert await scene.keys("a") == ["m3"]
        assert await scene.deliver("a", "m2", "m1") == [Delivery.DUPLICATE, Delivery.DELIVERED]
        assert await scene.keys("a") == ["m3", "m1"]

    @scenario
    async def test_seen_ids_are_bounded_and_the_oldest_goes_first(self, scene: Scene) -> None:
        await scene.start("a", seen=["old", "older than most"])
        many = [f"s{n}" for n in range(SEEN_MAX - 1)]
        await scene.committed(scene.turn("a", 1, seen=[*many, "s0"]))
        assert (await scene.load("a")).seen == [*reversed(many), "older than most"]
        assert await scene.deliver("a", "older than most", "old") == [Delivery.DUPLICATE, Delivery.DELIVERED]

    @scenario
    async def test_the_newest_of_what_is_published_counts(self, scene: Scene) -> None:
        shown = [Published("state:a", b"1"), Published("state:b", b"2"), Published("answer:k", b"3", answer=True)]
        await scene.start("a", published=shown)
        await scene.committed(scene.turn("a", 1, published=[Published("state:a", b'{"x":4}')]))
        names = ["state:a", "answer:k", "nothing"]
        assert await scene.store.published(scene.shard("a"), "a", names) == {"state:a": b'{"x":4}', "answer:k": b"3"}
        assert await scene.commit(scene.turn("a", 1, published=[Published("state:a", b"5")])) == [Outcome.CONFLICT]
        assert await scene.store.published(scene.shard("a"), "a", ["state:a"]) == {"state:a": b'{"x":4}'}
        assert await scene.store.published(scene.shard("b"), "b", names) == {}

    @scenario
    async def test_what_is_published_outlives_a_generation_and_goes_with_the_instance(self, scene: Scene) -> None:
        await scene.start("a", published=[Published("state:a", b"1"), Published("answer:k", b"2", answer=True)])
        head = replace(await scene.head("a"), generation=2, sequence=2)
        await scene.committed(scene.turn("a", 1, erase=True, head=head))
        names = ["state:a", "answer:k"]
        assert await scene.store.published(scene.shard("a"), "a", names) == {"state:a": b"1", "answer:k": b"2"}
        ended = replace(head, status=Status.COMPLETED, finished=3_000, sequence=3)
        await scene.committed(scene.turn("a", 2, generation=2, head=ended))
        assert len(await scene.store.published(scene.shard("a"), "a", names)) == 2
        await scene.store.purge(scene.shard("a"), ["a"])
        assert await scene.store.published(scene.shard("a"), "a", names) == {}

    @scenario
    async def test_answers_are_bounded_and_the_oldest_goes_first(self, scene: Scene) -> None:
        await scene.start("a", published=[Published("state:a", b"0"), Published("old", b"0", answer=True)])
        many = [Published(f"a{n}", b"1", answer=True) for n in range(ANSWERS_MAX)]
        await scene.committed(scene.turn("a", 1, published=many))
        names = ["state:a", "old", "a0", f"a{ANSWERS_MAX - 1}"]
        assert sorted(await scene.store.published(scene.shard("a"), "a", names)) == ["a0", names[3], "state:a"]

    # streams

    @scenario
    async def test_items_have_offsets_without_gaps(self, scene: Scene) -> None:
        await scene.start("a", opened=[a_call(1), a_call(2, name="other")])
        assert await scene.store.streams(scene.shard("a"), "a") == []
        assert await scene.store.last_item(scene.shard("a"), "a", 1, 1) is None
        assert await scene.appended(scene.append("a", 0, 10, 20), scene.append("a", 0, 7, number=2)) == [
            Outcome.COMMITTED,
            Outcome.COMMITTED,
        ]
        assert await scene.appended(scene.append("a", 2, 30)) == [Outcome.COMMITTED]
        assert await scene.yielded("a") == [(1, b"10", 1), (2, b"20", 1), (3, b"30", 1)]
        assert await scene.yielded("a", after=1, limit=1) == [(2, b"20", 1)]
        assert await scene.yielded("a", after=3) == await scene.yielded("a", generation=2) == []
        assert await scene.yielded("nobody") == []
        assert await scene.store.streams(scene.shard("nobody"), "nobody") == []
        last = await scene.store.last_item(scene.shard("a"), "a", 1, 1)
        assert last is not None
        assert (last.offset, bytes(last.value.data), last.at) == (3, b"30", 2_000)
        assert await scene.store.streams(scene.shard("a"), "a") == [
            Stream(1, 1, "charge", 3, True),
            Stream(1, 2, "other", 1, True),
        ]
        assert (await scene.head("a")).sequence == 1

    @scenario
    async def test_items_of_whom_the_call_does_not_wait_for_are_refused(self, scene: Scene) -> None:
        await scene.start("a", opened=[a_call(1, attempt=2), replace(a_call(2), kind="timer")])
        good = scene.append("a", 0, 1, attempt=2)
        wrong = [
            replace(good, attempt=1),
            replace(good, attempt=3),
            replace(good, number=3),
            replace(good, number=2, attempt=1),
            replace(good, execution="e0"),
            replace(good, generation=2),
            replace(good, after=1),
            replace(good, id="nobody", shard=scene.shard("a")),
        ]
        for append in wrong:
            assert await scene.appended(append) == [Outcome.CONFLICT], append
        assert await scene.store.streams(scene.shard("a"), "a") == []
        assert await scene.appended(wrong[0], good, wrong[2]) == [
            Outcome.CONFLICT,
            Outcome.COMMITTED,
            Outcome.CONFLICT,
        ]
        assert await scene.appended(good) == [Outcome.CONFLICT]  # because it is a repetition
        assert await scene.yielded("a") == [(1, b"1", 2)]

    @scenario
    async def test_the_next_attempt_goes_on_and_the_last_one_is_refused(self, scene: Scene) -> None:
        await scene.start("a", opened=[a_call(1)])
        await scene.appended(scene.append("a", 0, 1))
        await scene.committed(scene.turn("a", 1, changed=[a_call(1, attempt=2)]))
        stale, next = scene.append("a", 1, 2), scene.append("a", 1, 3, attempt=2)
        assert await scene.appended(stale) == [Outcome.CONFLICT]
        assert await scene.appended(next) == [Outcome.COMMITTED]
        assert await scene.yielded("a") == [(1, b"1", 1), (2, b"3", 2)]

    @scenario
    async def test_an_item_may_come_with_the_turn_that_closes_its_call_and_not_later(self, scene: Scene) -> None:
        await scene.start("a", opened=[a_call(1)])
        closing = scene.turn("a", 1, closed=[1])
        assert await scene.appended(scene.append("a", 0, 1), turns=(closing,)) == [Outcome.COMMITTED] * 2
        assert await scene.appended(scene.append("a", 1, 2)) == [Outcome.CONFLICT]
        assert await scene.store.streams(scene.shard("a"), "a") == [Stream(1, 1, "charge", 1, False)]

    @scenario
    async def test_items_of_a_lost_lease_are_refused(self, scene: Scene) -> None:
        await scene.start("a", opened=[a_call(1)])
        zombie = scene.lease("a")
        heir = await self.heir(scene)
        late, turn = scene.append("a", 0, 1), scene.turn("a", 1, segment=b"[]")
        assert await heir.store.commit(zombie, [turn], "zombie", [late]) == [Outcome.FENCED] * 2
        assert await heir.yielded("a") == []
        assert await heir.appended(late) == [Outcome.COMMITTED]
        await heir.store.close()

    @scenario
    async def test_a_finished_run_gets_no_items_and_keeps_those_it_has_until_it_goes(self, scene: Scene) -> None:
        for id in ("a", "b"):
            await scene.start(id, opened=[a_call(1)])
            await scene.appended(scene.append(id, 0, 1))
            await scene.finish(id)
            assert await scene.appended(scene.append(id, 1, 2)) == [Outcome.CONFLICT]
            assert await scene.store.streams(scene.shard(id), id) == [Stream(1, 1, "charge", 1, False)]
        await scene.store.purge(scene.shard("a"), ["a"])
        await scene.store.create(scene.shard("b"), a_creation("b", execution="e2"))
        for id in ("a", "b"):
            assert await scene.yielded(id) == []
            assert await scene.store.streams(scene.shard(id), id) == []

    @scenario
    async def test_continue_as_new_keeps_the_streams_of_the_run_that_ends_alone(self, scene: Scene) -> None:
        await scene.start("a", opened=[a_call(1)])
        await scene.appended(scene.append("a", 0, 1))
        head = await scene.head("a")
        for generation in (1, 2):
            head = replace(head, generation=generation + 1, sequence=generation + 1)
            await scene.committed(
                scene.turn("a", generation, generation=generation, erase=True, head=head, opened=[a_call(1)])
            )
            await scene.appended(scene.append("a", 0, generation + 1, generation=generation + 1))
        assert await scene.yielded("a") == []
        assert await scene.yielded("a", generation=2) == [(1, b"2", 1)]
        assert await scene.store.streams(scene.shard("a"), "a") == [
            Stream(2, 1, "charge", 1, False),
            Stream(3, 1, "charge", 1, True),
        ]

    @scenario
    async def test_an_item_of_too_many_bytes_harms_no_other(self, scene: Scene) -> None:
        if self.row_bytes_max is None:
            return
        await scene.start("a", opened=[a_call(1), a_call(2)])
        large = Payload("json", None, Raw(b'"' + b"x" * 2 * self.row_bytes_max + b'"'))
        appends = scene.append("a", 0, values=[large]), scene.append("a", 0, 1, number=2)
        assert await scene.appended(*appends) == [Outcome.TOO_LARGE, Outcome.COMMITTED]
        assert await scene.yielded("a") == []

    # queues and claims

    @scenario
    async def test_waits_in_queues_are_those_queued_or_admitted_of_unfinished_runs(self, scene: Scene) -> None:
        held = Wait(1, WaitKind.ACTIVITY, "send", 1_000)
        waits = [held, replace(held, number=2, state=QUEUED), replace(held, number=3, state=ADMITTED)]
        for id in ("a", "b", "done"):
            await scene.start(id, opened=waits)
        await scene.finish("done")
        found = await scene.store.queued(scene.shard("a"))
        assert [(call.instance, call.wait.number, call.wait.state) for call in found if call.instance == "a"] == [
            ("a", 2, QUEUED),
            ("a", 3, ADMITTED),
        ]
        assert "done" not in {call.instance for call in found}
        assert {call.instance for call in await scene.store.queued(scene.shard("b"), "a")} <= {"b"}

    @scenario
    async def test_permits_are_kept_with_their_turn_until_their_time_is_over(self, scene: Scene) -> None:
        await scene.start("a")
        shard = scene.shard("a")
        first = [Permit("q", 10, 1_500), Permit("q", 20, 9_000), Permit("r", 5, 1_400)]
        await scene.committed(scene.turn("a", 1, permits=first))
        assert await scene.store.permits(shard, 0) == first
        assert await scene.store.permits(shard, 1_500) == [Permit("q", 20, 9_000)]
        assert await scene.commit(scene.turn("a", 1, permits=[Permit("q", 30, 9_000)])) == [Outcome.CONFLICT]
        await scene.committed(replace(scene.turn("a", 2, permits=[Permit("q", 30, 9_000)]), at=2_000))
        assert await scene.store.permits(shard, 0) == [Permit("q", 20, 9_000), Permit("q", 30, 9_000), first[2]]

    @scenario
    async def test_a_claim_is_held_until_its_time_or_its_instance_is_gone(self, scene: Scene) -> None:
        shard = scene.shard("a")
        claim = Claim("name", until=2_000)
        first = replace(a_creation("a", execution="1"), claim=claim)
        assert await scene.store.create(shard, first) is None
        assert await scene.store.create(shard, first) is None, "a repetition is a success"
        other = replace(a_creation("a2", execution="2"), claim=claim)
        held = await scene.store.create(shard, other)
        assert held is not None
        assert (held.id, held.execution, held.sequence) == ("a", "1", 0)
        assert await scene.store.head(shard, "a2") is None
        late = replace(other, mail=replace(other.mail, at=2_000))
        assert await scene.store.create(shard, late) is None
        again = replace(a_creation("a3", execution="3"), claim=claim)
        assert (await scene.store.create(shard, again)) is not None

    @scenario
    async def test_a_pending_instance_that_holds_a_claim_may_begin_otherwise(self, scene: Scene) -> None:
        shard = scene.shard("a")
        start = Wait(-1, WaitKind.START, "start", 1_000, 5_000)
        claim = Claim("name", while_pending=True)
        await scene.store.create(shard, replace(a_creation("a", execution="1"), claim=claim, waits=(start,)))
        holder = await scene.store.create(shard, replace(a_creation("a2", execution="2"), claim=claim))
        assert holder is not None
        (loaded,) = await scene.store.load(shard, ["a"])
        mail = replace(loaded.mail[0], event=b'{"new":1}', at=1_100)
        assert await scene.store.renew(shard, holder, mail, replace(start, due=7_000), 1_100)
        (after,) = await scene.store.load(shard, ["a"])
        assert (after.mail, [wait.due for wait in after.waits]) == ([mail], [7_000])
        assert (after.head.sequence, after.head.updated, after.head.execution) == (1, 1_100, "1")
        assert not await scene.store.renew(shard, holder, mail, start, 1_200), "it has changed since"
        assert await scene.commit(scene.turn("a", 0, execution="1")) == [Outcome.CONFLICT]

    @scenario
    async def test_a_turn_of_too_many_bytes_harms_no_other(self, scene: Scene) -> None:
        if self.row_bytes_max is None:
            return
        ids = [f"i{n}" for n in range(200) if scene.shard(f"i{n}") == scene.shard()][:2]
        for id in ids:
            await scene.start(id)
        large = b'["' + b"x" * 2 * self.row_bytes_max + b'"]'
        turns = [scene.turn(ids[0], 1, segment=large), scene.turn(ids[1], 1, segment=b"[]")]
        assert await scene.commit(*turns) == [Outcome.TOO_LARGE, Outcome.COMMITTED]
        assert [(await scene.head(id)).sequence for id in ids] == [1, 2]

    # what a commit sends and creates

    @scenario
    async def test_mail_of_a_turn_is_delivered_or_dropped(self, scene: Scene) -> None:
        for id in ("a", "b", "done"):
            await scene.start(id)
        await scene.finish("done")
        await scene.deliver("b", "first")
        mail = [a_mail("b", key) for key in ("second", "first", "third")]
        dropped = [a_mail("done", "m"), a_mail("nobody", "m")]
        await scene.committed(scene.turn("a", 1, mail=[*mail, *dropped, a_mail("a", "to itself")]))
        assert await scene.keys("b") == ["first", "second", "third"]
        assert await scene.keys("done") == []
        assert await scene.keys("a") == ["to itself"]

    @scenario
    async def test_a_turn_may_write_to_what_the_same_commit_creates(self, scene: Scene) -> None:
        ids = [f"i{n}" for n in range(200) if scene.shard(f"i{n}") == scene.shard()][:2]
        for id in ids:
            await scene.start(id)
        child = a_creation("child", execution="c1", parent=ids[1], waits=(Wait(1, "start", "", 5),), tags={"t": "1"})
        await scene.committed(
            scene.turn(ids[0], 1, mail=[a_mail("child", "hello")]), scene.turn(ids[1], 1, created=[child])
        )
        loaded = await scene.load("child")
        assert (loaded.head, loaded.waits) == (child.head, list(child.waits))
        assert await scene.keys("child") == ["start c1", "hello"]
        assert await scene.find(parent=ids[1], tags={"t": "1"}) == ["child"]

    @scenario
    async def test_a_refused_creation_sends_its_refusal(self, scene: Scene) -> None:
        for id in ("parent", "busy", "done"):
            await scene.start(id)
        await scene.finish("done")
        refusal = a_mail("parent", "refused", execution="e1", generation=1)
        created = [
            a_creation("busy", execution="c1", refusal=refusal),
            a_creation("busy", execution="c2"),
            a_creation("done", execution="c3", unique=True, refusal=replace(refusal, key="refused too")),
            a_creation("fresh", execution="c4", refusal=replace(refusal, key="never")),
        ]
        await scene.committed(scene.turn("parent", 1, created=created))
        assert await scene.keys("parent") == ["refused", "refused too"]
        assert (await scene.load("parent")).mail[0] == refusal
        assert (await scene.head("busy")).execution == "e1"
        assert (await scene.head("done")).execution == "e1"
        assert (await scene.head("fresh")).execution == "c4"

    @scenario
    async def test_a_creation_again_is_no_conflict(self, scene: Scene) -> None:
        await scene.start("parent")
        refusal = a_mail("parent", "refused")
        child = a_creation("child", execution="c1", parent_call="e1/1/1", refusal=refusal, unique=True)
        await scene.committed(scene.turn("parent", 1, created=[child]))
        await scene.committed(scene.turn("child", 0, execution="c1", consumed=["start c1"]))
        again = replace(child, head=replace(child.head, execution="c2"))
        await scene.committed(scene.turn("parent", 2, created=[again]))
        assert (await scene.load("child")).head.execution == "c1"
        assert await scene.keys("child") == []
        await scene.finish("child")
        await scene.committed(scene.turn("parent", 3, created=[a_creation("child", execution="c3")]))
        assert await scene.keys("child") == ["start c3"]
        assert await scene.keys("parent") == []

    @scenario
    async def test_creations_and_mail_reach_other_apps(self, scene: Scene) -> None:
        await scene.start("a", a_head("a", tags={"app": "mine"}))
        child = a_creation("a", app="bank", execution="c1", refusal=a_mail("a", "refused"))
        mail = a_mail("a", "hello", app="bank")
        await scene.committed(scene.turn("a", 1, created=[child], mail=[mail, a_mail("a", "here")]))
        shards = await scene.store.shards("bank")
        shard = shards[shard_number("a", len(shards))]
        (loaded,) = await scene.store.load(shard, ["a"])
        assert loaded.head == child.head
        assert loaded.mail == [child.mail, replace(mail, app=None)]
        assert await scene.keys("a") == ["here"]
        assert await scene.find(app="bank") == ["a"]

    # fences

    @scenario
    async def test_an_owner_that_lost_its_lease_writes_nothing(self, scene: Scene) -> None:
        await scene.start("a")
        zombie = scene.lease("a")
        heir = await self.heir(scene)
        assert heir.lease("a").epoch > zombie.epoch
        turns = [heir.turn("a", 1), heir.turn("a", None, head=a_head("a"))]
        for turn in turns:
            assert await heir.store.commit(zombie, [turn], "zombie") == [Outcome.FENCED]
        await raised(Fenced, heir.store.settle_unknown(zombie, "zombie"))
        assert (await heir.head("a")).sequence == 1
        await heir.committed(turns[0])
        await heir.store.close()

    @scenario
    async def test_an_owner_that_released_its_lease_writes_nothing(self, scene: Scene) -> None:
        await scene.start("a")
        await scene.store.release([scene.lease("a")])
        assert await scene.commit(scene.turn("a", 1)) == [Outcome.FENCED]
        await raised(Fenced, scene.store.settle_unknown(scene.lease("a"), "commit"))
        leases = await scene.store.acquire(APP, "other")
        assert {lease.owner for lease in leases} == {"other"}
        assert all(lease.epoch > scene.lease("a").epoch for lease in leases if lease.shard == scene.shard("a"))
        await scene.store.release([scene.lease("a")])
        assert await scene.store.holder(APP) is not None

    @scenario
    async def test_an_epoch_that_went_backwards_is_told(self, scene: Scene) -> None:
        await scene.start("a")
        newer = replace(scene.lease("a"), epoch=scene.lease("a").epoch + 1)
        await raised(StoreRolledBack, scene.store.commit(newer, [scene.turn("a", 1)], "commit"))
        assert (await scene.head("a")).sequence == 1

    @scenario
    async def test_what_an_owner_holds_nobody_else_gets(self, scene: Scene) -> None:
        assert await scene.store.acquire(APP, "other") == []
        again = await scene.store.acquire(APP, OWNER)
        assert [lease.epoch for lease in again] == [scene.lease("a").epoch] * len(again)
        assert [lease.number for lease in again] == list(range(len(again)))
        assert [lease.shard for lease in again] == await scene.store.shards(APP)
        assert OWNER in str(await scene.store.holder(APP))
        await scene.store.release(again)
        assert await scene.store.holder(APP) is None

    @scenario
    async def test_the_newest_token_settles_an_unknown_commit(self, scene: Scene) -> None:
        await scene.start("a")
        await scene.commit(scene.turn("a", 1), commit_id="one")
        lease = scene.lease("a")
        assert await scene.store.settle_unknown(lease, "one")
        assert not await scene.store.settle_unknown(lease, "two")
        await scene.commit(scene.turn("a", 2), commit_id="two")
        assert await scene.store.settle_unknown(lease, "two")
        assert not await scene.store.settle_unknown(lease, "one")

    # lives and suspects

    @scenario
    async def test_a_death_is_counted_for_each_that_could_have_been_running(self, scene: Scene) -> None:
        call, timer = Wait(1, "activity", "f", 5), Wait(1, "timer", "", 5)
        running = {
            "call": [call],
            "retry due": [replace(call, due=90)],
            "timer due": [replace(timer, due=100)],
            "timeout due": [replace(call, due=900), Wait(-2, "timeout", "", 5, due=100)],
        }
        resting = {
            "nothing": [],
            "retry later": [replace(call, due=101)],
            "answered": [replace(call, state="answered")],
            "timer later": [replace(timer, due=101)],
            "event": [Wait(1, "event", "go", 5)],
        }
        for id, waits in (running | resting).items():
            await scene.start(id, opened=waits)
        for id, waits in (("suspended", [call]), ("suspended, due", [replace(timer, due=1)])):
            await scene.start(id, a_head(id, suspended=Halt("x", 1)), opened=waits)
        await scene.start("finished", opened=[call])
        await scene.finish("finished")
        await scene.create(a_creation("pending"))
        later = Wait(-1, "start", "", 5, due=101)
        await scene.create(a_creation("starts later", waits=(later,)))
        await scene.create(a_creation("starts now", waits=(replace(later, due=100),)))
        second = await self.lived(scene)
        assert await second.suspects() == {}, "the first owner was not said to live"
        third = await self.died(second)
        could = {*running, "suspended, due", "pending", "starts now"}
        assert await third.suspects() == dict.fromkeys(could, 1)
        await third.store.close()

    @scenario
    async def test_deaths_are_counted_in_a_row_and_forgotten_when_idle(self, scene: Scene) -> None:
        call = Wait(1, "activity", "f", 5)
        for id in ("a", "b"):
            await scene.start(id, opened=[call])
        scene = await self.died(await self.died(await self.lived(scene)))
        assert await scene.suspects() == {"a": 2, "b": 2}
        await scene.committed(scene.turn("b", 1, closed=[1]))
        scene = await self.died(scene)
        assert await scene.suspects() == {"a": 3}
        await scene.committed(scene.turn("b", 2, opened=[call]))
        scene = await self.died(scene)
        assert await scene.suspects() == {"a": 4, "b": 1}
        await scene.store.close()

    @scenario
    async def test_a_life_that_ends_in_good_order_leaves_no_suspect(self, scene: Scene) -> None:
        await scene.start("a", opened=[Wait(1, "activity", "f", 5)])
        scene = await self.died(await self.lived(scene))
        await scene.accuse("a")
        await scene.release()
        assert await scene.suspects() == {}
        scene = await self.died(scene)
        assert await scene.suspects() == {}
        scene = await self.died(scene)
        assert await scene.suspects() == {"a": 1}
        assert await scene.accused() == []
        await scene.store.close()

    @scenario
    async def test_an_owner_that_runs_no_code_neither_lives_nor_dies(self, scene: Scene) -> None:
        await scene.start("a", opened=[Wait(1, "activity", "f", 5)])
        scene = await self.died(await self.lived(scene))
        for _ in range(2):
            scene = await Scene.of(await self.succeed(scene.store), "caretaker")
            assert await scene.suspects() == {"a": 1}
        await scene.release()
        scene = await self.died(scene)
        assert await scene.suspects() == {"a": 2}
        await scene.store.close()

    @scenario
    async def test_accusations_are_told_to_the_heirs_until_one_of_them_accuses(self, scene: Scene) -> None:
        ids = sorted([id for id in (f"i{n}" for n in range(200)) if scene.shard(id) == scene.shard("i0")][:4])
        for id in ids:
            await scene.start(id, opened=[Wait(1, "activity", "f", 5)])
        scene = await self.died(await self.lived(scene))
        for place, id in enumerate((*reversed(ids[:3]), "nobody"), 1):
            await scene.store.accuse(scene.lease(ids[0]), id, place)
        assert await scene.accused() == [], "nobody was when the last owner died"
        await scene.store.acquit(scene.lease(ids[0]), [ids[2], "nobody"])
        scene = await self.died(scene)
        assert await scene.suspects() == {ids[0]: 2, ids[1]: 2, ids[2]: 1, ids[3]: 2}
        assert await scene.accused() == [ids[1], ids[0]]
        scene = await self.died(scene)
        assert await scene.accused() == [ids[1], ids[0]], "its owner has accused nobody"
        await scene.accuse(ids[1])
        await scene.accuse(ids[3], 2)
        await scene.committed(scene.turn(ids[3], 1, closed=[1]))
        scene = await self.died(scene)
        assert await scene.suspects() == {ids[0]: 4, ids[1]: 4, ids[2]: 3}
        assert await scene.accused() == [ids[1]]
        await scene.store.acquit(scene.lease(ids[0]), [ids[1]])
        assert await scene.accused() == []
        scene = await self.died(scene)
        assert await scene.suspects() == {ids[0]: 5, ids[1]: 1, ids[2]: 4}
        assert await scene.accused() == []
        await scene.store.close()

    @scenario
    async def test_an_owner_that_lost_its_lease_neither_accuses_nor_acquits(self, scene: Scene) -> None:
        await scene.start("a", opened=[Wait(1, "activity", "f", 5)])
        scene = await self.died(await self.lived(scene))
        zombie = scene.lease("a")
        heir = await self.died(scene)
        await raised(Fenced, heir.store.accuse(zombie, "a", 1))
        await raised(Fenced, heir.store.acquit(zombie, ["a"]))
        assert await heir.suspects() == {"a": 2}
        assert await heir.accused() == []
        await heir.store.close()

    @scenario
    async def test_a_suspect_is_forgotten_with_its_instance(self, scene: Scene) -> None:
        ids = ("purged", "started again", "created again")
        for id in ids:
            await scene.start(id, opened=[Wait(1, "activity", "f", 5)])
        scene = await self.died(await self.lived(scene))
        assert await scene.suspects() == dict.fromkeys(ids, 1)
        for id in ids:
            await scene.finish(id)
        await scene.store.purge(scene.shard("purged"), ["purged"])
        await scene.start("started again", a_head("started again", execution="e2"))
        await scene.create(a_creation("created again", execution="e2"))
        assert await scene.suspects() == {}
        await scene.store.close()

    async def lived(self, scene: Scene) -> Scene:
        """The same store under an owner that lives, after one that ran no code."""
        return await Scene.of(await self.succeed(scene.store), "lives", at=100)

    async def died(self, scene: Scene) -> Scene:
        """The store after its owner's death, under the next one."""
        return await Scene.of(await self.succeed(scene.store), "lives again", at=100)

    # deliver

    @scenario
    async def test_deliver_says_what_became_of_each(self, scene: Scene) -> None:
        id = "a"
        await scene.start(id, seen=["seen"])
        other = next(f"i{n}" for n in range(200) if scene.shard(f"i{n}") == scene.shard(id))
        mail = [a_mail(id, "m"), a_mail(other, "m"), a_mail(id, "m"), a_mail(id, "seen"), a_mail(id, "n")]
        assert await scene.store.deliver(scene.shard(id), mail) == [
            Delivery.DELIVERED,
            Delivery.NO_INSTANCE,
            Delivery.DUPLICATE,
            Delivery.DUPLICATE,
            Delivery.DELIVERED,
        ]
        assert await scene.keys(id) == ["m", "n"]
        await scene.finish(id)
        assert await scene.deliver(id, "m", "seen", "x") == [
            Delivery.DUPLICATE,
            Delivery.DUPLICATE,
            Delivery.FINISHED,
        ]
        assert await scene.store.deliver(scene.shard(id), []) == []

    @scenario
    async def test_a_mailbox_is_bounded_but_for_replies(self, scene: Scene) -> None:
        await scene.start("a")
        await scene.start("b")
        for begin in range(0, MAILBOX_MESSAGES_MAX, 1_000):
            mail = [a_mail("a", f"m{n}", execution="e1") for n in range(begin, begin + 1_000)]
            assert set(await scene.store.deliver(scene.shard("a"), mail)) == {Delivery.DELIVERED}
        assert await scene.deliver("a", "m0", "one more") == [Delivery.DUPLICATE, Delivery.FULL]
        await scene.committed(scene.turn("b", 1, mail=[a_mail("a", "x"), a_mail("a", "y", execution="e1")]))
        assert (await scene.keys("a"))[-1] == "y"
        await scene.committed(scene.turn("a", 1, consumed=["m0", "m1"]))
        assert await scene.deliver("a", "x", "z") == [Delivery.DELIVERED, Delivery.FULL]

    # find

    @scenario
    async def test_find_answers_each_condition(self, scene: Scene) -> None:
        halt = Halt("x", 1)
        await scene.start("a", a_head("a", created=10, tags={"k": "v", "l": "1"}, suspended=halt))
        await scene.start("B-ß", a_head("B-ß", created=20, name="Payout", tags={"k": "v", "l": "2"}, parent="a"))
        await scene.start("c", a_head("c", created=30, stalled=halt, tags={"k": "w"}))
        await scene.start("d", a_head("d", created=30, kind="entity"))
        await scene.finish("a")
        conditions: list[tuple[dict[str, Any], list[str]]] = [
            ({}, ["c", "B-ß", "a"]),
            ({"app": None}, ["c", "B-ß", "a"]),
            ({"app": "bank"}, []),
            ({"name": "Payout"}, ["B-ß"]),
            ({"status": ("completed",)}, ["a"]),
            ({"status": ()}, ["c", "B-ß", "a"]),
            ({"status": ("running", "completed")}, ["c", "B-ß", "a"]),
            ({"kind": "entity"}, ["d"]),
            ({"kind": None}, ["d", "c", "B-ß", "a"]),
            ({"created_after": 20}, ["c", "B-ß"]),
            ({"created_before": 20}, ["a"]),
            ({"finished_after": 3_000}, ["a"]),
            ({"finished_after": 3_001}, []),
            ({"finished_before": 3_000}, []),
            ({"finished_before": 3_001}, ["a"]),
            ({"tags": {"k": "v"}}, ["B-ß", "a"]),
            ({"tags": {}}, ["c", "B-ß", "a"]),
            ({"tags": {"k": "v", "l": "1"}}, ["a"]),
            ({"tags": {"v": "k"}}, []),
            ({"parent": "a"}, ["B-ß"]),
            ({"text": "PAY"}, ["B-ß"]),
            ({"text": "b-ß"}, ["B-ß"]),
            ({"text": "check"}, ["c", "a"]),
            ({"text": "%"}, []),
            ({"suspended": True}, ["a"]),
            ({"suspended": False}, ["c", "B-ß"]),
            ({"stalled": True}, ["c"]),
            ({"stalled": False}, ["B-ß", "a"]),
            ({"tags": {"k": "v"}, "status": ("running",)}, ["B-ß"]),
        ]
        for condition, expected in conditions:
            assert await scene.find(**condition) == expected, condition

    @scenario
    async def test_a_cursor_neither_skips_nor_repeats(self, scene: Scene) -> None:
        for number in range(10):
            await scene.start(f"i{number}", a_head(f"i{number}", created=number // 3, tags={"k": "v"}))
        narrower: tuple[dict[str, Any], ...] = ({}, {"tags": {"k": "v"}}, {"app": None})
        for conditions in narrower:
            found: list[str] = []
            cursor = None
            for _ in range(4):
                page: Page = await scene.store.find(Query(**{"app": APP, **conditions}), cursor, 3)
                found += [head.id for head in page.heads]
                cursor = page.cursor
            assert found == [f"i{number}" for number in range(9, -1, -1)]
            assert cursor is None
        first = await scene.store.find(Query(app=APP), None, 3)
        await scene.finish("i7")
        await scene.store.purge(scene.shard("i7"), ["i7"])
        await scene.start("newer", a_head("newer", created=99))
        await scene.start("i55", a_head("i55", created=1))
        assert await scene.find(first.cursor) == ["i6", "i55", "i5", "i4", "i3", "i2", "i1", "i0"]
        assert (await scene.store.find(Query(app=APP), None, 11)).cursor is None
        for wrong in ("", "x", "[]", '[1, "a"]', '["x", "a", 1]', "7"):
            await raised(InvalidArgument, scene.store.find(Query(), wrong))

    # purge

    @scenario
    async def test_purge_leaves_no_row_of_a_finished_run(self, scene: Scene) -> None:
        await self._rich(scene, "a")
        await scene.start("b")
        assert await scene.store.purge(scene.shard("a"), ["a"]) == []
        await scene.finish("a")
        assert await scene.store.purge(scene.shard("a"), ["nobody", "a", "b", "a"]) == ["a"]
        shard = scene.shard("a")
        assert await scene.store.load(shard, ["a"]) == []
        assert await scene.store.history(shard, "a") == []
        assert await scene.store.waits(shard, "a") == []
        assert await scene.find(tags={"k": "v"}) == []
        await scene.start("a")
        assert await scene.load("a") == Loaded(a_head("a", sequence=1), [], [], [], [])
        assert await scene.deliver("a", "mail", "seen") == [Delivery.DELIVERED] * 2

    # wake

    @scenario
    async def test_recover_pages_open_calls_between_instances(self, scene: Scene) -> None:
        ids = sorted([f"i{n}" for n in range(200) if scene.shard(f"i{n}") == scene.shard()][:5])
        waits = [Wait(3, "activity", "f", 5), Wait(1, "activity", "g", 5), Wait(2, "timer", "", 5, due=7)]
        for id in ids:
            await scene.start(id, opened=waits)
        await scene.finish(ids[4])
        lease = scene.lease(ids[0])
        found = await scene.store.recover(lease)
        assert [(c.instance, c.wait.number) for c in found] == [(id, n) for id in ids[:4] for n in (1, 3)]
        assert (found[0].shard, found[0].execution, found[0].generation) == (lease.shard, "e1", 1)
        assert found[0].wait == waits[1]
        page = await scene.store.recover(lease, limit=3)
        assert [c.instance for c in page] == [ids[0], ids[0], ids[1], ids[1]]
        assert [c.instance for c in await scene.store.recover(lease, ids[1], 1)] == [ids[2]] * 2
        assert await scene.store.recover(lease, ids[3]) == []

    @scenario
    async def test_recover_leaves_calls_of_suspended_runs_alone(self, scene: Scene) -> None:
        await scene.start("a", a_head("a", suspended=Halt("by hand", 1)), opened=[Wait(1, "activity", "f", 5)])
        assert await scene.store.recover(scene.lease("a")) == []

    @scenario
    async def test_stranded_are_those_that_nothing_would_wake(self, scene: Scene) -> None:
        sound = [
            Wait(1, "activity", "f", 5),
            Wait(2, "child", "f", 5, on="c"),
            Wait(3, "timer", "", 5, due=7),
            Wait(-10, "event", "e", 5),
        ]
        endless = [
            Wait(1, "none", "f", 5),
            Wait(1, "activity", "f", 5, state="none"),
            Wait(1, "activity", "f", 5, state=ANSWERED),
            Wait(2, "child", "f", 5),
            Wait(3, "timer", "", 5),
        ]
        ids = sorted([f"i{n}" for n in range(900) if scene.shard(f"i{n}") == scene.shard()][:14])
        for id, wait in zip(ids, (*sound, *endless), strict=False):
            await scene.start(id, opened=[wait])
        alone, mailed, finished, suspended, stalled = ids[9:]
        for id in (alone, mailed, finished):
            await scene.start(id)
        await scene.store.deliver(scene.shard(), [a_mail(mailed, "m")])
        await scene.finish(finished)
        await scene.start(suspended, a_head(suspended, suspended=Halt("by hand", 1)))
        await scene.start(stalled, a_head(stalled, stalled=Halt("non-determinism", 1)))
        lease = scene.lease(ids[0])
        assert await scene.store.stranded(lease) == [*ids[4:9], alone]
        assert await scene.store.stranded(lease, ids[4], 2) == ids[5:7]
        await scene.store.deliver(scene.shard(), [a_mail(ids[6], "m")])
        assert await scene.store.stranded(lease, ids[4], 2) == [ids[5], ids[7]]

    @scenario
    async def test_due_is_paged_by_time_instance_and_number(self, scene: Scene) -> None:
        ids = sorted([f"i{n}" for n in range(200) if scene.shard(f"i{n}") == scene.shard()][:3])
        for id in ids:
            dues = ((1, 50), (2, 40), (3, 50), (4, None), (5, 0))
            await scene.start(id, opened=[Wait(n, "timer", "", 5, due=due) for n, due in dues])
        await scene.finish(ids[2])
        lease = scene.lease(ids[0])
        expected = [(0, ids[0], 5), (0, ids[1], 5), (40, ids[0], 2), (40, ids[1], 2)]
        expected += [(50, id, n) for id in ids[:2] for n in (1, 3)]
        found = await scene.store.due(lease, 50)
        assert [(d.due, d.instance, d.number) for d in found] == expected
        assert {(d.shard, d.kind) for d in found} == {(lease.shard, "timer")}
        assert len(await scene.store.due(lease, 49)) == 4
        paged = []
        after = (-1, "", 0)
        while page := await scene.store.due(lease, 50, 3, after):
            paged += [(d.due, d.instance, d.number) for d in page]
            after = paged[-1]
        assert paged == expected

    @scenario
    async def test_mail_is_there_until_consumed_and_paged_between_instances(self, scene: Scene) -> None:
        ids = sorted([f"i{n}" for n in range(200) if scene.shard(f"i{n}") == scene.shard()][:4])
        for id in ids:
            await scene.start(id)
            await scene.deliver(id, "z", "a", "m")
        await scene.finish(ids[3])
        lease = scene.lease(ids[0])
        for _ in range(2):
            found = await scene.store.mail(lease)
            assert [(m.instance, m.key) for m in found] == [(id, key) for id in ids[:3] for key in "zam"]
        assert [m.instance for m in await scene.store.mail(lease, 2)] == [ids[0]] * 3
        assert [m.instance for m in await scene.store.mail(lease, 4, ids[0])] == [ids[1]] * 3 + [ids[2]] * 3
        await scene.committed(scene.turn(ids[0], 1, consumed=["z", "m"]))
        assert [m.key for m in await scene.store.mail(lease, 1)] == ["a"]

    async def _rich(self, scene: Scene, id: str) -> None:
        """A run with rows of every sort."""
        await scene.start(
            id,
            a_head(id, tags={"k": "v"}, suspended=Halt("x", 1)),
            segment=b"[1]",
            opened=[Wait(1, "activity", "f", 5), Wait(2, "timer", "", 5, due=6)],
            seen=["seen"],
        )
        assert await scene.deliver(id, "mail") == [Delivery.DELIVERED]
