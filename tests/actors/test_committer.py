"""Group commit over a real store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from perdure.actors.committer import TURNS_PER_COMMIT_MAX, Committer
from perdure.actors.docket import Docket
from perdure.clock import SystemClock
from perdure.codec import NOTHING
from perdure.errors import StoreFull, StoreUnavailable
from perdure.stores.contract import Append, Batch, Head, Lease, Outcome, Status, Stream, Turn, Wait
from perdure.stores.memory import MemoryStore


def a_start(lease: Lease, id: str) -> Turn:
    head = Head(id, lease.app, "main", Status.RUNNING, "e", 1, 1, 0, 0)
    return Turn(lease.shard, id, "e", 1, None, 5, head=head)


class Slow(MemoryStore):
    """A store whose commits take a while, and sometimes answer with silence though they were written."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.silent = 0

    async def commit(self, batches: Sequence[Batch], token: str) -> list[Outcome]:
        await asyncio.sleep(0.01)
        self.sizes.append(sum(len(batch.turns) + len(batch.appends) for batch in batches))
        outcomes = await super().commit(batches, token)
        if self.silent:
            self.silent -= 1
            raise StoreUnavailable("no answer")
        return outcomes


async def committing(store: Slow) -> tuple[Docket, Lease, list[str]]:
    lost: list[str] = []
    await store.open()
    await store.shards("shop")
    (lease,) = await store.acquire("shop", "me")
    return Committer(store, SystemClock()).docket(lease, lost.append), lease, lost


def test_turns_that_wait_share_the_next_commit(run):
    async def scenario():
        store, outcomes = Slow(), []
        docket, lease, _ = await committing(store)
        for number in range(100):
            docket.submit(a_start(lease, f"i{number}"), outcomes.append)
            if number == 0:
                await asyncio.sleep(0.005)
        await docket.stop(5)
        return store.sizes, outcomes

    sizes, outcomes = run(scenario)
    assert sizes == [1, 99]
    assert outcomes == [Outcome.COMMITTED] * 100


def test_one_commit_is_bounded(run):
    async def scenario():
        store, outcomes = Slow(), []
        docket, lease, _ = await committing(store)
        for number in range(TURNS_PER_COMMIT_MAX * 2 + 1):
            docket.submit(a_start(lease, f"i{number}"), outcomes.append)
        await docket.stop(5)
        return store.sizes, len(outcomes)

    sizes, count = run(scenario)
    assert sizes == [TURNS_PER_COMMIT_MAX, TURNS_PER_COMMIT_MAX, 1]
    assert count == TURNS_PER_COMMIT_MAX * 2 + 1


def test_each_turn_hears_its_own_outcome(run):
    async def scenario():
        store, outcomes = Slow(), {}
        docket, lease, _ = await committing(store)
        docket.submit(a_start(lease, "a"), lambda outcome: outcomes.update(a=outcome))
        await asyncio.sleep(0.05)
        docket.submit(replace(a_start(lease, "a"), execution="e2"), lambda outcome: outcomes.update(again=outcome))
        docket.submit(a_start(lease, "b"), lambda outcome: outcomes.update(b=outcome))
        stale = replace(a_start(lease, "c"), expected=7)
        docket.submit(stale, lambda outcome: outcomes.update(stale=outcome))
        await docket.stop(5)
        return outcomes

    assert run(scenario) == {
        "a": Outcome.COMMITTED,
        "again": Outcome.EXISTS,
        "b": Outcome.COMMITTED,
        "stale": Outcome.CONFLICT,
    }


def test_a_commit_that_was_written_and_not_answered_is_not_written_again(run):
    async def scenario():
        store, outcomes = Slow(), []
        docket, lease, lost = await committing(store)
        store.silent = 1
        docket.submit(a_start(lease, "a"), outcomes.append)
        await docket.stop(5)
        return store.sizes, outcomes, lost

    assert run(scenario) == ([1], [Outcome.COMMITTED], [])


def test_a_lost_lease_is_told_once_and_nothing_more_is_written(run):
    async def scenario():
        store, outcomes = Slow(), []
        docket, lease, lost = await committing(store)
        await store.release([lease])
        docket.submit(a_start(lease, "a"), outcomes.append)
        await asyncio.sleep(0.05)
        docket.submit(a_start(lease, "b"), outcomes.append)
        await asyncio.sleep(0.05)
        await docket.stop(5)
        return outcomes, len(lost), store.sizes

    assert run(scenario) == ([], 1, [1])


class Failing(Slow):
    """A store on a disk with errors: no commit is written until it is repaired."""

    repaired = False

    async def commit(self, batches: Sequence[Batch], token: str) -> list[Outcome]:
        if self.repaired:
            return await super().commit(batches, token)
        self.sizes.append(sum(len(batch.turns) for batch in batches))
        raise StoreUnavailable("disk I/O error")


@pytest.mark.long
def test_a_store_that_fails_again_and_again_is_asked_less_and_less(run):
    async def scenario():
        store, outcomes = Failing(), []
        docket, lease, lost = await committing(store)
        docket.submit(a_start(lease, "i"), outcomes.append)
        await asyncio.sleep(0.7)
        tries = len(store.sizes)
        store.repaired = True
        await docket.stop(5)
        return tries, outcomes, lost

    tries, outcomes, lost = run(scenario)
    assert 3 <= tries <= 10
    assert (outcomes, lost) == ([Outcome.COMMITTED], [])


def an_append(lease: Lease, id: str, after: int = 0, number: int = 1) -> Append:
    return Append(lease.shard, id, "e", 1, number, 1, after, 5, [NOTHING, NOTHING])


