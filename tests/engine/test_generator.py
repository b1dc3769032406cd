"""Dapr's generator style: the same machinery under Dapr's names."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

import pytest

from perdure import (
    App,
    Retry,
    WorkflowCancelled,
    WorkflowContext,
    WorkflowFailed,
    activity_context,
    when_all,
    when_any,
)


@pytest.fixture
def app(url):
    return App("dapr", store=url)


@pytest.fixture
def double(app):
    @app.activity
    def double(x: int) -> int:
        return 2 * x

    return double


def outcome(run, app, workflow, *args):
    async def scenario():
        async with app:
            return await (await workflow.start(*args)).result(30)

    return run(scenario)


def test_activities_by_function_and_by_name(run, app, double):
    @app.workflow
    def main(ctx: WorkflowContext, x: int):
        first = yield ctx.call_activity(double, input=x)
        second = yield ctx.call_activity("double", input=first)
        return [first, second]

    assert outcome(run, app, main, 1) == [2, 4]


def test_when_all_and_when_any(run, app, double):
    @app.workflow
    def main(ctx: WorkflowContext):
        every = yield when_all([ctx.call_activity(double, input=x) for x in range(5)])
        slow = ctx.create_timer(timedelta(hours=1))
        fast = ctx.call_activity(double, input=21)
        first = yield when_any([slow, fast])
        return [every, first is fast, first.get_result(), slow.is_complete, fast.is_failed]

    assert outcome(run, app, main) == [[0, 2, 4, 6, 8], True, 42, False, False]


def test_children_with_ids(run, app, double):
    @app.workflow
    def child(ctx: WorkflowContext, x: int):
        found = yield ctx.call_activity(double, input=x)
        return [ctx.instance_id, ctx.workflow_name, found]

    @app.workflow
    def main(ctx: WorkflowContext):
        one = yield ctx.call_child_workflow(child, input=1, instance_id="kid")
        other = yield ctx.call_child_workflow("child", input=2)
        return [one, other[1:]]

    assert outcome(run, app, main) == [["kid", "child", 2], ["child", 4]]


def test_timers_by_duration_and_by_time(run, app):
    @app.workflow
    def main(ctx: WorkflowContext):
        before = ctx.current_utc_datetime
        yield ctx.create_timer(timedelta(seconds=0.1))
        yield ctx.create_timer(ctx.current_utc_datetime + timedelta(seconds=0.1))
        yield ctx.create_timer(before)
        return (ctx.current_utc_datetime - before).total_seconds()

    assert 0.2 <= outcome(run, app, main) < 3


def test_external_events_with_and_without_timeout(run, app):
    @app.workflow
    def main(ctx: WorkflowContext):
        first = yield ctx.wait_for_external_event("Approval")
        try:
            yield ctx.wait_for_external_event("never", timeout=timedelta(seconds=0.05))
        except TimeoutError:
            return [first, "late"]
        return []

    async def scenario():
        async with app:
            handle = await main.start()
            await handle.raise_event("approval", {"by": "Ada"})
            return await handle.result(30)

    assert run(scenario) == [{"by": "Ada"}, "late"]


def test_errors_of_tasks_are_thrown_into_the_generator(run, app):
    @app.activity
    def fail() -> None:
        raise ValueError("no")

    @app.workflow
    def main(ctx: WorkflowContext):
        task = ctx.call_activity(fail)
        try:
            yield task
        except Exception as error:  # noqa: BLE001 whatever it is, it has a name
            return [type(error).__name__, task.is_failed, type(task.get_exception()).__name__]
        return []

    assert outcome(run, app, main) == ["ActivityFailed", True, "ActivityFailed"]


def test_retry_policy(run, app):
    @app.activity
    def flaky() -> int:
        if activity_context().attempt < 3:
            raise ValueError
        return activity_context().attempt

    @app.workflow
    def main(ctx: WorkflowContext):
        return (yield ctx.call_activity(flaky, retry_policy=Retry(max_attempts=3, initial_interval=0.01)))

    assert outcome(run, app, main) == 3


def test_custom_status_and_continue_as_new_keeping_events(run, app):
    @app.workflow
    def main(ctx: WorkflowContext, total: int):
        ctx.set_custom_status(f"total {total}")
        value = yield ctx.wait_for_external_event("add")
        if value is None:
            return total
        ctx.continue_as_new(total + value, save_events=True)

    async def scenario():
        async with app:
            handle = await main.start(0)
            for value in (1, 2, 3, None):
                await handle.raise_event("add", value)
            return await handle.result(30), (await handle.state()).custom_status

    assert run(scenario) == (6, "total 6")


def test_replay_in_the_middle_and_is_replaying(run, app, double):
    seen = []

    @app.workflow
    def main(ctx: WorkflowContext, x: int):
        seen.append(ctx.is_replaying)
        first = yield ctx.call_activity(double, input=x)
        second = yield ctx.wait_for_external_event("go")
        return [first, second]

    async def scenario():
        async with app:
            await main.with_options(id="x").start(4)
            await asyncio.sleep(0.1)
        async with app:
            handle = app.client.get("x")
            await handle.raise_event("go", 1)
            return await handle.result(30)

    assert run(scenario) == [8, 1]
    assert seen == [False, True]


def test_what_is_yielded_must_be_a_task(run, app):
    @app.workflow
    def main(ctx: WorkflowContext):
        yield 5

    with pytest.raises(WorkflowFailed, match="yield tasks"):
        outcome(run, app, main)


def test_cancel_reaches_the_generator(run, app):
    undone = []

    @app.activity
    def undo() -> None:
        undone.append(1)

    @app.workflow
    def main(ctx: WorkflowContext):
        try:
            yield ctx.create_timer(timedelta(hours=1))
        except asyncio.CancelledError:
            yield ctx.call_activity(undo)
            raise

    async def scenario():
        async with app:
            handle = await main.start()
            await handle.cancel()
            with pytest.raises(WorkflowCancelled):
                await handle.result(30)

    run(scenario)
    assert undone == [1]


def test_a_call_that_nobody_yields_still_runs(run, app):
    ran = asyncio.Event()

    @app.activity
    async def note() -> None:
        ran.set()

    @app.workflow
    def main(ctx: WorkflowContext):
        ctx.call_activity(note)
        return 1
        yield

    async def scenario():
        async with app:
            result = await (await main.start()).result(30)
            await asyncio.wait_for(ran.wait(), 30)
            return result

    assert run(scenario) == 1


def test_wrong_arguments_of_the_context_are_named(run, app):
    @app.workflow
    def timer(ctx: WorkflowContext, x: int):
        yield ctx.create_timer(5)

    @app.workflow
    def event(ctx: WorkflowContext, x: int):
        yield ctx.wait_for_external_event("")

    for workflow, words in ((timer, "fire_at is a int; give a datetime, or a timedelta"), (event, "an event's name")):
        with pytest.raises(WorkflowFailed, match=words):
            outcome(run, app, workflow, 1)


def test_a_generator_that_is_put_away_unwinds_and_does_nothing(run, app, double, monkeypatch):
    seen, unraisable = [], []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)

    @app.workflow
    def main(ctx: WorkflowContext):
        try:
            return (yield ctx.wait_for_external_event("go"))
        finally:
            seen.append(ctx.is_replaying)
            try:
                yield ctx.call_activity(double, input=1)
            finally:
                ctx.set_custom_status("undone")

    async def scenario():
        async with app:
            await main.with_options(id="x").start()
        async with app:
            handle = app.client.get("x")
            assert (await handle.state()).custom_status is None
            await handle.raise_event("go", 1)
            return await handle.result(30)

    assert run(scenario) == 1
    assert seen == [True, False]
    assert unraisable == []
