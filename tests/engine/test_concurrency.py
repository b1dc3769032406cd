"""asyncio inside a workflow means what it always means, live and after a cold replay."""

from __future__ import annotations

import asyncio
import sys
from contextvars import ContextVar
from datetime import timedelta

import pytest

import perdure
from perdure import App, ChildWorkflowFailed, WorkflowCancelled, WorkflowFailed, wait_for_event, workflow_context
from perdure.errors import NotDeterministic


@pytest.fixture
def app(url):
    return App("conc", store=url)


@pytest.fixture
def double(app):
    @app.activity
    async def double(x: int) -> int:
        return 2 * x

    return double


def outcome(run, app, workflow, *args):
    async def scenario():
        async with app:
            return await (await workflow.start(*args)).result(30)

    return run(scenario)


def test_gather_keeps_order(run, app, double):
    @app.workflow
    async def main() -> list[int]:
        return list(await asyncio.gather(*(double(x) for x in range(50))))

    assert outcome(run, app, main) == [2 * x for x in range(50)]


def test_fan_out_and_in_of_ten_thousand(run, app, double):
    @app.workflow
    async def main(n: int) -> int:
        return sum(await asyncio.gather(*(double(x) for x in range(n))))

    assert outcome(run, app, main, 10_000) == 2 * sum(range(10_000))


def test_gather_with_return_exceptions(run, app):
    @app.activity
    async def odd_fails(x: int) -> int:
        if x % 2:
            raise ValueError(x)
        return x

    @app.workflow
    async def main() -> list[str]:
        found = await asyncio.gather(*(odd_fails(x) for x in range(4)), return_exceptions=True)
        return [type(one).__name__ for one in found]

    assert outcome(run, app, main) == ["int", "ActivityFailed", "int", "ActivityFailed"]


def test_wait_first_completed_and_cancel_the_rest(run, app):
    cancelled = []

    @app.activity
    async def nap(seconds: float) -> float:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            cancelled.append(seconds)
            raise
        return seconds

    @app.workflow
    async def main() -> list[object]:
        tasks = [asyncio.create_task(nap(20.0)), asyncio.create_task(nap(0.05))]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.wait(pending)
        return [done.pop().result(), tasks[0].cancelled()]

    assert outcome(run, app, main) == [0.05, True]
    assert cancelled == [20.0]


def test_task_group_collects_and_a_failure_cancels_the_others(run, app, double):
    @app.activity
    async def fail() -> None:
        raise ValueError("no")

    @app.workflow
    async def main() -> list[object]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(double(x)) for x in range(3)]
        found: list[object] = [task.result() for task in tasks]
        try:
            async with asyncio.TaskGroup() as group:
                slow = group.create_task(asyncio.sleep(3600))
                group.create_task(fail())
        except* perdure.ActivityFailed as failures:
            found += [len(failures.exceptions), slow.cancelled()]
        return found

    assert outcome(run, app, main) == [0, 2, 4, 1, True]


def test_an_uncaught_group_of_errors_fails_the_workflow_with_its_name(run, app):
    @app.activity
    async def fail() -> None:
        raise ValueError("no")

    @app.workflow
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())

    with pytest.raises(WorkflowFailed, match="ExceptionGroup"):
        outcome(run, app, main)


def test_shield_protects_a_call_from_cancellation(run, app):
    late = []

    @app.activity
    async def nap() -> int:
        while not late:
            await asyncio.sleep(0.01)
        return 7

    @app.workflow
    async def main() -> int:
        call = asyncio.ensure_future(nap())
        try:
            async with asyncio.timeout(0.05):
                await asyncio.shield(call)
        except TimeoutError:
            late.append(True)
            return await call
        return 0

    assert outcome(run, app, main) == 7


def test_timeouts_nest_and_reschedule(run, app):
    @app.workflow
    async def main() -> list[str]:
        said = []
        try:
            async with asyncio.timeout(30):
                try:
                    async with asyncio.timeout(0.05):
                        await wait_for_event("never")
                except TimeoutError:
                    said.append("inner")
                async with asyncio.timeout(60) as limit:
                    limit.reschedule(asyncio.get_running_loop().time() + 0.05)
                    await wait_for_event("never")
        except TimeoutError:
            said.append("outer")
        return said

    assert outcome(run, app, main) == ["inner", "outer"]


