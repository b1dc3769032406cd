"""What a disturbance does to a run, and which disturbances a run leads to."""

import asyncio
from typing import Any

import pytest

from perdure import App, Retry, activity_context, on_update, set_state, wait_for_event
from perdure.engine.operations import Operations
from perdure.sdk.run import Run
from perdure.testing import Environment
from perdure.testing.faults import Fault
from perdure.testing.trial import MODES, Disturbance, Moment, Trial, every_commit, every_step

app = App("trial")


@app.activity
async def work(name: str) -> str:
    await asyncio.sleep(0)
    return f"{name}, attempt {activity_context().attempt}"


@app.workflow
async def both() -> list[str]:
    first, second = await asyncio.gather(work("a"), work("b"))
    return [first, second, str(await wait_for_event("go"))]


@app.activity(retry=Retry(max_attempts=3, initial_interval=60))
async def flaky() -> str:
    raise AssertionError("it is stubbed")


@app.workflow
async def patient() -> str:
    return await flaky()


@app.workflow
async def child() -> str:
    return await work("kid")


@app.workflow
async def parent() -> str:
    return await child()


@app.workflow
async def listening_parent() -> str:
    said = await child()
    await wait_for_event("go")
    return said


@app.workflow
async def counter() -> int:
    total = 0

    @on_update("add")
    def add(number: int) -> int:
        nonlocal total
        total += number
        set_state(total)
        return total

    await wait_for_event("stop")
    return total


def _run(disturbance: Disturbance) -> tuple[Trial, list[str], list[str]]:
    """The trial after a run, the result of its workflow, and the activities in the order in which they began."""
    trial = Trial(disturbance)
    with Environment(app, trial=trial) as env:

        async def scenario():
            handle = await both.start()
            await handle.raise_event("go", 1)
            return await handle.result()

        result = env.run(scenario())
        return trial, result, [call.args[0] for call in env.calls(work)]


RESULT = ["a, attempt 1", "b, attempt 1", "1"]


def test_an_undisturbed_run_has_its_moments_in_order_and_repeats_them():
    trial, result, _ = _run(Disturbance("nothing"))
    assert result == RESULT
    assert [moment.kind for moment in trial.moments].count("await") == 2
    assert trial.moments[0].kind == "commit"
    assert "opens 1:work" in trial.moments[0].told
    assert _run(Disturbance("nothing"))[0].moments == trial.moments


@pytest.mark.parametrize("mode", MODES)
def test_the_result_is_the_same_at_every_crash_point(mode):
    moments = _run(Disturbance("nothing"))[0].moments
    for disturbance in MODES[mode](moments):
        assert _run(disturbance)[1] == RESULT, disturbance


def test_a_crash_begins_another_life():
    moments = _run(Disturbance("nothing"))[0].moments
    last = len(moments) - 1  # nothing is left to commit after it
    for disturbance in every_step(moments):
        if disturbance.moment < last and disturbance.fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
            story = _run(disturbance)[0].story
            lines = [line for line in story if "crash" in line]
            awaited = moments[disturbance.moment].kind == "await"
            assert len(lines) == (0 if awaited else 1), disturbance
            assert [line for line in story if "epoch 2" in line], disturbance


def test_every_commit_leaves_reads_and_awaits_out():
    moments = [
        Moment("commit", "commit"),
        Moment("load", "load"),
        Moment("await", "work goes on"),
        Moment("create", "c"),
    ]
    commits, steps = every_commit(moments), every_step(moments)
    assert [(one.moment, one.fault) for one in commits if one.fault] == [
        (0, Fault.CRASH_BEFORE),
        (0, Fault.CRASH_AFTER),
        (0, Fault.ANSWER_LOST),
        (3, Fault.CRASH_BEFORE),
        (3, Fault.CRASH_AFTER),
    ]
    assert {one.moment for one in steps if one.fault} == {0, 1, 2, 3}
    assert set(commits) < set(steps)


