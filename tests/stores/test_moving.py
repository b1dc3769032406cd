"""Apps that go from one store to another: whole, once, whoever dies in between."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from perdure import Client
from perdure.app import open_store
from perdure.errors import AppReserved, InvalidArgument, StoreCorrupt, StoreOwned, StoreRolledBack
from perdure.stores import moving
from perdure.stores.contract import (
    CLAIMED,
    HELD,
    Batch,
    Claim,
    Creation,
    Head,
    Mail,
    Member,
    Permit,
    Reservation,
    Side,
    Status,
    Turn,
    Wait,
    shard_number,
)
from perdure.stores.memory import MemoryStore
from perdure.stores.moving import End, Moved, abort, as_moved, move, plan
from perdure.stores.sql.runner import InlineRunner
from perdure.stores.sql.sqlite import open_store as open_sqlite
from tests.stores import mover_program, moving_app
from tests.stores.mover_program import Counter, act, ends
from tests.stores.moving_app import RESULTS, add, begin, end, ledger, shop

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
APP = "shop"
EVENT = b'{"type":"EventRaised","name":"go"}'


def a_store(kind: str, folder: Path, name: str) -> Any:
    match kind:
        case "sqlite":
            return open_store(f"sqlite:///{folder}/{name}.db")
        case "cluster":
            return MemoryStore(shard_count=8, lease_seconds=60.0)
        case _:
            return MemoryStore()


@pytest.mark.parametrize(
    "kinds", [("sqlite", "memory"), ("memory", "sqlite"), ("sqlite", "cluster"), ("cluster", "sqlite")], ids="-".join
)
def test_an_app_goes_on_in_its_new_store(tmp_path: Path, kinds: tuple[str, str]) -> None:
    source, target = (a_store(kind, tmp_path, name) for kind, name in zip(kinds, ("source", "target"), strict=True))

    async def play() -> None:
        await begin(shop(source, tmp_path))
        async with Client(source, app_id=APP) as client:
            await add(client)
        attempts = ledger(tmp_path)
        away, there = End(source, "source"), End(target, "target")
        for store in (source, target):
            await store.open()
        planned = await plan(away, there, APP, finished=False)
        told: list[str] = []
        done = await move(away, there, APP, finished=False, token="t", now=5, tell=told.append)
        assert (done, done.left, done.finished, done.conflicts) == (planned, 1, 0, ())
        assert told[-1] == "app 'shop' is target's now"
        for store in (source, target):
            await store.close()
        results = await end(shop(target, tmp_path), tmp_path)
        assert results == {**RESULTS, "items": results["items"]}
        assert results["items"] in ([1, 2], [1, 1, 2])
        again = ledger(tmp_path)[len(attempts) :]
        assert {line for line in again if "post 2" not in line} <= set(attempts), "with the keys that they had"
        for refused in (shop(source, tmp_path).open, Client(source, app_id=APP).__aenter__):
            with pytest.raises(AppReserved, match="was moved to target"):
                await refused()

    asyncio.run(bounded(play))


async def bounded(play: Callable[[], Any]) -> Any:
    async with asyncio.timeout(50):
        return await play()


def test_with_finished_ones_everything_is_moved_and_shown_there(tmp_path: Path) -> None:
    source, target = MemoryStore(), a_store("sqlite", tmp_path, "target")

    async def play() -> None:
        await begin(shop(source, tmp_path))
        await target.open()
        done = await move(End(source, "a"), End(target, "b"), APP, finished=True, token="t", now=5)
        assert (done.finished, done.left) == (1, 0)
        await target.close()
        async with Client(target, app_id=APP) as client:
            state = await client.get("done").state()
            assert (state.output, state.tags) == (5, {"lot": "first"})

    asyncio.run(bounded(play))


# -- crash points: every call to either store, before and after it ---------------------------------------------------


class Died(BaseException):
    """The mover is dead."""


def die(name: str) -> None:
    raise Died(name)


async def filled(store: Any, count: int = 3) -> Any:
    """A store with a few instances: waits, mail, one that is claimed, one that is finished, permits."""
    await store.open()
    shards = await store.shards(APP)
    leases = {lease.shard: lease for lease in await store.acquire(APP, "node")}
    for number in range(count):
        id = f"i{number}"
        shard = shards[shard_number(id, len(shards))]
        head = Head(id, APP, "buy", Status.RUNNING, f"e{number}", 1, 1, 5, 5, tags={"n": str(number)})
        waits = [Wait(1, "activity", "f", 5, attempt=1), Wait(2, "timer", "", 5, due=9)]
        turn = Turn(shard, id, f"e{number}", 1, None, 5, head, b"[1]", waits, permits=[Permit("q", 5, 2**60)])
        await store.commit([Batch(leases[shard], [turn])], "t")
        await store.deliver(shard, [Mail(id, "m", EVENT, 5)])
    shard = shards[shard_number("done", len(shards))]
    head = Head("done", APP, "buy", Status.COMPLETED, "ed", 1, 1, 5, 5, finished=5)
    await store.commit([Batch(leases[shard], [Turn(shard, "done", "ed", 1, None, 5, head)])], "t")
    await store.release(list(leases.values()))
    return store


async def contents(store: Any, *, finished: bool = True) -> dict[str, Any]:
    found = {}
    for shard, place in await store.roll(APP):
        (whole,) = await store.export(shard, [place.id])
        if finished or not place.is_finished:
            found[place.id] = whole
    return found


async def is_active(store: Any) -> bool:
    """Whether a node could run the app's instances here."""
    if not await store.roll(APP):
        return False
    try:
        leases = await store.acquire(APP, "prober")
    except AppReserved:
        return False
    await store.release(leases)
    return True


