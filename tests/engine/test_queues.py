"""Queues: limits, turns, rates, waiting starts, starts that are one; and nothing lost or too many after SIGKILL."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from perdure import (
    App,
    Client,
    Queue,
    Rate,
    Retry,
    WorkflowCancelled,
    WorkflowTerminated,
    continue_as_new,
    wait_for_event,
)
from perdure.errors import AlreadyRegistered, InvalidArgument
from perdure.stores.memory import MemoryStore
from tests.engine import queue_app
from tests.engine.test_kill import kill, wait_for


@pytest.fixture
def app(url):
    return App("queues", store=url)


class Room:
    """How many are inside, and how many were at most, by key."""

    def __init__(self) -> None:
        self.inside: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self.order: list[str] = []

    async def visit(self, key: str, seconds: float = 0.01) -> None:
        self.order.append(key)
        for name in (key, ""):
            self.inside[name] += 1
            self.peak[name] = max(self.peak[name], self.inside[name])
        await asyncio.sleep(seconds)
        for name in (key, ""):
            self.inside[name] -= 1


def test_no_more_calls_run_than_a_queue_and_a_key_allow(run, app):
    room = Room()

    @app.activity(queue=Queue("doors", concurrency=3, per_key=2))
    async def visit(key: str) -> None:
        await room.visit(key)

    @app.workflow
    async def main() -> None:
        await asyncio.gather(*(visit.with_options(key=key)(key) for key in "aaaaaaaabbbbc"))

    async def scenario():
        async with app:
            handles = [await main.start() for _ in range(4)]
            await asyncio.gather(*(handle.result() for handle in handles))
            assert await app.client.queues() == []

    run(scenario)
    assert room.peak[""] == 3
    assert max(room.peak["a"], room.peak["b"]) == 2
    assert len(room.order) == 52


def test_without_a_queue_as_many_run_as_ask(run, app):
    inside = []
    all_are = asyncio.Event()

    @app.activity
    async def visit(number: int) -> None:
        inside.append(number)
        if len(inside) == 20:
            all_are.set()
        await all_are.wait()

    @app.workflow
    async def main() -> None:
        await asyncio.gather(*(visit(number) for number in range(20)))

    async def scenario():
        async with app:
            await (await main.start()).result()

    run(scenario)
    assert sorted(inside) == list(range(20))


def test_priority_goes_first_and_keys_take_turns(run, app):
    room = Room()

    @app.activity(queue=Queue("one", concurrency=1))
    async def visit(key: str) -> None:
        await room.visit(key)

    @app.workflow
    async def main() -> None:
        calls = [visit.with_options(key="flood")("flood") for _ in range(6)]
        calls.append(visit.with_options(key="small")("small"))
        calls.append(visit.with_options(key="urgent", priority=9)("urgent"))
        await asyncio.gather(*calls)

    async def scenario():
        async with app:
            await (await main.start()).result()

    run(scenario)
    assert room.order.index("urgent") == 0
    assert room.order.index("small") <= 2


def test_a_call_that_is_tried_again_holds_no_slot_meanwhile(run, app):
    tries = []

    @app.activity(queue=Queue("one", concurrency=1), retry=Retry(max_attempts=2, initial_interval=0.3))
    async def work(name: str) -> str:
        tries.append(name)
        if tries.count(name) == 1 and name == "bad":
            raise ValueError(name)
        return name

    @app.workflow
    async def main() -> list[str]:
        return list(await asyncio.gather(work("bad"), work("good")))

    async def scenario():
        async with app:
            return await (await main.start()).result()

    assert run(scenario) == ["bad", "good"]
    assert tries == ["bad", "good", "bad"]


@pytest.mark.long
def test_a_rate_holds_over_a_restart(run, app, url):
    begun = time.monotonic()
    starts = []

    def made():
        app = App("queues", store=url, drain_seconds=0.0)

        @app.activity(queue=Queue("api", rate=Rate(3, per=1.0)))
        async def call() -> None:
            starts.append(time.monotonic())

        @app.workflow
        async def main() -> None:
            await asyncio.gather(*(call() for _ in range(7)))

        return app, main

    async def scenario():
        first, main = made()
        async with first:
            handle = await main.start()
            while len(starts) < 3:
                await asyncio.sleep(0.01)
        second, _ = made()
        async with second:
            await second.client.get(handle.id).result()

    run(scenario)
    assert len(starts) == 7
    # from the beginning on, because a call may begin long after it was let through
    assert all(at - begun > place // 3 * 0.99 for place, at in enumerate(starts))


def test_explain_says_for_whose_slot_a_call_waits(run, app):
    held = asyncio.Event()

    @app.activity(queue=Queue("desk", concurrency=1))
    async def hold() -> None:
        await held.wait()

    @app.workflow
    async def main() -> None:
        await hold.with_options(key="k")()

    async def scenario():
        async with app:
            first = await main.with_options(id="first").start()
            while not (await app.client.queues()) or not (await app.client.queues())[0].running:
                await asyncio.sleep(0.01)
            second = await main.with_options(id="second").start()
            told = await second.explain()
            (state,) = await app.client.queues()
            held.set()
            await first.result()
            await second.result()
            return told, state

    told, state = run(scenario)
    assert told.cause == "queue"
    assert "queue desk for 'k', number 1 of 1 (1 at once); slots are held by hold of first" in told.sentence
    assert told.since is not None
    assert (state.waiting, state.running, state.concurrency) == (1, 1, 1)


def test_a_workflow_is_pending_until_it_has_a_slot_and_keeps_it_over_continue_as_new(run, app):
    room = Room()

    @app.activity
    async def visit() -> None:
        await room.visit("")

    @app.workflow(queue=Queue("one", concurrency=1))
    async def main(rounds: int) -> int:
        await visit()
        if rounds:
            continue_as_new(rounds - 1)
        return 7

    async def scenario():
        async with app:
            handles = [await main.start(2) for _ in range(4)]
            await asyncio.sleep(0.01)
            statuses = [(await handle.state()).status for handle in handles]
            results = await asyncio.gather(*(handle.result() for handle in handles))
            assert await app.client.queues() == []
            return statuses, results

    statuses, results = run(scenario)
    assert statuses[1:] == ["pending"] * 3
    assert results == [7] * 4
    assert room.peak[""] == 2  # because the room counts each visit under its key "" twice


@pytest.mark.parametrize("store", ["sqlite", "memory of several shards"])
def test_a_start_by_name_is_in_the_queue_that_the_code_declares(run, url, store):
    room = Room()
    app = App("queues", store=url if store == "sqlite" else MemoryStore(4, 60.0))

    @app.activity
    async def visit(number: int) -> None:
        await room.visit(str(number))

    @app.workflow(queue=Queue("one", concurrency=1))
    async def main(number: int) -> int:
        await visit(number)
        return number

    @app.workflow
    async def parent() -> list[int]:
        return await asyncio.gather(*(main(number) for number in range(2)))

    async def scenario():
        async with app:
            by_name = app.client.workflow("main")
            handles = [await by_name.start(number) for number in range(3)]
            handles.append(await by_name.with_options(at=datetime.now(UTC) + timedelta(seconds=0.1)).start(3))
            handles.append(await main.start(4))
            family = await parent.start()
            await asyncio.sleep(0.005)
            results = await asyncio.gather(*(handle.result() for handle in handles))
            assert await family.result() == [0, 1]
            assert await app.client.queues() == []
            return results

    assert run(scenario) == [0, 1, 2, 3, 4]
    assert room.peak[""] == 1
    assert len(room.order) == 7


def test_a_start_by_name_that_waits_can_be_cancelled_and_outlives_its_worker(run, url):
    def app() -> App:
        app = App("queues", store=url)

        @app.workflow(queue=Queue("one", concurrency=1))
        async def main() -> None:
            await wait_for_event("end")

        return app

    async def scenario():
        async with app() as first:
            by_name = first.client.workflow("main")
            ids = [(await by_name.start()).id for _ in range(3)]
            await first.client.get(ids[1]).cancel()
            with pytest.raises(WorkflowCancelled):
                await first.client.get(ids[1]).result()
            assert (await first.client.get(ids[2]).explain()).cause == "queue"
        async with app() as second:
            for id in (ids[0], ids[2]):
                await second.client.get(id).raise_event("end")
                await second.client.get(id).result()

    run(scenario)


def test_a_waiting_workflow_can_be_cancelled_terminated_and_purged(run, app):
    begun = []

    @app.workflow
    async def main(number: int) -> None:
        begun.append(number)
        await asyncio.sleep(0.3)

    async def scenario():
        queued = main.with_options(queue=Queue("one", concurrency=1))
        async with app:
            first, second, third, fourth = [await queued.start(number) for number in range(4)]
            await second.cancel()
            await third.terminate()
            with pytest.raises(WorkflowCancelled):
                await second.result()
            with pytest.raises(WorkflowTerminated):
                await third.result()
            assert await second.purge() == 1
            await first.result()
            await fourth.result()

    run(scenario)
    assert begun == [0, 3]


def test_children_wait_in_queues_too(run, app):
    room = Room()

    @app.activity
    async def visit() -> None:
        await room.visit("child")

    @app.workflow(queue=Queue("kids", concurrency=2))
    async def child(number: int) -> int:
        await visit()
        return number

    @app.workflow
    async def main() -> int:
        return sum(await asyncio.gather(*(child(number) for number in range(8))))

    async def scenario():
        async with app:
            return await (await main.start()).result()

    assert run(scenario) == 28
    assert room.peak["child"] == 2


def test_a_suspended_run_begins_no_attempt_and_asks_again_when_it_is_resumed(run, app):
    gate = asyncio.Event()
    ran = []

    @app.activity(queue=Queue("one", concurrency=1))
    async def work(name: str) -> None:
        ran.append(name)
        if name == "first":
            await gate.wait()

    @app.workflow
    async def main(name: str) -> None:
        await work(name)

    async def scenario():
        async with app:
            first = await main.start("first")
            second, third = await main.start("second"), await main.start("third")
            await second.suspend()
            gate.set()
            await asyncio.gather(first.result(), third.result())
            assert ran == ["first", "third"]
            await second.resume()
            await second.result()

    run(scenario)
    assert ran == ["first", "third", "second"]


def test_a_rerun_waits_for_the_slots_that_its_first_run_waited_for(run, app):
    room = Room()

    @app.activity(queue=Queue("doors", concurrency=1))
    async def visit(key: str) -> str:
        await room.visit("call", 0.03)
        return key

    @app.activity
    async def short() -> None:
        return None

    @app.workflow
    async def child(key: str) -> str:
        await room.visit("child", 0.03)
        return key

    @app.workflow(queue=Queue("mains", concurrency=1))
    async def main(key: str) -> list[str]:
        await room.visit("main", 0.01)
        calls = [asyncio.create_task(visit(key)) for _ in range(3)]
        children = [
            asyncio.create_task(child.with_options(queue=Queue("children", concurrency=1))(key)) for _ in range(3)
        ]
        await short()
        await short()
        return await asyncio.gather(*calls, *children)

    async def scenario():
        async with app:
            handles = [await main.start(key) for key in "ab"]
            first = [await handle.result() for handle in handles]
            peak, room.peak = room.peak, Counter()
            (*_, last) = [e.number async for e in handles[0].history() if getattr(e, "name", "") == "short"]
            again = [await handle.rerun(last) for handle in handles]
            second = [await handle.result() for handle in again]
            return first, second, peak, await app.client.queues()

    first, second, peak, left = run(scenario)
    assert first == second == [["a"] * 6, ["b"] * 6]
    assert [peak[key] for key in ("main", "call", "child")] == [1, 1, 1]
    assert [room.peak[key] for key in ("main", "call", "child")] == [1, 1, 1]
    assert left == []


def test_starts_of_one_key_within_the_window_are_one(run, app, url):
    @app.workflow
    async def main(number: int) -> int:
        return number

    async def scenario():
        once = main.with_options(dedup_key="order", dedup_window=60)
        briefly = main.with_options(dedup_key="brief", dedup_window=0.2)
        async with app:
            first = await once.start(1)
            again = await asyncio.gather(*(once.start(number) for number in range(2, 12)))
            assert {handle.id for handle in again} == {first.id}
            async with Client(url, app_id="queues") as client:
                other = client.workflow("main").with_options(dedup_key="order", dedup_window=60)
                assert (await other.start(5)).id == first.id
            assert await first.result() == 1
            assert (await once.start(3)).id == first.id
            brief = await briefly.start(3)
            await asyncio.sleep(0.3)
            later = await briefly.start(4)
            assert later.id != brief.id
            return await later.result(), (await main.with_options(dedup_key="b", dedup_window=9).start(5)).id

    result, other = run(scenario)
    assert result == 4
    assert other


def test_options_that_were_given_before_hold(run, app):
    """One who adds a tag to a start that is to be one would start it twice if its key were forgotten."""

    @app.workflow(queue=Queue("one", concurrency=2))
    async def charge(order: str) -> str:
        return order

    async def scenario():
        async with app:
            once = charge.with_options(dedup_key="order-7", dedup_window=3600, run_timeout=60)
            untyped = app.client.workflow("charge").with_options(dedup_key="order-7", dedup_window=3600)
            handles = [
                await once.with_options(tags={"by": "hook"}, priority=3).start("7"),
                await once.with_options(tags={"by": "hand"}).start("7"),
                await untyped.with_options(tags={"by": "name"}).start("7"),
            ]
            with pytest.raises(InvalidArgument, match="exclude"):
                once.with_options(id="x")
            return {handle.id for handle in handles}, (await handles[0].state()).tags

    ids, tags = run(scenario)
    assert len(ids) == 1
    assert tags == {"by": "hook"}


def test_a_purged_instance_holds_its_key_no_longer(run, app):
    @app.workflow
    async def main(number: int) -> int:
        return number

    async def scenario():
        once = main.with_options(dedup_key="order", dedup_window=60)
        async with app:
            first = await once.start(1)
            await first.result()
            await first.purge()
            return await (await once.start(2)).result()

    assert run(scenario) == 2


@pytest.mark.long
def test_debounced_starts_are_one_with_the_last_input_after_quiet(run, app, url):
    @app.workflow
    async def main(number: int) -> int:
        return number

    async def started(client, key):
        """What was started without a quiet time in between; None if the machine itself made one."""
        quiet = main.with_options(dedup_key=key, debounce=0.3)
        elsewhere = client.workflow("main").with_options(dedup_key=key, debounce=0.3)
        handles, began, ended = [], [], []
        for number in (0, 1, 2, 3, 4, 5, 99):
            began.append(time.monotonic())
            handles.append(await (elsewhere if number == 99 else quiet).start(number))
            ended.append(time.monotonic())
            if number != 99:
                await asyncio.sleep(0.1)
        was_quiet = any(after - before > 0.28 for before, after in zip(began, ended[1:], strict=False))
        return None if was_quiet else (handles, began[-1])

    async def scenario():
        async with app, Client(url, app_id="queues") as client:
            for key in itertools.count():
                if (found := await started(client, f"cart-{key}")) is not None:
                    break
            handles, last = found
            assert {handle.id for handle in handles} == {handles[0].id}
            assert {await handle.result() for handle in handles} == {99}
            passed = time.monotonic() - last
            again = await main.with_options(dedup_key=f"cart-{key}", debounce=0.3).start(1)
            assert again.id != handles[0].id
            return passed

    assert run(scenario) > 0.29


def test_a_debounced_start_is_put_off_no_longer_than_its_bound(run, app):
    @app.workflow
    async def main(number: int) -> int:
        return number

    async def scenario():
        quiet = main.with_options(dedup_key="cart", debounce=0.3, debounce_max=0.6)
        async with app:
            ids = set()
            while len(ids) < 2:
                ids.add((await quiet.start(1)).id)
                await asyncio.sleep(0.05)

    run(scenario)


@pytest.mark.long
def test_a_start_at_a_time_by_another_process_is_not_missed(run, app, url):
    @app.workflow
    async def main() -> float:
        return 1.0

    async def scenario():
        async with app, Client(url, app_id="queues") as client:
            began = time.monotonic()
            at = datetime.now(UTC) + timedelta(seconds=1)
            await (await client.workflow("main").with_options(at=at).start()).result()
            return time.monotonic() - began

    assert run(scenario) > 0.95


@pytest.mark.parametrize(
    "make",
    [
        lambda: Queue("none"),
        lambda: Queue("", concurrency=1),
        lambda: Queue("q", concurrency=0),
        lambda: Queue("q", per_key=True),
        lambda: Queue("q", rate=5),  # type: ignore[arg-type]
        lambda: Rate(0, per=1),
        lambda: Rate(1, per=0),
        lambda: Rate(100_000, per=1),
    ],
)
def test_limits_that_cannot_be(make):
    with pytest.raises(InvalidArgument):
        make()


@pytest.mark.parametrize(
    "options",
    [
        {"key": "a"},
        {"priority": 1},
        {"queue": "name"},
        {"queue": Queue("q", concurrency=1), "priority": 1.5},
        {"queue": Queue("q", concurrency=1), "key": "x" * 300},
        {"dedup_key": "a"},
        {"dedup_window": 3},
        {"debounce": 3},
        {"dedup_key": "a", "dedup_window": 3, "debounce": 3},
        {"dedup_key": "a", "dedup_window": 3, "debounce_max": 3},
        {"dedup_key": "a", "dedup_window": 3, "id": "x"},
        {"dedup_key": "a", "dedup_window": -1},
        {"dedup_key": "a", "debounce": 3, "at": datetime(2030, 1, 1, tzinfo=UTC)},
    ],
)
def test_options_that_contradict_each_other(app, options):
    @app.workflow
    async def main() -> None:
        return None

    with pytest.raises(InvalidArgument):
        main.with_options(**options)


def test_two_queues_of_one_name_have_the_same_limits(app):
    @app.activity(queue=Queue("q", concurrency=1))
    async def one() -> None: ...

    with pytest.raises(AlreadyRegistered):

        @app.activity(queue=Queue("q", concurrency=2))
        async def two() -> None: ...


# -- SIGKILL ----------------------------------------------------------------------------------------------------


def begin(directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, queue_app.__file__, str(directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


@pytest.mark.long
@pytest.mark.timeout(120)
def test_no_slot_is_lost_or_given_twice_when_the_owner_is_killed_again_and_again(tmp_path):
    dice = random.Random(5)
    for _ in range(6):
        process = begin(tmp_path)
        wait_for(process, "ready")
        time.sleep(dice.uniform(0.05, 0.4))
        kill(process)
    process = begin(tmp_path)
    try:
        wait_for(process, "finished")
    finally:
        kill(process)
    lines = [line.split() for line in (tmp_path / "ledger").read_text().splitlines()]
    inside: Counter[tuple[str, str]] = Counter()
    pid = ""
    for owner, _, what, queue, key in lines:
        if owner != pid:
            inside.clear()  # because those of the dead owner run no more
            pid = owner
        inside[queue, key] += 1 if what == "begin" else -1
        assert sum(count for (name, _), count in inside.items() if name == "lanes") <= 4
        assert inside["lanes", key] <= 2
        assert inside["single", "-"] <= 1
    starts = [float(at) for _, at, what, queue, _ in lines if (what, queue) == ("begin", "metered")]
    assert len(starts) >= 12
    assert all(later - first > 0.8 for first, later in zip(starts, starts[4:], strict=False))
    assert len({owner for owner, *_ in lines}) >= 3
