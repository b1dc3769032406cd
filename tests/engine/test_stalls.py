"""What cannot go on stands still, visibly, says why, and goes on when the cause is gone."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

import perdure
from perdure import App, Retry, WorkflowFailed, WorkflowTerminated, activity_context, wait_for_event


async def stalled(handle, seconds=30.0):
    """The reason for which an instance stands still, as soon as it does."""
    async with asyncio.timeout(seconds):
        while (halt := (await handle.state()).stalled) is None:
            await asyncio.sleep(0.01)
    return halt


def test_an_unknown_workflow_waits_for_code_and_keeps_its_mail(run, url):
    old, new = App("stall", store=url), App("stall", store=url)

    @new.workflow
    async def later(x: int) -> list[int]:
        return [x, await wait_for_event("n", int), await wait_for_event("n", int)]

    async def scenario():
        async with old:
            handle = await old.client.workflow("later").with_options(id="x").start(1)
            halt = await stalled(handle)
            told = await handle.explain()
            await handle.raise_event("n", 2)
            await handle.raise_event("n", 3)
            await handle.resume()
            assert (await handle.state()).stalled is not None
            assert [event async for event in handle.history()] == []
        async with new:
            handle = new.client.get("x")
            result = await handle.result(30)
            return halt, told, result, (await handle.state()).stalled

    halt, told, result, after = run(scenario)
    assert halt.reason == "workflow-not-registered"
    assert "'later'" in halt.description
    assert told.cause == "stalled:workflow-not-registered"
    assert told.command == "perdure resume x"
    assert result == [1, 2, 3]
    assert after is None


def test_a_stalled_instance_can_be_terminated_and_purged(run, url):
    app = App("stall", store=url)

    async def scenario():
        async with app:
            handle = await app.client.workflow("nowhere").start()
            await stalled(handle)
            await handle.terminate("no")
            with pytest.raises(WorkflowTerminated):
                await handle.result(30)
            return await handle.purge()

    assert run(scenario) == 1


def test_non_determinism_names_event_history_request_and_line_and_goes_on_when_right(run, url):
    ran = []

    def program(order):
        app = App("stall", store=url)

        @app.activity
        async def first() -> int:
            ran.append("first")
            return 1

        @app.activity
        async def second() -> int:
            ran.append("second")
            return 2

        @app.workflow
        async def main() -> list[int]:
            found = [await first()] if order == "right" else [await second()]
            found.append(await wait_for_event("go", int))
            found.append(await second())
            return found

        return app

    async def scenario():
        right = program("right")
        async with right:
            await right.client.workflow("main").with_options(id="x").start()
            await asyncio.sleep(0.1)
        wrong = program("wrong")
        async with wrong:
            handle = wrong.client.get("x")
            await handle.raise_event("go", 7)
            halt = await stalled(handle)
            before = [event async for event in handle.history()]
            told = await handle.explain()
        right = program("right")
        async with right:
            handle = right.client.get("x")
            await handle.resume()
            return halt, told, before, await handle.result(30)

    halt, told, before, result = run(scenario)
    assert halt.reason == "non-determinism"
    assert "event 1" in halt.description
    assert "history holds ActivityScheduled(first)" in halt.description
    assert "the code asked for ScheduleActivity(second)" in halt.description
    assert "test_stalls.py:" in halt.line
    assert "in main" in halt.line
    assert "test_stalls.py:" in told.sentence
    assert [type(event).__name__ for event in before].count("EventRaised") == 0
    assert result == [1, 7, 2]
    assert ran == ["first", "second"]


def test_other_code_is_tried_again_at_the_start_without_being_asked(run, url):
    def program(good):
        app = App("stall", store=url)

        @app.activity
        async def step() -> int:
            return 1

        if good:

            @app.workflow
            async def main() -> int:
                return await step() + await wait_for_event("go", int)
        else:

            @app.workflow
            async def main() -> int:
                await asyncio.sleep(1)
                return 0

        return app

    async def scenario():
        app = program(True)
        async with app:
            await app.client.workflow("main").with_options(id="x").start()
            await asyncio.sleep(0.1)
        app = program(False)
        async with app:
            handle = app.client.get("x")
            await handle.raise_event("go", 41)
            await stalled(handle)
        app = program(True)
        async with app:
            return await app.client.get("x").result(30)

    assert run(scenario) == 42


def test_code_that_ends_too_early_or_asks_too_much_differs_too(run, url):
    def program(kind):
        app = App("stall", store=url)

        @app.activity
        async def step() -> int:
            return 1

        @app.workflow
        async def main() -> int:
            if kind != "short":
                await step()
            if kind == "long":
                asyncio.create_task(asyncio.sleep(50))  # noqa: RUF006 the run keeps its tasks
            if kind == "short":
                return 0
            return await wait_for_event("go", int)

        return app

    async def scenario():
        app = program("as it was")
        async with app:
            await app.client.workflow("main").with_options(id="x").start()
            await asyncio.sleep(0.1)
        said = []
        for kind in ("short", "long"):
            app = program(kind)
            async with app:
                handle = app.client.get("x")
                await handle.raise_event("other")
                await handle.resume()
                await asyncio.sleep(0.2)
                said.append((await stalled(handle)).description)
        return said

    short, long = run(scenario)
    assert "ActivityScheduled(step)" in short
    assert "the end of the workflow" in short
    assert "CreateTimer" in long


@dataclass
class Before:
    name: str


@dataclass
class After:
    name: str
    age: int


def test_an_input_that_no_longer_fits_stalls_and_recovers(run, url):
    def program(kind):
        app = App("stall", store=url)

        async def main(given):
            return f"{given.name} {await wait_for_event('go')}"

        main.__annotations__ = {"given": kind, "return": str}
        app.workflow(main)
        return app

    async def scenario():
        app = program(Before)
        async with app:
            await app.client.workflow("main").with_options(id="x").start(Before("Ada"))
        app = program(After)
        async with app:
            handle = app.client.get("x")
            await handle.raise_event("go", "on")
            halt = await stalled(handle)
        app = program(Before)
        async with app:
            handle = app.client.get("x")
            await handle.resume()
            return halt, await handle.result(30)

    halt, result = run(scenario)
    assert halt.reason == "payload-not-decodable"
    assert "age" in halt.description
    assert result == "Ada on"


def test_a_result_that_no_longer_fits_stalls_even_if_the_code_catches_everything(run, url):
    def program(kind):
        app = App("stall", store=url)

        async def load():
            return {"name": "Ada"}

        load.__annotations__ = {"return": kind}
        load_it = app.activity(load)

        @app.workflow
        async def main() -> str:
            try:
                found = await load_it()
            except Exception:  # noqa: BLE001 that it catches everything is the point
                return "swallowed"
            return f"{found.name} {await wait_for_event('go')}"

        return app

    async def scenario():
        app = program(After)
        async with app:
            handle = await app.client.workflow("main").with_options(id="x").start()
            halt = await stalled(handle)
            assert (await handle.state()).status == "running"
        app = program(Before)
        async with app:
            handle = app.client.get("x")
            await handle.raise_event("go", "on")
            await handle.resume()
            return halt, await handle.result(30)

    halt, result = run(scenario)
    assert halt.reason == "payload-not-decodable"
    assert result == "Ada on"


def test_an_event_that_does_not_fit_stalls(run, url):
    app = App("stall", store=url)

    @app.workflow
    async def main() -> int:
        return await wait_for_event("n", int)

    async def scenario():
        async with app:
            handle = await main.start()
            await handle.raise_event("n", "seven")
            return (await stalled(handle)).reason

    assert run(scenario) == "payload-not-decodable"


def test_a_payload_over_the_limit_stalls_its_workflow_and_not_the_store(run, url):
    app = App("stall", store=url)

    @app.activity
    async def take(text: str) -> int:
        return len(text)

    @app.workflow
    async def main(size: int) -> int:
        return await take("x" * size)

    async def scenario():
        async with app:
            handle = await main.start(9 * 1024 * 1024)
            halt = await stalled(handle)
            fine = await (await main.start(1_000)).result(30)
            with pytest.raises(perdure.errors.PayloadTooLarge, match="bound"):
                await handle.raise_event("n", "x" * 9 * 1024 * 1024)
            return halt, fine

    halt, fine = run(scenario)
    assert halt.reason == "payload-too-large"
    assert fine == 1_000


def test_a_history_beyond_its_bound_stalls_and_goes_on_with_a_higher_one(run, url):
    def program(**settings):
        app = App("stall", store=url, **settings)

        @app.activity
        async def step(x: int) -> int:
            return x

        @app.workflow
        async def main() -> int:
            total = 0
            for x in range(100):
                total += await step(x)
            return total

        return app

    async def scenario():
        app = program(history_events_max=50)
        async with app:
            handle = await app.client.workflow("main").with_options(id="x").start()
            halt = await stalled(handle)
        app = program()
        async with app:
            handle = app.client.get("x")
            await handle.resume()
            return halt, await handle.result(30)

    halt, result = run(scenario)
    assert halt.reason == "history-too-long"
    assert "continue_as_new" in halt.description
    assert result == 4950


def test_results_that_come_while_it_stands_still_are_kept_and_not_made_again(run, url):
    ran = []

    def program(good):
        app = App("stall", store=url, drain_seconds=0.0)

        @app.activity
        async def first() -> int:
            return 1

        @app.activity(retry=Retry(max_attempts=3, initial_interval=0.01))
        async def second() -> int:
            ran.append(activity_context().attempt)
            if len(ran) == 1:
                await asyncio.sleep(3600)
            if len(ran) == 2:
                raise ValueError("a policy has to decide")
            return 2

        @app.workflow
        async def main() -> int:
            if not good:
                await asyncio.sleep(3600)
            return await first() + await second()

        return app

    async def scenario():
        app = program(True)
        async with app:
            await app.client.workflow("main").with_options(id="x").start()
            while not ran:
                await asyncio.sleep(0.01)
        app = program(False)
        async with app:
            handle = app.client.get("x")
            await stalled(handle)
        async with program(False):
            await asyncio.sleep(0.2)
        app = program(True)
        async with app:
            handle = app.client.get("x")
            await handle.resume()  # because the source of the function is the same, only what it closes over differs
            return await handle.result(30)

    assert run(scenario) == 3
    assert ran == [1, 1, 2]


# -- poison --------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.timeout(90)
def test_three_poison_programs_harm_none_of_a_hundred_neighbours(run, url):
    app = App("stall", store=url)
    ready = []

    @app.activity
    async def step(x: int) -> int:
        await asyncio.sleep(0.01)
        return x

    @app.activity
    async def blocking() -> None:
        time.sleep(3)

    @app.workflow
    async def healthy(x: int) -> int:
        await asyncio.sleep(0.05)
        return await step(x) + await step(x)

    @app.workflow
    async def spinning() -> None:
        while True:
            pass

    @app.workflow
    async def yielding() -> None:
        while not ready:
            await asyncio.sleep(0)

    @app.workflow
    async def blocked() -> None:
        await blocking()

    async def scenario():
        async with app:
            first = [await healthy.start(x) for x in range(50)]
            poison = [app.client.get("spinning"), app.client.get("yielding")]
            starts = [
                asyncio.create_task(workflow.with_options(id=name).start())
                for workflow, name in ((spinning, "spinning"), (yielding, "yielding"), (blocked, "blocked"))
            ]
            await asyncio.sleep(0)
            second = [await healthy.start(x) for x in range(50, 100)]
            results = [await handle.result(30) for handle in (*first, *second)]
            await asyncio.gather(*starts)
            halts = [await stalled(handle) for handle in poison]
            with pytest.raises(WorkflowFailed) as caught:
                await app.client.get("blocked").result(30)
            return results, halts, caught.value, [await app.client.get(h.id).explain() for h in poison]

    results, halts, error, told = run(scenario)
    assert results == [2 * x for x in range(100)]
    assert [halt.reason for halt in halts] == ["turn-too-long"] * 2
    assert "test_stalls.py" in halts[0].description
    assert "spinning" in halts[0].description
    assert "yielding" in halts[1].description
    assert "ActivityBlockedLoop" in str(error)
    assert all(Path(__file__).name in one.sentence for one in told)


@pytest.mark.long
def test_a_turn_that_did_not_end_can_be_terminated_and_does_not_run_again_by_itself(run, url):
    app = App("stall", store=url)
    passes = []

    @app.workflow
    async def main() -> None:
        passes.append(1)
        while True:
            await asyncio.sleep(0)

    async def scenario():
        async with app:
            handle = await main.start()
            await stalled(handle)
            await handle.raise_event("n")
            await asyncio.sleep(1.3)
            seen = len(passes)
            await handle.resume()
            while len(passes) == seen:
                await asyncio.sleep(0.01)
            again = len(passes)
            await handle.terminate()
            with pytest.raises(WorkflowTerminated):
                await handle.result(30)
            return seen, again

    assert run(scenario) == (1, 2)


def test_an_error_that_cannot_be_told_stalls_its_workflow(run, url):
    app = App("stall", store=url)

    class Untellable(Exception):
        @property
        def __cause__(self):
            raise ValueError("no cause for you")

    @app.workflow
    async def main() -> None:
        raise Untellable

    async def scenario():
        async with app:
            return await stalled(await main.start())

    halt = run(scenario)
    assert halt.reason == "refused"
    assert "ValueError" in halt.description
    assert Path(__file__).name in halt.line