def stores(kind: str, folder: Path, turn: int) -> tuple[Any, Any]:
    if kind == "memory":
        return MemoryStore(), MemoryStore(shard_count=4)
    names = (f"sqlite:///{folder}/{name}{turn}.db?synchronous=unsafe_normal" for name in ("source", "target"))
    source, target = (open_sqlite(name, InlineRunner) for name in names)
    return source, target


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_mover_that_dies_anywhere_is_succeeded_by_the_next(
    tmp_path: Path, kind: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "PAGE_INSTANCES", 2)

    async def play(call: int) -> bool:
        source, target = stores(kind, tmp_path, call)
        await filled(source)
        await target.open()
        wanted = await contents(source, finished=False)
        counter = Counter(call, when, die)
        try:
            await act("move", *ends(source, target, counter))
            return False
        except Died:
            pass
        active = [await is_active(source), await is_active(target)]
        assert sum(active) <= 1, counter.calls
        if active == [False, True]:  # because it died right after the last step
            with pytest.raises(AppReserved, match="was moved"):
                await act("move", End(source, "source"), End(target, "target"))
        else:
            await act("move", End(source, "source"), End(target, "target"))
        assert [await is_active(source), await is_active(target)] == [False, True], counter.calls
        assert await contents(target) == wanted
        shards = await target.shards(APP)
        assert {len(await target.permits(shard, 0)) for shard in shards} == {3}
        await source.close()
        await target.close()
        return True

    assert dies_everywhere(play) > 15


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_move_that_died_anywhere_is_taken_back_also_by_one_that_dies(
    tmp_path: Path, kind: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "PAGE_INSTANCES", 2)
    seal = asyncio.run(calls_until_seal(kind, tmp_path))

    async def play(call: int) -> bool:
        source, target = stores(kind, tmp_path, call)
        await filled(source)
        await target.open()
        wanted = await contents(source)
        with pytest.raises(Died):
            await act("move", *ends(source, target, Counter(seal, "before", die)))
        counter = Counter(call, when, die)
        try:
            await act("abort", *ends(source, target, counter))
            return False
        except Died:
            pass
        active = [await is_active(source), await is_active(target)]
        assert sum(active) <= 1, counter.calls
        if active == [True, False]:
            with pytest.raises(InvalidArgument, match="nothing to abort"):
                await act("abort", End(source, "source"), End(target, "target"))
        else:
            if (await source.reserved(APP)).is_aborted:
                with pytest.raises(AppReserved, match="taken back"):
                    await act("move", End(source, "source"), End(target, "target"))
            await act("abort", End(source, "source"), End(target, "target"))
        assert [await is_active(source), await is_active(target)] == [True, False], counter.calls
        assert await contents(source) == wanted
        assert await contents(target) == {}
        assert (await source.reserved(APP), await target.reserved(APP)) == (None, None)
        await act("move", End(source, "source"), End(target, "target"))
        assert [await is_active(source), await is_active(target)] == [False, True], "it can be moved again"
        await source.close()
        await target.close()
        return True

    assert dies_everywhere(play) > 8


