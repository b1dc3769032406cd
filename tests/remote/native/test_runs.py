"""A run that a worker keeps live goes on from where history is, and from nowhere else, whatever happens on the way."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from perdure import App, continue_as_new, wait_for_event
from perdure.codec import encode
from perdure.history.events import ActivityCompleted, ActivityScheduled, EventRaised, RunResumed, RunSuspended
from perdure.remote.native.codec import NATIVE
from tests.remote.native.desk import Bench, Desk, play

app = App("shop")


@app.activity
async def add(number: int) -> int:
    return number + 1


@app.workflow
async def chain(steps: int) -> int:
    total = 0
    for _ in range(steps):
        total = await add(total)
    return total


@app.workflow
async def listens(count: int) -> list[int]:
    return [await wait_for_event("word", int) for _ in range(count)]


@app.workflow
async def generations(left: int) -> int:
    await add(left)
    if left:
        continue_as_new(left - 1)
    return left


def done(number: int, value: int) -> ActivityCompleted:
    return ActivityCompleted(number=number, result=encode(value))


def word(number: int) -> EventRaised:
    return EventRaised(name="word", data=encode(number), key=str(number))


Scenario = Callable[[Desk, Bench], Awaitable[None]]


def began(name: str, argument: int, scenario: Scenario, **more: Any) -> tuple[Desk, Bench]:
    """A run after its first turn, which the scenario goes on with."""
    bench = Bench(app, "one", **more)
    desk: list[Desk] = []

    async def within() -> None:
        desk.append(Desk(app, name, argument))
        desk[0].connect(bench)
        await desk[0].turn(bench, desk[0].start)
        await scenario(desk[0], bench)

    play(within)
    return desk[0], bench


def test_a_turn_brings_only_what_is_new() -> None:
    async def scenario(desk: Desk, bench: Bench) -> None:
        for number in range(1, 51):
            await desk.turn(bench, done(number, number))

    desk, bench = began("chain", 50, scenario)
    assert desk.output == 50
    assert bench.executor.opened == 1
    assert bench.sizes == [0] * 51
    assert len(bench.runs) == 0  # because it is over


def test_a_turn_that_is_taken_back_leaves_no_run_ahead_of_history() -> None:
    async def scenario(desk: Desk, bench: Bench) -> None:
        desk.advance(word(1))
        (lost,) = await bench.take()
        assert desk.run.retract()
        assert not desk.hear(lost)
        await desk.turn(bench, word(2))
        await desk.turn(bench, word(3))

    desk, bench = began("listens", 2, scenario)
    assert desk.output == [2, 3]
    assert bench.executor.opened == 2


def test_a_turn_whose_lease_ran_out_is_taken_again_from_what_history_holds() -> None:
    async def scenario(desk: Desk, bench: Bench) -> None:
        desk.advance(word(1))
        (late,) = await bench.take()
        work = desk.dispatcher.abandon(NATIVE.read_turn_result(late).token)
        assert work is not None
        desk.dispatcher.submit(work)
        assert not desk.hear(late)
        await desk.converse(bench)
        await desk.turn(bench, word(2))

    desk, bench = began("listens", 2, scenario)
    assert desk.output == [1, 2]
    assert bench.executor.opened == 2


def test_a_stream_that_is_lost_with_a_turn_moves_the_run_to_another_worker() -> None:
    other = Bench(app, "two")

    async def scenario(desk: Desk, bench: Bench) -> None:
        desk.advance(done(1, 1))
        await bench.take()  # the answer is lost with the stream
        desk.dispatcher.disconnect(bench.stream)
        desk.connect(other)
        await desk.converse(other)
        await desk.turn(other, done(2, 2))

    desk, _ = began("chain", 2, scenario)
    assert desk.output == 2
    assert other.executor.opened == 1
    assert other.sizes[0] > 0
    assert other.sizes[1:] == [0]


def test_a_stream_that_is_begun_again_by_the_same_worker_does_not_trust_what_it_has() -> None:
    async def scenario(desk: Desk, bench: Bench) -> None:
        desk.advance(done(1, 1))
        await bench.take()
        desk.dispatcher.disconnect(bench.stream)
        again = Bench(app, "one")
        again.runs, again.executor = bench.runs, bench.executor
        desk.connect(again)
        await desk.converse(again)
        await desk.turn(again, done(2, 2))

    desk, bench = began("chain", 2, scenario)
    assert desk.output == 2
    assert bench.executor.opened == 2


def test_an_answer_that_comes_twice_counts_once() -> None:
    async def scenario(desk: Desk, bench: Bench) -> None:
        desk.advance(done(1, 1))
        (answer,) = await bench.take()
        assert desk.hear(answer)
        assert not desk.hear(answer)
        await desk.turn(bench, done(2, 2))

    desk, bench = began("chain", 2, scenario)
    assert desk.output == 2
    assert [len([e for e in turn if isinstance(e, ActivityScheduled)]) for turn in desk.events] == [1, 1, 0]
    assert bench.executor.opened == 1


def test_what_came_while_a_run_was_suspended_is_part_of_the_past_and_seen_by_its_code() -> None:
    async def scenario(desk: Desk, bench: Bench) -> None:
        await desk.turn(bench, word(1), RunSuspended())
        await desk.turn(bench, word(2))
        assert bench.sizes == [0]  # because no worker is asked meanwhile
        await desk.turn(bench, word(3), RunResumed())

    desk, bench = began("listens", 3, scenario)
    assert desk.output == [1, 2, 3]
    assert bench.executor.opened == 1


def test_a_suspended_run_whose_code_was_put_away_is_replayed_with_the_same_gate() -> None:
    async def scenario(desk: Desk, bench: Bench) -> None:
        await desk.turn(bench, word(1), RunSuspended())
        bench.runs.close()
        await desk.turn(bench, word(2))
        await desk.turn(bench, RunResumed(), word(3))

    desk, bench = began("listens", 3, scenario)
    assert desk.output == [1, 2, 3]
    assert bench.executor.opened == 2


def test_a_run_that_was_put_away_for_others_is_asked_for_in_full() -> None:
    async def scenario(desk: Desk, bench: Bench) -> None:
        other = Desk(app, "chain", 9)
        other.head = other.head.__class__(**{**_fields(other.head), "id": "i-2"})
        other.run = other._opened()
        other.connect(bench)
        await other.turn(bench, other.start)
        assert len(bench.runs) == 1
        desk.dispatcher.connect(bench.stream)
        await desk.turn(bench, done(1, 1))
        await desk.turn(bench, done(2, 2))

    desk, bench = began("chain", 2, scenario, runs_max=1)
    assert desk.output == 2
    assert bench.executor.opened == 3


def test_another_generation_is_another_run() -> None:
    async def scenario(desk: Desk, bench: Bench) -> None:
        for generation in (2, 3):
            await desk.turn(bench, done(1, 0))
            assert len(bench.runs) == 0
            desk.run.close()
            desk.start = desk.start.__class__(
                name="generations", input=encode(3 - generation), execution=desk.head.execution, generation=generation
            )
            desk.waits.clear()
            desk.run = desk._opened()
            assert desk.run.identity.generation == generation
            await desk.turn(bench, desk.start)
        await desk.turn(bench, done(1, 0))

    desk, bench = began("generations", 2, scenario)
    assert desk.output == 0
    assert bench.executor.opened == 3


def test_code_that_is_another_now_stalls_and_is_put_away() -> None:
    other = App("shop")

    @other.workflow(name="chain")
    async def another(steps: int) -> int:
        return len(await wait_for_event("nothing", str)) + steps

    changed = Bench(other, "two")

    async def scenario(desk: Desk, bench: Bench) -> None:
        desk.dispatcher.disconnect(bench.stream)
        desk.connect(changed)
        await desk.turn(changed, done(1, 1))

    desk, _ = began("chain", 2, scenario)
    assert desk.stall is not None
    assert desk.stall.reason == "non-determinism"
    assert len(changed.runs) == 0


@pytest.mark.parametrize("seed", range(60))
def test_any_mishaps_end_with_the_same_history(seed: int) -> None:
    """Answers lost and repeated, turns taken back, streams broken, code put away, suspensions: in any order."""
    chance = random.Random(seed)
    count = 12

    async def scenario(desk: Desk, bench: Bench) -> None:
        waiting = list(range(1, count + 1))
        suspended = False
        while waiting or suspended:
            batch: list[Any] = [word(waiting.pop(0)) for _ in range(min(len(waiting), chance.randint(0, 2)))]
            if suspended or chance.random() < 0.2:
                batch.insert(chance.randint(0, len(batch)), RunResumed() if suspended else RunSuspended())
                suspended = not suspended
            if not batch:
                continue
            was = desk.gate.shut, list(desk.gate.held)
            desk.advance(*batch)
            for answer in await bench.take():
                mishap = chance.random()
                if mishap < 0.15 and desk.run.retract():
                    desk.gate.shut, desk.gate.held = was
                    desk.advance(*batch)
                elif mishap < 0.3:
                    desk.dispatcher.disconnect(bench.stream)
                    again = Bench(app, "again")
                    if chance.random() < 0.5:
                        again.runs, again.executor = bench.runs, bench.executor
                    bench = desk.connect(again)
                else:
                    desk.hear(answer)
                    if mishap < 0.5:
                        desk.hear(answer)
            await desk.converse(bench)
            if chance.random() < 0.15:
                bench.runs.close()
        assert desk.stall is None

    desk, _ = began("listens", count, scenario)
    assert desk.output == list(range(1, count + 1))


def _fields(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}