def test_wait_for_and_as_completed(run, app):
    @app.activity
    async def nap(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    @app.workflow
    async def main() -> list[float]:
        found = []
        for next_one in asyncio.as_completed([asyncio.create_task(nap(each)) for each in (0.3, 0.01, 0.15)]):
            found.append(await next_one)
        try:
            await asyncio.wait_for(nap(30), timeout=0.05)
        except TimeoutError:
            found.append(-1.0)
        return found

    assert outcome(run, app, main) == [0.01, 0.15, 0.3, -1.0]


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_as_completed_is_refused_coroutines_whose_order_a_replay_would_change(run, app):
    @app.workflow
    async def main() -> str:
        try:
            for each in asyncio.as_completed([asyncio.sleep(seconds) for seconds in (0.1, 0.2)]):
                await each
        except NotDeterministic as error:
            return str(error)
        return "not refused"

    assert "create_task" in outcome(run, app, main)


def test_a_workflow_that_exits_fails_and_the_process_goes_on(run, app):
    @app.workflow
    async def leave() -> None:
        sys.exit(4)

    @app.workflow
    async def main() -> str:
        try:
            await leave()
        except ChildWorkflowFailed as error:
            return error.type
        return ""

    assert outcome(run, app, main) == "SystemExit"


def test_locks_queues_events_semaphores_and_conditions(run, app, double):
    @app.workflow
    async def main() -> list[object]:
        lock, queue, gate = asyncio.Lock(), asyncio.Queue[int](maxsize=2), asyncio.Event()
        room, inside, most = asyncio.Semaphore(2), 0, 0
        order: list[int] = []

        async def produce() -> None:
            for x in range(5):
                await queue.put(await double(x))
            gate.set()

        async def consume() -> None:
            while not (gate.is_set() and queue.empty()):
                order.append(await queue.get())

        async def guarded(x: int) -> None:
            nonlocal inside, most
            async with room, lock:
                inside += 1
                most = max(most, inside)
                await double(x)
                inside -= 1

        await asyncio.gather(produce(), consume(), *(guarded(x) for x in range(4)))
        return [order, most]

    assert outcome(run, app, main) == [[0, 2, 4, 6, 8], 1]


def test_context_variables_follow_tasks_and_do_not_leak_in(run, app):
    import contextvars

    mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="unset")

    @app.workflow
    async def main() -> list[str]:
        outside = mark.get()
        mark.set("main")

        async def child() -> str:
            before = mark.get()
            mark.set("child")
            return before

        return [outside, await asyncio.create_task(child()), mark.get()]

    async def scenario():
        mark.set("caller")
        async with app:
            return await (await main.start()).result()

    assert run(scenario) == ["unset", "main", "main"]