def with_calls(turn: Turn) -> Turn:
    turn.opened = [Wait(number, "activity", "work", 5, attempt=1) for number in (1, 2)]
    return turn


def test_items_join_the_commit_of_turns(run):
    async def scenario():
        store, outcomes = Slow(), []
        docket, lease, _ = await committing(store)
        docket.submit(with_calls(a_start(lease, "a")), outcomes.append)
        await asyncio.sleep(0.005)
        docket.submit(a_start(lease, "b"), outcomes.append)
        for number in (1, 2, 3):
            docket.append(an_append(lease, "a", number=number), outcomes.append)
        await docket.stop(5)
        return store.sizes, outcomes

    sizes, outcomes = run(scenario)
    assert sizes == [1, 4]
    assert outcomes == [*[Outcome.COMMITTED] * 4, Outcome.CONFLICT]


def test_items_that_were_written_and_not_answered_are_not_written_again(run):
    async def scenario():
        store, outcomes = Slow(), []
        docket, lease, lost = await committing(store)
        docket.submit(with_calls(a_start(lease, "a")), outcomes.append)
        await asyncio.sleep(0.05)
        store.silent = 1
        docket.append(an_append(lease, "a"), outcomes.append)
        docket.append(replace(an_append(lease, "a", number=2), attempt=2), outcomes.append)
        await docket.stop(5)
        return store.sizes, outcomes, lost, await store.streams(lease.shard, "a")

    sizes, outcomes, lost, streams = run(scenario)
    assert (sizes, lost) == ([1, 2], [])
    assert outcomes == [Outcome.COMMITTED, Outcome.COMMITTED, Outcome.CONFLICT]
    assert streams == [Stream(1, 1, "work", 2, True)]


def test_an_append_that_the_store_stumbles_over_harms_no_other(run):
    class Stumbling(Slow):
        async def commit(self, batches: Sequence[Batch], token: str) -> list[Outcome]:
            if any(append.number == 2 for batch in batches for append in batch.appends):
                raise TypeError("a defect")
            return await super().commit(batches, token)

    async def scenario():
        store, outcomes = Stumbling(), {}
        docket, lease, _ = await committing(store)
        docket.submit(with_calls(a_start(lease, "a")), lambda _: None)
        await asyncio.sleep(0.05)
        docket.submit(a_start(lease, "b"), lambda outcome: outcomes.update(b=outcome))
        for number in (1, 2):
            docket.append(
                an_append(lease, "a", number=number), lambda outcome, number=number: outcomes.update({number: outcome})
            )
        await docket.stop(5)
        return outcomes

    assert run(scenario) == {1: Outcome.COMMITTED, "b": Outcome.COMMITTED, 2: Outcome.UNWRITABLE}


def test_items_wait_for_a_full_store_to_have_room_and_are_not_refused(run):
    class Full(Slow):
        is_full = False

        async def commit(self, batches: Sequence[Batch], token: str) -> list[Outcome]:
            if self.is_full:
                self.is_full = False
                raise StoreFull("no room")
            return await super().commit(batches, token)

    async def scenario():
        store, outcomes = Full(), {}
        docket, lease, _ = await committing(store)
        docket.submit(with_calls(a_start(lease, "a")), lambda _: None)
        await asyncio.sleep(0.05)
        store.is_full = True
        docket.submit(a_start(lease, "b"), lambda outcome: outcomes.update(b=outcome))
        docket.append(an_append(lease, "a"), lambda outcome: outcomes.update(items=outcome))
        await docket.stop(5)
        return outcomes

    assert run(scenario) == {"b": Outcome.NO_ROOM, "items": Outcome.COMMITTED}


def test_a_docket_that_is_put_away_while_an_outcome_is_unknown_comes_to_an_end(run):
    async def scenario():
        store, outcomes = Slow(), []
        store.silent = 1
        docket, lease, lost = await committing(store)
        docket.submit(a_start(lease, "written"), outcomes.append)
        await asyncio.sleep(0.005)
        async with asyncio.timeout(30):
            await docket.abandon()
        return outcomes, lost, await store.head(lease.shard, "written")

    outcomes, lost, head = run(scenario)
    assert (outcomes, lost) == ([], [])
    assert head is not None


class Late(Slow):
    """A store whose first commit arrives when its sender has given it up and has asked for its outcome."""

    async def commit(self, batches: Sequence[Batch], token: str) -> list[Outcome]:
        if self.sizes:
            return await super().commit(batches, token)
        self.sizes.append(0)
        self._held_back = list(batches), token
        raise StoreUnavailable("no answer")

    async def settle_unknown(self, lease: Lease, token: str) -> bool:
        happened = await super().settle_unknown(lease, token)
        await MemoryStore.commit(self, *self._held_back)
        return happened


def test_a_commit_that_arrives_after_it_was_given_up_is_recognised_when_it_is_repeated(run):
    async def scenario():
        store, outcomes = Late(), []
        docket, lease, lost = await committing(store)
        docket.submit(a_start(lease, "a"), outcomes.append)
        docket.submit(a_start(lease, "b"), outcomes.append)
        await docket.stop(5)
        return outcomes, lost

    assert run(scenario) == ([Outcome.COMMITTED] * 2, [])


def test_what_another_start_took_meanwhile_is_refused_all_the_same(run):
    async def scenario():
        store, outcomes = Late(), []
        docket, lease, _ = await committing(store)
        another = a_start(lease, "a")
        head = replace(another.head, execution="another")
        await MemoryStore.commit(store, [Batch(lease, [replace(another, execution="another", head=head)])], "t")
        docket.submit(a_start(lease, "a"), outcomes.append)
        await docket.stop(5)
        return outcomes

    assert run(scenario) == [Outcome.EXISTS]
