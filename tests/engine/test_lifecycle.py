"""Cancel, suspend, terminate, purge, rerun; starting later, once, and not for too long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from perdure import (
    ActivityFailed,
    App,
    Client,
    InstanceExists,
    InstanceNotFound,
    Retry,
    WorkflowCancelled,
    WorkflowFailed,
    WorkflowTerminated,
    activity_context,
    continue_as_new,
    wait_for_event,
)
from perdure.errors import EventNotRerunnable, InstanceNotFinished
from perdure.sdk.handle import Handle
from perdure.stores.contract import Head
from perdure.stores.memory import MemoryStore


@pytest.fixture
def app(url):
    return App("life", store=url)


# -- cancel --------------------------------------------------------------------------------------------------


def test_cancel_runs_compensations_and_ends_cancelled(run, app):
    undone = []

    @app.activity
    async def undo(what: str) -> None:
        undone.append(what)

    @app.workflow
    async def book() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await undo("hotel")
            await undo("flight")
            raise

    async def scenario():
        async with app:
            handle = await book.start()
            await handle.cancel("changed my mind")
            with pytest.raises(WorkflowCancelled):
                await handle.result(30)
            return (await handle.state()).status

    assert run(scenario) == "canceled"
    assert undone == ["hotel", "flight"]


def test_a_workflow_may_decline_to_be_cancelled(run, app):
    @app.workflow
    async def stubborn() -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError as error:
            return f"no: {error}"
        return ""

    async def scenario():
        async with app:
            handle = await stubborn.start()
            await handle.cancel("please")
            return await handle.result(30)

    assert run(scenario) == "no: please"


def test_compensation_goes_on_after_a_crash_in_its_middle(run, app):
    undone = []

    @app.activity
    async def undo(what: str) -> None:
        undone.append(what)
        if what == "flight" and len(undone) == 2:
            await asyncio.sleep(3600)

    @app.workflow
    async def book() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await undo("hotel")
            await undo("flight")

    async def scenario():
        app._settings["drain_seconds"] = 0.0
        async with app:
            handle = await book.with_options(id="b").start()
            await handle.cancel()
            await asyncio.sleep(0.2)
        async with app:
            with pytest.raises(WorkflowCancelled):
                await app.client.get("b").result(30)

    run(scenario)
    assert undone == ["hotel", "flight", "flight"]


def test_cancel_before_a_delayed_start_ends_it(run, app):
    ran = []

    @app.workflow
    async def later() -> None:
        ran.append(1)

    async def scenario():
        async with app:
            handle = await later.with_options(at=datetime.now(UTC) + timedelta(hours=1)).start()
            await handle.cancel()
            with pytest.raises(WorkflowCancelled):
                await handle.result(30)

    run(scenario)
    assert ran == []


# -- suspend and resume --------------------------------------------------------------------------------------


def test_suspended_code_stands_still_and_then_sees_everything_in_order(run, app):
    @app.workflow
    async def listen() -> list[int]:
        return [await wait_for_event("n", int) for _ in range(3)]

    async def scenario():
        async with app:
            handle = await listen.with_options(id="x").start()
            await handle.raise_event("n", 1)
            await handle.suspend("look first")
            await handle.raise_event("n", 2)
            await handle.raise_event("n", 3)
            with pytest.raises(TimeoutError):
                await handle.result(0.2)
            state = await handle.state()
            told = await handle.explain()
            await handle.resume()
            return await handle.result(30), state, told

    result, state, told = run(scenario)
    assert result == [1, 2, 3]
    assert state.status == "running"
    assert state.suspended.reason == "look first"
    assert "was suspended (look first)" in told.sentence
    assert told.cause == "suspended"
    assert told.command == "perdure resume x"


def test_suspended_keeps_results_and_starts_no_new_attempt(run, app):
    attempts, go = [], asyncio.Event()

    @app.activity
    async def slow() -> str:
        await go.wait()
        return "slow"

    @app.activity(retry=Retry(initial_interval=0.05, backoff=1.0))
    async def flaky() -> str:
        attempts.append(activity_context().attempt)
        if len(attempts) < 3:
            raise ValueError
        return "flaky"

    @app.workflow
    async def main() -> list[str]:
        return list(await asyncio.gather(slow(), flaky()))

    async def scenario():
        async with app:
            handle = await main.start()
            while not attempts:
                await asyncio.sleep(0.001)
            await handle.suspend()
            made = len(attempts)
            go.set()
            await asyncio.sleep(0.4)
            names = [type(event).__name__ async for event in handle.history()]
            assert "ActivityCompleted" in names
            assert len(attempts) <= made + 1
            await handle.resume()
            return await handle.result(30)

    assert run(scenario) == ["slow", "flaky"]
    assert attempts == [1, 2, 3]


def test_suspension_survives_a_cold_start_and_timers_that_fell_due(run, app):
    @app.workflow
    async def nap() -> list[str]:
        await asyncio.sleep(0.1)
        return ["woke", await wait_for_event("go")]

    async def scenario():
        async with app:
            handle = await nap.with_options(id="x").start()
            await handle.suspend()
            await asyncio.sleep(0.2)
        async with app:
            handle = app.client.get("x")
            await handle.raise_event("go", "now")
            assert (await handle.state()).suspended is not None
            with pytest.raises(TimeoutError):
                await handle.result(0.2)
        async with app:
            handle = app.client.get("x")
            await handle.resume()
            return await handle.result(30)

    assert run(scenario) == ["woke", "now"]


def test_a_suspension_that_comes_as_the_run_continues_keeps_what_comes_after_it(run, app, url):
    @app.workflow
    async def main(number: int = 1) -> int:
        if number == 1:
            await wait_for_event("go")
            continue_as_new(2, keep_events=True)
        return await wait_for_event("late", int)

    async def scenario():
        async with app:
            handle = await main.with_options(id="m").start()
        async with Client(url, app_id="life") as client:  # all are mail before anybody takes a turn
            handle = client.get("m")
            await handle.raise_event("first")
            await handle.raise_event("go")
            await handle.suspend()
            await handle.raise_event("late", 7)
        async with app:
            handle = app.client.get("m")
            async with asyncio.timeout(30):
                while (state := await handle.state()).suspended is None:
                    await asyncio.sleep(0.01)
            await handle.resume()
            return state.run, await handle.result(30)

    assert run(scenario) == (2, 7)


def test_suspend_twice_and_resume_once_and_terminate_while_suspended(run, app):
    @app.workflow
    async def wait() -> str:
        return await wait_for_event("go")

    async def scenario():
        async with app:
            handle = await wait.start()
            await handle.suspend()
            await handle.suspend()
            await handle.resume()
            await handle.raise_event("go", "on")
            assert await handle.result(30) == "on"
            other = await wait.start()
            await other.suspend()
            await other.terminate("out")
            with pytest.raises(WorkflowTerminated):
                await other.result(30)
            return (await other.state()).output

    assert run(scenario) == "out"


# -- terminate and purge -------------------------------------------------------------------------------------


def test_terminate_ends_at_once_and_runs_no_code(run, app):
    undone = []

    @app.workflow
    async def main() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            undone.append(1)

    async def scenario():
        async with app:
            handle = await main.start()
            await handle.terminate({"why": "x"})
            with pytest.raises(WorkflowTerminated):
                await handle.result(30)
            state = await handle.state()
            return state.status, state.output

    assert run(scenario) == ("terminated", {"why": "x"})


def test_terminate_cancels_the_running_activity(run, app):
    began, ended = asyncio.Event(), asyncio.Event()

    @app.activity
    async def slow() -> None:
        began.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    @app.workflow
    async def main() -> None:
        await slow()

    async def scenario():
        async with app:
            handle = await main.start()
            await began.wait()
            await handle.terminate()
            await asyncio.wait_for(ended.wait(), 30)

    run(scenario)


def test_purge_needs_an_end_and_leaves_nothing(run, app):
    @app.workflow
    async def wait() -> str:
        return await wait_for_event("go")

    async def scenario():
        async with app:
            handle = await wait.with_options(id="x").start()
            with pytest.raises(InstanceNotFinished, match="terminate"):
                await handle.purge()
            await handle.raise_event("go", "1")
            await handle.result(30)
            assert await handle.purge() == 1
            for call in (handle.state(), handle.result(), handle.purge(), handle.explain(), handle.cancel()):
                with pytest.raises(InstanceNotFound):
                    await call
            again = await wait.with_options(id="x").start()
            await again.raise_event("go", "2")
            return await again.result(30)

    assert run(scenario) == "2"


# -- rerun ---------------------------------------------------------------------------------------------------


def test_an_event_that_comes_at_once_is_taken_after_those_of_the_history_that_a_rerun_keeps(run, app):
    @app.activity
    async def note(what: str) -> str:
        return what

    @app.workflow
    async def main() -> list[str]:
        first = await note(await wait_for_event("e", str))
        return [first, await wait_for_event("e", str)]

    async def scenario():
        async with app:
            handle = await main.with_options(id="x").start()
            await handle.raise_event("e", "first")
            await handle.raise_event("e", "second")
            before = await handle.result(30)
            again = await handle.rerun(1, id="y")
            await again.raise_event("e", "third")
            return before, await again.result(30)

    assert run(scenario) == (["first", "second"], ["first", "third"])


def test_rerun_keeps_history_before_the_event_and_does_the_rest_again(run, app):
    ran = []
    broken = [True]

    @app.activity
    async def step(x: int) -> int:
        ran.append(x)
        if x == 2 and broken[0]:
            raise ValueError("bad")
        return x

    @app.workflow
    async def main(base: int) -> list[int]:
        return [base, await step(1), await step(2), await step(3)]

    async def scenario():
        async with app:
            handle = await main.with_options(id="x").start(10)
            with pytest.raises(WorkflowFailed):
                await handle.result(30)
            broken[0] = False
            again = await handle.rerun(2, id="y")
            assert again.id == "y"
            first = await again.result(30)
            other = await handle.rerun(2, input=20)
            second = await other.result(30)
            with pytest.raises(EventNotRerunnable):
                await handle.rerun(99)
            return first, second, other.id, (await handle.state()).status

    first, second, other, status = run(scenario)
    assert first == [10, 1, 2, 3]
    assert second == [20, 1, 2, 3]
    assert other not in ("x", "y")
    assert status == "failed"
    assert ran == [1, 2, 2, 3, 2, 3]


def test_a_rerun_from_before_the_failure_repeats_what_failed_alone(run, app):
    ran, broken = [], [True]

    @app.activity
    async def step(x: int) -> int:
        ran.append(x)
        if x == 2 and broken[0]:
            await asyncio.sleep(0.05)
            raise ValueError("bad")
        return x

    @app.workflow
    async def main() -> list[int]:
        return [await step(1), *await asyncio.gather(step(2), step(3))]

    async def scenario():
        async with app:
            handle = await main.with_options(id="x").start()
            with pytest.raises(WorkflowFailed):
                await handle.result(30)
            broken[0] = False
            again = await handle.rerun(id="y")
            assert await again.result(30) == [1, 2, 3]
            with pytest.raises(EventNotRerunnable, match="is completed and has no failure to go back to"):
                await again.rerun()

    run(scenario)
    assert ran == [1, 2, 3, 2]


def test_a_run_whose_own_code_failed_repeats_no_activity(run, app):
    ran, broken = [], [True]

    @app.activity
    async def pay() -> str:
        ran.append("pay")
        return "paid"

    @app.workflow
    async def main() -> str:
        paid = await pay()
        if broken[0]:
            raise ValueError("a mistake in the code")
        return paid

    async def scenario():
        async with app:
            handle = await main.start()
            with pytest.raises(WorkflowFailed):
                await handle.result(30)
            broken[0] = False
            assert await (await handle.rerun()).result(30) == "paid"

    run(scenario)
    assert ran == ["pay"]


@pytest.mark.long
def test_a_rerun_has_the_run_timeout_of_its_history(run, app):
    @app.activity
    async def step(x: int) -> int:
        return x

    @app.workflow
    async def main() -> int:
        await step(1)
        number = await step(2)
        await wait_for_event("go")
        return number

    async def scenario():
        async with app:
            handle = await main.with_options(run_timeout=1.0).start()
            await handle.raise_event("go")
            await handle.result(30)
            with pytest.raises(WorkflowFailed, match="RunTimedOut"):
                await (await handle.rerun(2)).result(30)

    run(scenario)


def test_rerun_survives_a_cold_start(run, app):
    ran = []

    @app.activity
    async def step(x: int) -> int:
        ran.append(x)
        return x

    @app.workflow
    async def main() -> list[int]:
        found = [await step(1), await step(2)]
        await wait_for_event("go")
        return found

    async def scenario():
        async with app:
            handle = await main.with_options(id="x").start()
            await handle.raise_event("go")
            await handle.result(30)
            await handle.rerun(2, id="y")
            await asyncio.sleep(0.2)
        async with app:
            handle = app.client.get("y")
            await handle.raise_event("go")
            return await handle.result(30)

    assert run(scenario) == [1, 2]
    assert ran == [1, 2, 2]


def test_rerun_from_the_first_event_repeats_everything_and_keeps_options(run, app):
    ran = []

    @app.activity(retry=Retry(max_attempts=2, initial_interval=0.01))
    async def step() -> int:
        ran.append(activity_context().attempt)
        if len(ran) in (1, 3):
            raise ValueError
        return 1

    @app.workflow
    async def main() -> int:
        return await step()

    async def scenario():
        async with app:
            handle = await main.with_options(tags={"k": "v"}).start()
            await handle.result(30)
            again = await handle.rerun(1)
            return await again.result(30), (await again.state()).tags

    assert run(scenario) == (1, {"k": "v"})
    assert ran == [1, 2, 1, 2]


def test_only_a_finished_instance_can_be_rerun(run, app):
    @app.workflow
    async def wait() -> None:
        await asyncio.sleep(3600)

    async def scenario():
        async with app:
            handle = await wait.start()
            with pytest.raises(InstanceNotFinished):
                await handle.rerun(1)

    run(scenario)


# -- starting ------------------------------------------------------------------------------------------------


def test_start_at_a_time_waits_for_it_also_over_a_cold_start(run, app):
    ran = []

    @app.workflow
    async def later(x: int) -> int:
        ran.append(datetime.now(UTC) >= at[0])  # perdure: allow
        return x

    at = []

    async def scenario():
        at.append(datetime.now(UTC) + timedelta(seconds=0.6))
        async with app:
            await later.with_options(id="x", at=at[0]).start(5)
            handle = await later.with_options(at=at[0] + timedelta(hours=1)).start(5)
            told = await handle.explain()
            assert (await handle.state()).status == "pending"
            assert (await handle.state()).input == 5
        async with app:
            result = await app.client.get("x").result(30)
            return result, told.cause

    assert run(scenario) == (5, "start-time")
    assert ran == [True]


def test_a_start_in_the_past_starts_now(run, app):
    @app.workflow
    async def main() -> int:
        return 1

    async def scenario():
        async with app:
            handle = await main.with_options(at=datetime(2020, 1, 1)).start()  # noqa: DTZ001 naive means UTC
            return await handle.result(30)

    assert run(scenario) == 1


def test_run_timeout_fails_the_run_by_name(run, app):
    @app.workflow
    async def main() -> None:
        await asyncio.sleep(3600)

    async def scenario():
        async with app:
            handle = await main.with_options(run_timeout=0.2).start()
            with pytest.raises(WorkflowFailed, match="RunTimedOut"):
                await handle.result(30)
            quick = await main.with_options(run_timeout=timedelta(seconds=0.3), id="cold").start()
            await asyncio.sleep(0)
            return quick.id
        return None

    async def cold():
        await scenario()
        await asyncio.sleep(0.4)
        async with app:
            with pytest.raises(WorkflowFailed, match="RunTimedOut"):
                await app.client.get("cold").result(30)

    run(cold)


def test_a_run_timeout_goes_on_over_continue_as_new(run, app):
    @app.workflow
    async def main(n: int) -> None:
        await asyncio.sleep(0.1)
        continue_as_new(n + 1)

    async def scenario():
        async with app:
            handle = await main.with_options(run_timeout=0.5).start(0)
            with pytest.raises(WorkflowFailed, match="RunTimedOut"):
                await handle.result(30)

    run(scenario)


def test_if_exists_raise_and_return(run, app):
    @app.workflow
    async def wait() -> str:
        return await wait_for_event("go")

    async def scenario():
        async with app:
            first = await wait.with_options(id="x").start()
            with pytest.raises(InstanceExists) as caught:
                await wait.with_options(id="x").start()
            assert caught.value.instance_id == "x"
            same = await wait.with_options(id="x", if_exists="return").start()
            assert same.execution_id == first.execution_id
            await same.raise_event("go", "one")
            assert await first.result(30) == "one"
            done = await wait.with_options(id="x", if_exists="return").start()
            assert await done.result(30) == "one"
            other = await wait.with_options(id="x").start()
            assert other.execution_id != first.execution_id
            await other.raise_event("go", "two")
            with pytest.raises(InstanceNotFound, match=r"client\.get"):
                await first.state()
            return await other.result(30)

    assert run(scenario) == "two"


class Meddled(MemoryStore):
    """A store in which something else happens right before an instance is looked at."""

    meddle: Callable[[], Awaitable[object]] | None = None

    async def head(self, shard: int, id: str) -> Head | None:
        meddle, self.meddle = self.meddle, None
        if meddle is not None:
            await meddle()
        return await super().head(shard, id)


def test_a_start_that_returns_what_is_there_begins_anew_if_that_is_purged_meanwhile(run):
    store = Meddled()
    app = App("life", store=store)

    @app.workflow
    async def wait() -> str:
        return await wait_for_event("go")

    async def scenario():
        async with app:
            first = await wait.with_options(id="x").start()

            async def remove():
                await first.terminate()
                await first.purge()

            store.meddle = remove
            second = await wait.with_options(id="x", if_exists="return").start()
            return (await second.state()).status, first.execution_id != second.execution_id

    assert run(scenario) == ("running", True)


def test_who_waits_elsewhere_for_an_instance_that_is_purged_is_told(run, app, url):
    standby = App("life", store=url)

    @app.workflow
    async def wait() -> str:
        return await wait_for_event("go")

    async def scenario():
        async with app, standby:
            handle = await wait.with_options(id="x").start()
            await standby._life.engine.operations.waiters.stop()
            results = [
                asyncio.create_task(standby.client.get("x").result(30)),
                asyncio.create_task(Handle(standby.client, "x", handle.execution_id).result(30)),
            ]
            await asyncio.sleep(0.05)
            await handle.terminate()
            await handle.purge()
            standby._life.engine.operations.waiters.start()
            return [type(outcome) for outcome in await asyncio.gather(*results, return_exceptions=True)]

    assert run(scenario) == [InstanceNotFound] * 2


def test_many_starts_of_one_id_begin_one_instance(run, app):
    ran = []

    @app.workflow
    async def main() -> str:
        ran.append(1)
        return await wait_for_event("go")

    async def scenario():
        async with app:
            started = await asyncio.gather(
                *(main.with_options(id="x").start() for _ in range(20)), return_exceptions=True
            )
            return [type(one).__name__ for one in started]

    names = run(scenario)
    assert sorted(set(names)) == ["Handle", "InstanceExists"]
    assert names.count("Handle") == 1
    assert ran == [1]


def test_a_failed_call_can_be_caught_and_the_run_goes_on(run, app):
    @app.activity
    async def fail() -> None:
        raise ValueError

    @app.workflow
    async def main() -> str:
        for _ in range(3):
            try:
                await fail()
            except ActivityFailed:
                await asyncio.sleep(0.01)
        return "done"

    async def scenario():
        async with app:
            return await (await main.start()).result(30)

    assert run(scenario) == "done"