def test_the_same_program_after_a_cold_replay_in_the_middle(run, app, double):
    @app.workflow
    async def main() -> list[object]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(double(x)) for x in range(5)]
            ear = group.create_task(wait_for_event("go", int))
            group.create_task(asyncio.sleep(0.01))
        first, _ = await asyncio.wait([asyncio.ensure_future(double(50)), ear], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait_for(wait_for_event("end"), timeout=100)
        return [[task.result() for task in tasks], ear.result(), len(first)]

    async def scenario():
        async with app:
            handle = await main.with_options(id="x").start()
            await asyncio.sleep(0.1)
        async with app:
            await app.client.get("x").raise_event("go", 3)
            await asyncio.sleep(0.1)
        async with app:
            handle = app.client.get("x")
            await handle.raise_event("end")
            return await handle.result(30)

    result = run(scenario)
    assert result[:2] == [[0, 2, 4, 6, 8], 3]


def test_sleep_zero_yields_without_a_timer(run, app):
    @app.workflow
    async def main() -> int:
        for _ in range(10):
            await asyncio.sleep(0)
        return 1

    async def scenario():
        async with app:
            handle = await main.start()
            await handle.result()
            return [type(event).__name__ async for event in handle.history()]

    assert "TimerCreated" not in run(scenario)


def test_a_timer_years_ahead_waits_and_can_be_cancelled(run, app):
    @app.workflow
    async def main() -> None:
        await asyncio.sleep(timedelta(days=365 * 300).total_seconds())

    async def scenario():
        async with app:
            handle = await main.with_options(id="far").start()
            told = await handle.explain()
        async with app:
            handle = app.client.get("far")
            assert (await handle.state()).status == "running"
            await handle.cancel()
            with pytest.raises(WorkflowCancelled):
                await handle.result(30)
            return told

    told = run(scenario)
    assert told.cause == "timer-far"
    assert "sleeps until 2" in told.sentence


def test_a_short_timer_that_fell_due_while_nobody_ran_fires_at_the_start(run, app):
    @app.workflow
    async def main() -> str:
        await asyncio.sleep(0.2)
        return "woke"

    async def scenario():
        async with app:
            await main.with_options(id="nap").start()
        await asyncio.sleep(0.4)
        async with app:
            return await app.client.get("nap").result(30)

    assert run(scenario) == "woke"


@pytest.mark.parametrize("what", ["run_in_executor", "to_thread", "create_connection", "create_subprocess_exec"])
def test_what_only_an_activity_may_do_is_refused_by_name(run, app, what):
    import asyncio as aio

    async def main() -> None:
        loop = aio.get_running_loop()
        if what == "run_in_executor":
            await loop.run_in_executor(None, len, "x")
        elif what == "to_thread":
            await aio.to_thread(len, "x")
        elif what == "create_connection":
            await aio.open_connection("127.0.0.1", 1)
        else:
            await aio.create_subprocess_exec("true")

    main.__code__ = main.__code__.replace(co_filename="<no source>", co_firstlineno=1)
    workflow = app.workflow(main)
    with pytest.raises(WorkflowFailed, match="activity"):
        outcome(run, app, workflow)


def test_async_generators_and_context_managers_work(run, app, double):
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def held(name: str, log: list[str]):
        log.append(f"+{name}")
        try:
            yield name
        finally:
            await double(1)
            log.append(f"-{name}")

    async def numbers():
        for x in range(3):
            yield await double(x)

    @app.workflow
    async def main() -> list[object]:
        log: list[str] = []
        async with held("a", log):
            found = [x async for x in numbers()]
        return [found, log]

    assert outcome(run, app, main) == [[0, 2, 4], ["+a", "-a"]]


def test_a_pydantic_ai_agent_runs_inside_a_workflow(run, app):
    from pydantic_ai import Agent
    from pydantic_ai.models.test import TestModel

    looked_up = []

    @app.activity
    async def stock(sku: str) -> int:
        looked_up.append(sku)
        return 12

    agent = Agent(TestModel(), instructions="Answer about the stock.")

    @agent.tool_plain
    async def in_stock(sku: str) -> int:
        return await stock(sku)

    @app.workflow
    async def ask(question: str) -> str:
        answer = await agent.run(question)
        await wait_for_event("go")
        return answer.output

    async def scenario():
        async with app:
            await ask.with_options(id="q").start("How many?")
            await asyncio.sleep(0.3)
        async with app:
            handle = app.client.get("q")
            await handle.raise_event("go")
            return await handle.result(30)

    assert run(scenario) == '{"in_stock":12}'
    assert len(looked_up) == 1


def test_an_anyio_task_group_runs_inside_a_workflow(run, app, double):
    import anyio

    @app.workflow
    async def main() -> list[int]:
        found: list[int] = []

        async def one(x: int) -> None:
            found.append(await double(x))

        async with anyio.create_task_group() as group:
            for x in range(4):
                group.start_soon(one, x)
        with anyio.move_on_after(0.05):
            await anyio.sleep(3600)
            found.append(-1)
        return found

    assert outcome(run, app, main) == [0, 2, 4, 6]


def test_code_that_is_put_away_unwinds_in_its_own_context_and_knows_that_nobody_is_to_hear(run, app):
    name: ContextVar[str] = ContextVar("name")
    unwound = []

    @app.workflow
    async def holds() -> None:
        token = name.set("inside")
        try:
            await wait_for_event("never")
        finally:
            unwound.append((name.get("outside"), workflow_context().is_replaying))
            name.reset(token)
            unwound.append("reset")

    async def scenario():
        async with app:
            await holds.start()
            await asyncio.sleep(0.1)

    run(scenario)
    assert unwound == [("inside", True), "reset"]