def test_evictions_replay_at_each_step(monkeypatch):
    replays = []
    replay = Run.replay

    def counted(self, *args):
        replays.append(args)
        return replay(self, *args)

    monkeypatch.setattr(Run, "replay", counted)
    _run(Disturbance("nothing"))
    assert not replays
    assert _run(Disturbance("evictions", evicts=True))[1] == RESULT
    assert len(replays) > 3


def test_commands_are_repeated_and_taken_once(monkeypatch):
    keys = []
    command = Operations.command

    async def counted(self, id, execution, event, key):
        keys.append(key)
        await command(self, id, execution, event, key)

    monkeypatch.setattr(Operations, "command", counted)
    assert _run(Disturbance("repeated", repeats=True))[1] == RESULT
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_list_of_answers_is_the_same_at_every_crash_point():
    def attempts(disturbance: Disturbance) -> tuple[Trial, str, list[int]]:
        trial = Trial(disturbance)
        with Environment(app, trial=trial, strict=True) as env:
            env.stub(work, side_effect=[ConnectionError("down"), "up"])
            env.stub(flaky, side_effect=[KeyError("once"), ConnectionError("twice"), "up"])

            async def scenario():
                handle = await patient.start()
                return await handle.result()

            return trial, env.run(scenario()), [attempt.number for attempt in env.calls(flaky)[0].attempts]

    trial, result, numbers = attempts(Disturbance("nothing"))
    assert (result, numbers) == ("up", [1, 2, 3])
    repeated = 0
    for disturbance in every_step(trial.moments):
        _, again, seen = attempts(disturbance)
        assert (again, sorted(set(seen))) == ("up", [1, 2, 3]), disturbance
        repeated += len(seen) > 3
    assert repeated >= 3


def test_an_update_is_answered_once_at_every_crash_point():
    def ask(disturbance: Disturbance) -> tuple[Trial, Any]:
        trial = Trial(disturbance)
        with Environment(app, trial=trial) as env:

            async def scenario():
                handle = await counter.start()
                answers = [await handle.update("add", 5), await handle.update("add", 7)]
                state = await handle.query(int)
                await handle.raise_event("stop")
                return [*answers, state, await handle.result()]

            return trial, env.run(scenario())

    trial, answers = ask(Disturbance("nothing"))
    assert answers == [5, 12, 12, 12]
    for disturbance in every_step(trial.moments):
        assert ask(disturbance)[1] == answers, disturbance


def test_a_rerun_and_a_purge_happen_once_at_every_crash_point():
    def steer(disturbance: Disturbance) -> tuple[Trial, list[Any]]:
        trial = Trial(disturbance)
        with Environment(app, trial=trial) as env:

            async def scenario():
                handle = await parent.with_options(id="A").start()
                first = await handle.result()
                again = await handle.rerun(1, id="B")
                second = await again.result()
                return [first, second, await handle.purge(recursive=False), [one.id async for one in env.client.list()]]

            return trial, env.run(scenario())

    trial, told = steer(Disturbance("nothing"))
    assert told[:3] == ["kid, attempt 1", "kid, attempt 1", 1]
    assert "B" in told[3]
    assert "A" not in told[3]
    for disturbance in every_step(trial.moments):
        assert steer(disturbance)[1] == told, disturbance


def test_what_is_delivered_twice_is_noticed_and_dropped():
    with Environment(app, trial=Trial(Disturbance("repeated", repeats=True))) as env:

        async def scenario():
            handle = await listening_parent.with_options(id="A").start()
            await env.sleep(seconds=10)
            life = env._lives._life
            (shard,) = life.engine.owned.values()
            assert shard.counts["stale"] + shard.counts["duplicate"] > 0
            (loaded,) = await env._lives.backend.look().load(shard.shard, ["A"])
            assert not loaded.mail
            await handle.raise_event("go")
            return await handle.result()

        assert env.run(scenario()) == "kid, attempt 1"


def test_another_order_is_really_another():
    orders = {tuple(_run(Disturbance("order", order=order))[2]) for order in range(1, 33)}
    assert orders == {("a", "b"), ("b", "a")}
