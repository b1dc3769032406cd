"""A run's own affairs: generations, status, determinism, what a replay repeats and what it does not."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import closing

import pytest

import perdure
from perdure import App, continue_as_new, set_status, wait_for_event, workflow_context


@pytest.fixture
def app(url):
    return App("runs", store=url)


def test_continue_as_new_starts_afresh_under_the_same_id(run, app):
    @app.activity
    async def note(x: int) -> int:
        return x

    @app.workflow
    async def count(n: int, done: int = 0) -> list[int]:
        await note(n)
        if n == 0:
            return [done, workflow_context().run]
        return continue_as_new(n - 1, done=done + 1)

    async def scenario():
        async with app:
            handle = await count.with_options(tags={"a": "b"}).start(20)
            result = await handle.result(30)
            state = await handle.state()
            events = [type(event).__name__ async for event in handle.history()]
            return result, state, events

    result, state, events = run(scenario)
    assert result == [20, 21]
    assert state.run == 21
    assert state.tags == {"a": "b"}
    assert events.count("RunStarted") == 1
    assert events.count("ActivityScheduled") == 1


@pytest.mark.parametrize("keep", [True, False])
def test_continue_as_new_with_and_without_unconsumed_events(run, app, keep):
    @app.workflow
    async def listen(again: bool) -> list[object]:
        await wait_for_event("go")
        if again:
            continue_as_new(False, keep_events=keep)
        try:
            async with asyncio.timeout(0.2):
                return [await wait_for_event("n", int), await wait_for_event("n", int)]
        except TimeoutError:
            return ["none"]

    async def scenario():
        async with app:
            handle = await listen.start(True)
            await handle.raise_event("n", 1)
            await handle.raise_event("n", 2)
            await handle.raise_event("go")
            while (await handle.state()).run == 1:
                await asyncio.sleep(0.01)
            await handle.raise_event("go")
            return await handle.result(30)

    assert run(scenario) == ([1, 2] if keep else ["none"])


def test_events_keep_their_order_over_generations_however_they_meet_the_turns(run, app):
    @app.workflow
    async def collect(items: list[int]) -> list[int]:
        items = [*items, await wait_for_event("item", int)]
        return items if len(items) == 40 else continue_as_new(items, keep_events=True)

    async def scenario():
        async with app:
            handle = await collect.start([])
            raising = []
            for item in range(40):
                raising.append(asyncio.ensure_future(handle.raise_event("item", item)))
                await asyncio.sleep(0.001 * (item % 3))
            await asyncio.gather(*raising)
            items = await handle.result(30)
            return items, [type(event).__name__ async for event in handle.history()]

    items, events = run(scenario)
    assert items == list(range(40))
    assert "EventRaised" not in events[: events.index("RunStarted")]


def test_an_eternal_loop_can_be_steered_over_generations(run, app):
    @app.workflow
    async def monitor(total: int) -> int:
        value = await wait_for_event("add", int)
        if value < 0:
            return total
        return continue_as_new(total + value, keep_events=True)

    async def scenario():
        async with app:
            handle = await monitor.start(0)
            for value in [*range(30), -1]:
                await handle.raise_event("add", value)
            return await handle.result(30)

    assert run(scenario) == sum(range(30))


def test_custom_status_is_seen_while_it_runs_and_after(run, app):
    @app.workflow
    async def work() -> None:
        set_status({"done": 1})
        await wait_for_event("go")
        set_status(["all"])

    async def scenario():
        async with app:
            handle = await work.start()
            during = (await handle.state()).custom_status
            await handle.raise_event("go")
            await handle.result(30)
            return during, (await handle.state()).custom_status

    assert run(scenario) == ({"done": 1}, ["all"])


def test_time_chance_and_ids_are_the_same_in_a_cold_replay(run, app):
    seen = []

    @app.workflow
    async def draw() -> list[str]:
        drawn = [str(perdure.now()), str(perdure.random().random()), str(perdure.uuid4())]
        await asyncio.sleep(0.01)
        drawn += [str(perdure.now()), str(perdure.random().randint(0, 10**9)), str(perdure.uuid4())]
        seen.append(list(drawn))
        await wait_for_event("go")
        return drawn

    async def scenario():
        async with app:
            await draw.with_options(id="x").start()
            await asyncio.sleep(0.1)
        async with app:
            handle = app.client.get("x")
            await handle.raise_event("go")
            return await handle.result(30)

    result = run(scenario)
    assert len(seen) == 2
    assert seen[0] == seen[1] == result
    assert len(set(result)) == 6


def test_two_runs_draw_differently_and_outside_it_is_ordinary(run, app):
    @app.workflow
    async def draw(again: bool) -> str:
        set_status(str(perdure.uuid4()))
        if again:
            await wait_for_event("go")
            continue_as_new(False)
        return str(perdure.uuid4())

    async def scenario():
        async with app:
            one, other = await draw.start(True), await draw.start(True)
            first = (await one.state()).custom_status
            await one.raise_event("go")
            await other.raise_event("go")
            return first, await one.result(30), await other.result(30)

    assert len(set(run(scenario))) == 3
    assert perdure.uuid4() != perdure.uuid4()
    assert perdure.now().tzinfo is not None
    assert perdure.random().random() != perdure.random().random()


def test_the_logger_says_a_line_once_though_the_code_runs_again(run, app, caplog):
    caplog.set_level(logging.INFO, logger="perdure.workflow")
    passes = []

    @app.workflow
    async def talk() -> None:
        passes.append(workflow_context().is_replaying)
        workflow_context().logger.info("before")
        await wait_for_event("go")
        workflow_context().logger.info("after")

    async def scenario():
        async with app:
            await talk.with_options(id="x").start()
        for _ in range(2):
            async with app:
                await app.client.get("x").raise_event("other")
        async with app:
            handle = app.client.get("x")
            await handle.raise_event("go")
            await handle.result(30)

    run(scenario)
    lines = [
        (record.message, record.instance, record.run)
        for record in caplog.records
        if record.name.startswith("perdure.workflow")
    ]
    assert lines == [("before", "x", 1), ("after", "x", 1)]
    assert passes == [False, True, True, True]


def test_the_context_says_who_it_is(run, app):
    @app.workflow
    async def who() -> list[object]:
        context = workflow_context()
        return [
            context.app_id,
            context.instance_id,
            context.name,
            context.run,
            context.parent_id,
            context.tags,
            context.execution_id,
            context.started == perdure.now(),
        ]

    async def scenario():
        async with app:
            handle = await who.with_options(id="me", tags={"k": "v"}).start()
            return await handle.result(30), handle.execution_id

    told, execution = run(scenario)
    assert told == ["runs", "me", "who", 1, None, {"k": "v"}, execution, True]


def test_no_cleanup_runs_because_a_run_left_memory(run, app):
    cleaned = []

    @app.activity
    async def compensate() -> None:
        cleaned.append("activity")

    @app.workflow
    async def careful() -> str:
        try:
            return await wait_for_event("go")
        finally:
            await compensate()

    async def scenario():
        async with app:
            await careful.with_options(id="x").start()
        async with app:
            await app.client.get("x").raise_event("other")
        assert cleaned == []
        async with app:
            handle = app.client.get("x")
            await handle.raise_event("go", "fine")
            return await handle.result(30)

    assert run(scenario) == "fine"
    assert cleaned == ["activity"]


def test_idle_runs_leave_memory_and_come_back(run, url):
    app = App("runs", store=url, activations_max=2)
    passes = []

    @app.workflow
    async def wait(x: int) -> int:
        passes.append(x)
        return x + await wait_for_event("go", int)

    async def scenario():
        async with app:
            handles = [await wait.start(x) for x in range(20)]
            for handle in handles:
                await handle.raise_event("go", 100)
            return [await handle.result(30) for handle in handles]

    assert run(scenario) == [100 + x for x in range(20)]
    assert len(passes) > 30


def test_mail_that_a_run_has_taken_is_deleted(run, tmp_path):
    """No law of the simulator sees it any more, because a start or event that is heard twice is known for one."""
    app = App("tidy", store=f"sqlite:///{tmp_path}/tidy.db")

    @app.workflow
    async def child(n: int) -> int:
        return await wait_for_event("number", int) + n

    @app.workflow
    async def parent(rounds: int) -> int:
        value = await child.with_options(id=f"kid-{rounds}")(rounds)
        return value if not rounds else continue_as_new(rounds - 1)

    async def scenario():
        async with app:
            handle = await parent.start(2)
            for rounds in (2, 1, 0):
                kid = app.client.get(f"kid-{rounds}")
                while not [s async for s in app.client.list(text=kid.id)]:
                    await asyncio.sleep(0.01)
                await kid.raise_event("number", 5)
            return await handle.result(30)

    assert run(scenario) == 5
    with closing(sqlite3.connect(tmp_path / "tidy.db")) as connection:
        assert connection.execute("select instance, key from perdure_mail").fetchall() == []