async def calls_until_seal(kind: str, folder: Path) -> int:
    """The number of the call that seals."""
    counter = Counter(-1, "before", die)
    source, target = stores(kind, folder, -1)
    await filled(source)
    await target.open()
    await act("move", *ends(source, target, counter))
    await source.close()
    await target.close()
    return seal_of(counter.calls)


def seal_of(calls: list[str]) -> int:
    return max(number for number, name in enumerate(calls) if name == "reserve")


def dies_everywhere(play: Callable[[int], Any]) -> int:
    """Play with a death at each call in turn, until there is none; how many there were."""
    for call in itertools.count():
        if not asyncio.run(play(call)):
            return call
    raise AssertionError


@pytest.mark.timeout(900)
@pytest.mark.parametrize("what", ["move", "abort"])
def test_a_mover_process_that_is_killed_at_any_step_is_succeeded_by_the_next(tmp_path: Path, what: str) -> None:
    async def fill() -> dict[str, Any]:
        await begin(shop(f"sqlite:///{tmp_path}/kept.db", tmp_path))
        source = open_store(f"sqlite:///{tmp_path}/kept.db")
        await source.open()
        wanted = await contents(source, finished=what == "abort")
        await source.close()
        return wanted

    wanted = asyncio.run(fill())
    urls = [f"sqlite:///{tmp_path}/{name}.db" for name in ("source", "target")]
    anew(tmp_path)
    seal = seal_of(program(*urls, "move", "-1", "before").stdout.split())

    async def judge() -> None:
        source, target = map(open_store, urls)
        await source.open()
        await target.open()
        assert sum([await is_active(source), await is_active(target)]) <= 1
        (ending,) = await asyncio.gather(
            act(what, End(source, "source"), End(target, "target")), return_exceptions=True
        )
        known = {"move": "was moved", "abort": "nothing to abort"}[what]
        assert not isinstance(ending, BaseException) or known in str(ending)
        ended, other = (source, target) if what == "abort" else (target, source)
        assert [await is_active(ended), await is_active(other)] == [True, False]
        assert await contents(ended) == wanted
        await source.close()
        await target.close()

    for call in itertools.count():
        for when in ("before", "after"):
            anew(tmp_path)
            if what == "abort":
                assert program(*urls, "move", str(seal), "before").returncode == -9
            done = program(*urls, what, str(call), when)
            if done.returncode == 0:
                assert call > 8, done.stdout
                return
            assert done.returncode == -9, done.stderr
            asyncio.run(judge())


def anew(folder: Path) -> None:
    """The source as it was, and no target."""
    for file in [*folder.glob("source.db*"), *folder.glob("target.db*")]:
        file.unlink()
    shutil.copy(folder / "kept.db", folder / "source.db")


def program(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", mover_program.__name__, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


# -- two movers, and other things that go wrong ----------------------------------------------------------------------


class Halting(Counter):
    """Waits before one of its calls until it is let go."""

    def __init__(self, call: int) -> None:
        super().__init__(-1, "", die)
        self.is_there = asyncio.Event()
        self.let_go = asyncio.Event()
        self._place = call

    async def run(self, name: str, call: Callable[..., Any], *args: Any) -> Any:
        if len(self.calls) == self._place:
            self.is_there.set()
            await self.let_go.wait()
        return await super().run(name, call, *args)

    async def begin(self, what: str, source: Any, target: Any) -> asyncio.Future[Any]:
        """Do it up to that call, or to its end."""
        doing = asyncio.ensure_future(act(what, *ends(source, target, self)))
        waiting = asyncio.ensure_future(self.is_there.wait())
        await asyncio.wait({doing, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        return doing

    async def end(self, doing: asyncio.Future[Any]) -> None:
        self.let_go.set()
        await asyncio.gather(doing, return_exceptions=True)


async def one_place(source: Any, target: Any, wanted: dict[str, Any]) -> None:
    """The app is in one place at most, and whoever comes later can end the move either way."""
    assert sum([await is_active(source), await is_active(target)]) <= 1
    for what in ("abort", "move", "move"):
        await asyncio.gather(act(what, End(source, "source"), End(target, "target")), return_exceptions=True)
    assert [await is_active(source), await is_active(target)] == [False, True]
    assert {id: whole.head for id, whole in (await contents(target)).items()} == wanted


async def heads(store: Any) -> dict[str, Any]:
    return {id: whole.head for id, whole in (await contents(store, finished=False)).items()}


@pytest.mark.parametrize("second", ["move", "abort"])
def test_two_movers_at_once_leave_the_app_in_one_place(second: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first stops before each of its calls in turn, while the second does all of its work, and then a node too."""
    monkeypatch.setattr(moving, "PAGE_INSTANCES", 2)

    async def play(call: int) -> bool:
        source, target = MemoryStore(), MemoryStore(shard_count=4)
        await filled(source)
        wanted, first = await heads(source), Halting(call)
        doing = await first.begin("move", source, target)
        if doing.done():
            return False
        await asyncio.gather(act(second, End(source, "source"), End(target, "target")), return_exceptions=True)
        if await is_active(target):
            await forgotten(target, "i0")
            del wanted["i0"]
        await first.end(doing)
        await one_place(source, target, wanted)
        return True

    assert dies_everywhere(play) > 15


async def forgotten(store: Any, id: str) -> None:
    """A node ends the instance, and it is purged."""
    shards = await store.shards(APP)
    leases = await store.acquire(APP, "node")
    lease = next(lease for lease in leases if lease.shard == shards[shard_number(id, len(shards))])
    head = await store.head(lease.shard, id)
    ended = replace(head, status=Status.COMPLETED, finished=9, sequence=head.sequence + 1)
    turn = Turn(lease.shard, id, head.execution, head.generation, head.sequence, 9, ended)
    await store.commit([Batch(lease, [turn])], "t")
    await store.release(leases)
    assert await store.purge(lease.shard, [id]) == [id]


def test_who_takes_a_move_back_is_not_overtaken_by_who_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both stop before each of their calls in turn; then the mover goes on to its end, then the other."""
    monkeypatch.setattr(moving, "PAGE_INSTANCES", 2)

    async def play(call: int, other: int) -> tuple[bool, bool]:
        source, target = MemoryStore(), MemoryStore(shard_count=4)
        await filled(source)
        wanted, mover, taker = await heads(source), Halting(call), Halting(other)
        moved = await mover.begin("move", source, target)
        taken = await taker.begin("abort", source, target)
        halted = not moved.done(), not taken.done()
        await mover.end(moved)
        await taker.end(taken)
        await one_place(source, target, wanted)
        return halted

    both = 0
    for call in itertools.count():
        for other in itertools.count():
            moved, taken = asyncio.run(play(call, other))
            both += moved and taken
            if not (moved and taken):
                break
        if not moved:
            break
    assert both > 200


def test_ids_that_others_have_are_refused_and_the_move_can_be_taken_back() -> None:
    async def play() -> None:
        source, target = await filled(MemoryStore()), MemoryStore()
        (shard,) = await target.shards(APP)
        head = Head("i1", APP, "other", Status.PENDING, "x", 1, 0, 5, 5)
        await target.create(shard, Creation(head, Mail("i1", "m", EVENT, 5)))
        away, there = End(source, "a"), End(target, "b")
        assert (await plan(away, there, APP, finished=False)).conflicts == ("i1",)
        with pytest.raises(InvalidArgument, match=r"b has other instances .* 'i1'.*--abort"):
            await move(away, there, APP, finished=False, token="t", now=5)
        assert await abort(away, there, APP) == 2
        assert list(await contents(target)) == ["i1"]
        assert (await target.head(shard, "i1")).execution == "x"
        assert [await is_active(source), await is_active(target)] == [True, True]

    asyncio.run(play())


def test_what_runs_is_not_moved() -> None:
    async def play() -> None:
        source, target = (
            await filled(MemoryStore(shard_count=4, lease_seconds=60.0)),
            await filled(MemoryStore(4, 60.0)),
        )
        away, there = End(source, "a"), End(target, "b")
        leases = await source.acquire(APP, "node", limit=1)
        with pytest.raises(StoreOwned, match="node runs app 'shop'"):
            await move(away, there, APP, finished=False, token="t", now=5)
        await source.release(leases)
        await source.beat(APP, Member("lives"), [])
        for call in (move(away, there, APP, finished=False, token="t", now=5), plan(away, there, APP, finished=False)):
            with pytest.raises(StoreOwned, match="lives runs app"):
                await call
        await source.leave(APP, "lives")
        await target.acquire(APP, "node", limit=1)
        with pytest.raises(StoreOwned, match="node runs app"):
            await move(away, there, APP, finished=False, token="t", now=5)
        assert (await source.reserved(APP), await target.reserved(APP)) == (None, None), "it may go on"

    asyncio.run(play())


def test_a_move_goes_to_where_it_was_begun_to(tmp_path: Path) -> None:
    async def play() -> None:
        source, target, other = await filled(MemoryStore()), MemoryStore(), MemoryStore()
        away, there, elsewhere = End(source, "a"), End(target, "b"), End(other, "c")
        with pytest.raises(InvalidArgument, match="one store"):
            await move(away, End(source, "alias"), APP, finished=False, token="t", now=5)
        assert await source.reserved(APP) is None
        with pytest.raises(InvalidArgument, match="no app 'bank'; there are: shop"):
            await move(away, there, "bank", finished=False, token="t", now=5)
        with pytest.raises(InvalidArgument, match="nothing to abort"):
            await abort(away, there, APP)
        await source.reserve(APP, Reservation("t", Side.SOURCE, "b", 5))
        for call in (move(away, elsewhere, APP, finished=False, token="u", now=5), abort(away, elsewhere, APP)):
            with pytest.raises(AppReserved, match="being moved away to b"):
                await call
        with pytest.raises(AppReserved, match="being moved away to b"):
            await move(there, away, APP, finished=False, token="u", now=5) if await target.shards(APP) else None
        await move(away, there, APP, finished=False, token="u", now=5)
        for call in (abort(away, there, APP), plan(away, there, APP, finished=False)):
            with pytest.raises(AppReserved, match="was moved to b"):
                await call
        with pytest.raises(AppReserved, match="was moved to b"):
            await move(there, away, APP, finished=False, token="v", now=5)
        assert await target.reserved(APP) is None, "a moved app gets no second life where it was, and goes on"
        assert await is_active(target)

    asyncio.run(play())


def test_nothing_changes_hands_if_the_target_does_not_hold_what_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(MemoryStore):
        async def take_in(self, app: str, by: str, wholes: Any) -> list[str]:
            return await super().take_in(app, by, wholes[:1])

    async def play() -> None:
        source, target = await filled(MemoryStore()), Forgetful()
        away, there = End(source, "a"), End(target, "b")
        with pytest.raises(StoreCorrupt, match="nothing has changed hands"):
            await move(away, there, APP, finished=False, token="t", now=5)
        await abort(away, there, APP)
        assert await is_active(source)

    asyncio.run(play())


def test_an_older_copy_of_a_moved_store_is_noticed(tmp_path: Path) -> None:
    async def play() -> None:
        file = tmp_path / "source.db"
        source = await filled(open_store(f"sqlite:///{file}"))
        await source.close()
        shutil.copy(file, tmp_path / "copy.db")
        await source.open()
        await move(End(source, "a"), End(MemoryStore(), "b"), APP, finished=False, token="t", now=5)
        await source.close()
        shutil.copy(tmp_path / "copy.db", file)
        again = open_store(f"sqlite:///{file}")
        await again.open()
        with pytest.raises(StoreRolledBack):
            await again.acquire(APP, "node")
        await again.close()

    asyncio.run(play())


# -- what changes on the way -----------------------------------------------------------------------------------------


def test_a_call_that_a_node_had_claimed_is_held_and_claims_stay_where_they_can() -> None:
    head = Head("a", APP, "buy", Status.RUNNING, "e", 1, 1, 5, 5)
    claimed = Wait(1, "activity", "f", 5, attempt=2, state=CLAIMED, token="t", claimed_by="n", claimed_until=9)
    names = [f"key {number}" for number in range(64)]
    whole = moving.Whole(head, waits=[claimed, Wait(2, "timer", "", 5)], claims=[Claim(name, 9) for name in names])
    moved, dropped = as_moved(whole, 8)
    assert moved.waits == [
        replace(claimed, state=HELD, token=None, claimed_by=None, claimed_until=None),
        whole.waits[1],
    ]
    kept = [name for name in names if shard_number(name, 8) == shard_number("a", 8)]
    assert ([claim.name for claim in moved.claims], dropped) == (kept, 64 - len(kept))
    assert as_moved(whole, 1)[1] == 0
    assert Moved(instances=1) != Moved()


def test_the_app_of_these_tests_leaves_what_it_says() -> None:
    assert set(moving_app.LEFT) <= set(RESULTS)
