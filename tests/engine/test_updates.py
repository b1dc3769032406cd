"""Talking to a running workflow: states that it publishes, updates that it answers, typed names."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

import perdure
from perdure import (
    App,
    Client,
    ExternalEvent,
    InstanceNotFound,
    PerdureError,
    Update,
    UpdateFailed,
    UpdateNotAnswered,
    UpdateRefused,
    WorkflowCancelled,
    continue_as_new,
    on_update,
    set_state,
    wait_for_event,
)
from perdure.errors import AlreadyRegistered, InvalidArgument, NotDecodable, OnlyInWorkflow
from perdure.events import UpdateAnswered


@dataclass
class Progress:
    done: int
    total: int = 0


add = Update("add", int, int)
finish = ExternalEvent("finish", bool)


@pytest.fixture
def app(url):
    return App("talk", store=url, activations_max=2)


@pytest.fixture
def counter(app):
    """Sums what updates add, slowly for numbers above 100, and ends with the sum when told to."""

    @app.activity
    async def slowly(number: int) -> int:
        await asyncio.sleep(0.05)
        return number

    @app.workflow
    async def counter(start: int = 0) -> int:
        total = start

        def positive(number: int) -> None:
            if number <= 0:
                raise ValueError(f"{number} is not positive")

        @on_update(add, validator=positive)
        async def added(number: int) -> int:
            nonlocal total
            if number == 13:
                raise LookupError("thirteen")
            if number > 100:
                number = await slowly(number)
            total += number
            set_state(Progress(total))
            return total

        set_state(Progress(total))
        await wait_for_event(finish)
        return total

    return counter


def in_memory(app: App, id: str) -> Any:
    return next(iter(app._life.engine.owned.values())).host.get(id)


async def put_away(app: App, id: str) -> None:
    """Evict an instance as soon as it is idle, so that the next message replays it."""
    while not (actor := in_memory(app, id)).is_idle:
        await asyncio.sleep(0)
    next(iter(app._life.engine.owned.values())).host.drop(actor)


def test_a_query_reads_what_was_set_last(run, app, counter):
    async def scenario():
        async with app:
            handle = await counter.start(5)
            assert await handle.query(Progress) == Progress(5)
            assert await handle.query() == {"done": 5, "total": 0}
            assert await handle.query(Progress, "other") is None
            await handle.update(add, 2)
            assert await handle.query(Progress) == Progress(7)
            await handle.raise_event(finish, True)
            assert await handle.result(30) == 7
            assert await handle.query(Progress) == Progress(7)
            with pytest.raises(InstanceNotFound):
                await app.client.get("nobody").query()
            with pytest.raises(NotDecodable):
                await handle.query(list[int])

    run(scenario)


def test_a_query_needs_no_worker(run, app, counter, url):
    async def scenario():
        async with app:
            handle = await counter.with_options(id="c").start(5)
            await handle.update(add, 4)
        async with Client(url) as client:
            return await client.get("c").query(Progress)

    assert run(scenario) == Progress(9)


def test_an_update_is_answered_once_it_is_durable(run, app, counter):
    async def scenario():
        async with app:
            handle = await counter.start()
            assert await handle.update(add, 2) == 2
            assert await handle.update("add", 200) == 202
            assert [type(event).__name__ async for event in handle.history()][2:5] == [
                "TurnStarted",
                "UpdateRequested",
                "UpdateAnswered",
            ]
            with pytest.raises(UpdateFailed, match=r"LookupError: .*thirteen") as failed:
                await handle.update(add, 13)
            assert str(failed.value.__cause__).startswith("LookupError")

    run(scenario)


def test_a_refused_update_writes_nothing(run, app, counter):
    async def scenario():
        async with app:
            handle = await counter.start()
            before = [event async for event in handle.history()]
            for _ in range(2):  # because a refusal is not remembered: the next try may be taken
                with pytest.raises(UpdateRefused, match="-3 is not positive"):
                    await handle.update(add, -3, id="mine")
            with pytest.raises(UpdateRefused, match="NotDecodable"):
                await handle.update("add", "text")
            assert [event async for event in handle.history()] == before
            assert (await handle.state()).stalled is None
            assert await handle.update(add, 3, id="mine") == 3

    run(scenario)


def test_updates_survive_a_replay(run, app, counter):
    async def scenario():
        async with app:
            handle = await counter.with_options(id="c").start()
            assert await handle.update(add, 2) == 2
            with pytest.raises(UpdateRefused):
                await handle.update(add, 0)
            await put_away(app, "c")
            assert await handle.update(add, 3) == 5
            slow = asyncio.create_task(handle.update(add, 101))
            while not any(wait.kind == "activity" for wait in in_memory(app, "c").waits.values()):
                await asyncio.sleep(0)
            await put_away(app, "c")
            assert await slow == 106

    run(scenario)


def test_a_stricter_validator_does_not_judge_history(run, url):
    def edition(bound: int) -> App:
        app = App("talk", store=url)

        @app.workflow
        async def keeper() -> list[int]:
            kept: list[int] = []

            def small(number: int) -> None:
                if number > bound:
                    raise ValueError("too large")

            @on_update("keep", validator=small)
            def keep(number: int) -> int:
                kept.append(number)
                return len(kept)

            await wait_for_event("finish")
            return kept

        return app

    async def scenario():
        async with edition(100) as app:
            handle = await app.client.workflow("keeper").with_options(id="k").start()
            assert await handle.update("keep", 50) == 1
        async with edition(10) as app:
            handle = app.client.get("k")
            with pytest.raises(UpdateRefused):
                await handle.update("keep", 51)
            await handle.raise_event("finish")
            return await handle.result(30)

    assert run(scenario) == [50]


@pytest.mark.parametrize(
    "name, kind, reason", [("keep", dict, "payload-not-decodable"), ("hold", int, "non-determinism")]
)
def test_code_that_cannot_do_an_update_again_stands_still(run, url, name, kind, reason):
    """It would go on without what the update changed, for which somebody has an answer."""

    def edition(name: str, kind: type) -> App:
        app = App("talk", store=url)

        @app.workflow
        async def keeper() -> list[object]:
            kept: list[object] = []
            on_update(Update(name, kind, type(None)))(kept.append)
            await wait_for_event("finish")
            return kept

        return app

    async def scenario():
        async with edition("keep", int) as app:
            handle = await app.client.workflow("keeper").with_options(id="k").start()
            await handle.update("keep", 50)
        async with edition(name, kind) as app:
            handle = app.client.get("k")
            await handle.raise_event("finish")
            while (halt := (await handle.state()).stalled) is None:
                await asyncio.sleep(0.01)
        async with edition("keep", int) as app:
            handle = app.client.get("k")
            await handle.resume()
            return halt.reason, await handle.result(30)

    assert run(scenario) == (reason, [50])


def test_an_update_that_waits_is_answered_by_code_that_has_a_handler_for_it(run, url):
    def edition(*, has_handler: bool) -> App:
        app = App("talk", store=url, activations_max=2)

        @app.workflow
        async def keeper() -> list[int]:
            kept: list[int] = []
            if has_handler:
                on_update("keep")(kept.append)
            await wait_for_event("go")
            await wait_for_event("finish")
            return kept

        return app

    async def scenario():
        async with edition(has_handler=False) as app:
            handle = await app.client.workflow("keeper").with_options(id="k").start()
            with pytest.raises(TimeoutError):
                await handle.update("keep", 50, id="mine", timeout=0.05)
        async with edition(has_handler=True) as app:
            handle = app.client.get("k")
            await handle.raise_event("go")
            assert await asyncio.wait_for(handle.update("keep", 50, id="mine"), 30) is None
            await put_away(app, "k")
            await handle.raise_event("finish")
            result = await handle.result(30)
            return result, [event.key async for event in handle.history() if isinstance(event, UpdateAnswered)]

    assert run(scenario) == ([50], ["update.mine"])


def test_the_same_id_is_done_once(run, app, counter, url):
    async def scenario():
        async with app:
            handle = await counter.with_options(id="c").start()
            answers = await asyncio.gather(*(handle.update(add, 101, id="once") for _ in range(5)))
            assert set(answers) == {101}
            assert await handle.update(add, 101, id="once") == 101
        async with app:
            assert await app.client.get("c").update(add, 101, id="once") == 101
            assert await app.client.get("c").query(Progress) == Progress(101)

    run(scenario)


def test_an_update_from_beside_the_owner_is_answered_through_the_store(run, app, counter, url):
    async def scenario():
        async with app:
            await counter.with_options(id="c").start()
            async with Client(url) as client:
                handle = client.get("c")
                assert await handle.update(add, 4, timeout=10) == 4
                assert await handle.update(add, 150, timeout=10) == 154
                for _ in range(2):
                    with pytest.raises(UpdateRefused, match="-1 is not positive"):
                        await handle.update(add, -1, timeout=10)
                with pytest.raises(UpdateFailed, match="thirteen"):
                    await handle.update(add, 13, timeout=10)
                await handle.raise_event(finish, True)
                await handle.result(30)
                with pytest.raises((UpdateNotAnswered, PerdureError)):
                    await handle.update(add, 4, timeout=10)

    run(scenario)


def test_an_early_update_waits_for_its_handler(run, app):
    @app.workflow
    async def late() -> str:
        await wait_for_event("ready")

        def even(number: int) -> None:
            if number % 2:
                raise ValueError("odd")

        @on_update("number", validator=even)
        def number(value: int) -> int:
            return value * 2

        await wait_for_event("finish")
        return "done"

    async def scenario():
        async with app:
            handle = await late.with_options(id="l").start()
            asked = [asyncio.create_task(handle.update("number", n)) for n in (2, 3)]
            await asyncio.sleep(0.05)
            await put_away(app, "l")
            await handle.raise_event("ready")
            assert await asked[0] == 4
            with pytest.raises(UpdateRefused, match="odd"):
                await asked[1]
            await put_away(app, "l")
            await handle.raise_event("finish")
            return await handle.result(30)

    assert run(scenario) == "done"


def test_an_update_that_a_suspended_run_gets_is_judged_after_the_resume(run, app, counter):
    async def scenario():
        async with app:
            handle = await counter.with_options(id="c").start()
            await handle.suspend()
            good, bad = (asyncio.create_task(handle.update(add, n)) for n in (5, -5))
            await asyncio.sleep(0.05)
            await handle.resume()
            assert await good == 5
            with pytest.raises(UpdateRefused):
                await bad
            await put_away(app, "c")
            await handle.raise_event(finish, True)
            return await handle.result(30)

    assert run(scenario) == 5


def test_a_run_that_ends_leaves_no_asker_waiting(run, app, counter):
    async def scenario():
        async with app:
            handle = await counter.with_options(id="c").start()
            asked = asyncio.create_task(handle.update("nobody answers this", 1))
            await asyncio.sleep(0.05)
            await handle.raise_event(finish, True)
            with pytest.raises(UpdateNotAnswered):
                await asked
            with pytest.raises(UpdateNotAnswered):
                await handle.update(add, 1)

    run(scenario)


def test_unanswered_updates_go_to_the_next_generation(run, app):
    @app.activity
    async def forever() -> None:
        await asyncio.sleep(60)

    @app.workflow
    async def generations(number: int) -> str:
        @on_update("which")
        async def which(_: None) -> int:
            if number == 1:
                await forever()
            return number

        if number == 1:
            await wait_for_event("next")
            continue_as_new(2)
        await wait_for_event("finish")
        return "done"

    async def scenario():
        async with app:
            handle = await generations.start(1)
            asked = asyncio.create_task(handle.update("which"))
            await asyncio.sleep(0.05)
            await handle.raise_event("next")
            assert await asyncio.wait_for(asked, 30) == 2

    run(scenario)


def test_an_answer_from_before_a_crash_is_found_again(run, app, counter, url):
    """The caller's process dies between the commit and the answer: the same id asks again and is told the same."""

    async def scenario():
        async with app:
            handle = await counter.with_options(id="c").start()
            asked = asyncio.create_task(handle.update(add, 101, id="mine"))
            await asyncio.sleep(0.02)
            asked.cancel()
        async with app:
            assert await app.client.get("c").update(add, 101, id="mine", timeout=5) == 101
            return await app.client.get("c").query(Progress)

    assert run(scenario) == Progress(101)


def test_update_with_start_begins_or_finds(run, app, counter):
    async def scenario():
        async with app:
            cart = counter.with_options(id="cart")
            first, total = await cart.update_with_start(add, 1, 10)
            assert total == 11
            second, total = await cart.update_with_start(add, 2, 10)
            assert total == 13
            assert second.execution_id == first.execution_id
            with pytest.raises(InvalidArgument, match="with_options"):
                await counter.update_with_start(add, 1)

    run(scenario)


def test_update_with_start_begins_anew_what_is_finished(run, app, counter):
    async def scenario():
        async with app:
            cart = counter.with_options(id="cart")
            first, _ = await cart.update_with_start(add, 1, 10)
            await first.raise_event(finish, True)
            assert await first.result(30) == 11
            with pytest.raises(UpdateNotAnswered):
                await cart.with_options(if_exists="return").update_with_start(add, 1, 20)
            second, total = await cart.update_with_start(add, 1, 20)
            assert second.execution_id != first.execution_id
            return total

    assert run(scenario) == 21


def test_many_updates_at_once(run, app, counter):
    async def scenario():
        async with app:
            handle = await counter.start()
            answers = await asyncio.gather(*(handle.update(add, 1) for _ in range(200)))
            assert sorted(answers) == list(range(1, 201))

    run(scenario)


def test_a_validator_only_looks(run, app):
    @app.activity
    async def anything() -> None: ...

    @app.workflow
    async def strange() -> None:
        def curious(_: int) -> None:
            set_state(1)

        @on_update("a", validator=curious)
        def a(number: int) -> int:
            return number

        await wait_for_event("finish")

    async def scenario():
        async with app:
            handle = await strange.start()
            with pytest.raises(UpdateRefused, match="a validator only looks"):
                await handle.update("a", 1)
            assert await handle.query() is None

    run(scenario)


def test_what_is_wrong_is_said(run, app, counter):
    with pytest.raises(OnlyInWorkflow):
        set_state(1)
    with pytest.raises(OnlyInWorkflow):
        on_update("x")
    with pytest.raises(InvalidArgument):
        Update("", int, int)
    with pytest.raises(InvalidArgument):
        ExternalEvent("\n", int)

    @app.workflow
    async def twice() -> None:
        on_update("a")(lambda data: data)
        on_update("a")(lambda data: data)

    @app.workflow
    async def odd() -> None:
        on_update("a")(lambda: None)  # type: ignore[misc]

    async def scenario():
        async with app:
            for workflow, error in ((twice, AlreadyRegistered), (odd, InvalidArgument)):
                with pytest.raises(perdure.WorkflowFailed, match=error.__name__):
                    await (await workflow.start()).result(30)
            handle = await counter.start()
            for wrong in ({"id": ""}, {"timeout": -1}):
                with pytest.raises(InvalidArgument):
                    await handle.update(add, 1, **wrong)
            for name in (None, 5, finish):
                with pytest.raises(InvalidArgument):
                    await handle.update(name, 1)
            with pytest.raises(TimeoutError):
                await handle.update("nobody", 1, timeout=0.05)

    run(scenario)


@pytest.fixture
def turning(app):
    """Sums what updates add, and at "turn" goes on as a new run that is told the sum, or ends with it in the third."""

    @app.workflow
    async def turning(total: int = 0, number: int = 1) -> int:
        @on_update(add)
        async def added(number: int) -> int:
            nonlocal total
            total += number
            return total

        await wait_for_event("turn")
        if number < 3:
            continue_as_new(total, number + 1)
        return total

    return turning


async def within_one_turn(handle, *calls):
    """Let a run take in one turn what these calls send, one after the other; the tasks of the calls."""
    await handle.suspend()
    begun = len([event async for event in handle.history()])
    tasks = []
    for call in calls:
        tasks.append(asyncio.create_task(call()))
        while len([event async for event in handle.history()]) <= begun + len(tasks):
            await asyncio.sleep(0.01)
    await handle.resume()
    return tasks


def test_an_update_that_comes_when_the_code_has_continued_is_done_by_the_next_run(run, app, turning):
    async def scenario():
        async with app:
            handle = await turning.start()
            assert await handle.update(add, 1) == 1
            _, asked = await within_one_turn(handle, lambda: handle.raise_event("turn"), lambda: handle.update(add, 10))
            assert await asyncio.wait_for(asked, 30) == 11
            for _ in range(2):
                await handle.raise_event("turn")
            return await handle.result(30)

    assert run(scenario) == 11


def test_an_update_that_comes_when_the_code_has_returned_is_not_answered(run, app, turning):
    async def scenario():
        async with app:
            handle = await turning.start(0, 3)
            _, asked = await within_one_turn(handle, lambda: handle.raise_event("turn"), lambda: handle.update(add, 10))
            with pytest.raises(UpdateNotAnswered):
                await asyncio.wait_for(asked, 30)
            return await handle.result(30)

    assert run(scenario) == 0


def test_a_cancellation_that_comes_when_the_code_has_continued_reaches_the_next_run(run, app, turning):
    async def scenario():
        async with app:
            handle = await turning.start()
            await within_one_turn(handle, lambda: handle.raise_event("turn"), lambda: handle.cancel("enough"))
            with pytest.raises(WorkflowCancelled):
                await handle.result(30)
            return (await handle.state()).run

    assert run(scenario) == 2


def test_a_handler_that_continues_has_answered(run, app):
    """Else the next run would be asked again, and continue again, and so on for ever."""

    @app.workflow
    async def resettable(number: int = 1) -> int:
        @on_update("reset")
        async def reset(_: None) -> None:
            continue_as_new(number + 1)

        await wait_for_event(finish)
        return number

    async def scenario():
        async with app:
            handle = await resettable.start()
            assert await asyncio.wait_for(handle.update("reset"), 30) is None
            await handle.raise_event(finish, True)
            return await handle.result(30)

    assert run(scenario) == 2


class Stop(BaseException):
    """An error that `except Exception` does not catch."""


@pytest.mark.parametrize("kind", [asyncio.CancelledError, SystemExit, Stop])
def test_whatever_is_raised_is_an_answer(run, app, kind):
    def raising(_: object) -> int:
        raise kind("no")

    @app.workflow
    async def main() -> bool:
        on_update("validated", validator=raising)(lambda _: 1)
        on_update("handled")(raising)
        return await wait_for_event(finish)

    async def scenario():
        async with app:
            handle = await main.start()
            with pytest.raises(UpdateRefused, match=kind.__name__):
                await asyncio.wait_for(handle.update("validated"), 30)
            with pytest.raises(UpdateFailed, match=kind.__name__):
                await asyncio.wait_for(handle.update("handled"), 30)
            await handle.raise_event(finish, True)
            return await handle.result(30)

    assert run(scenario)


def test_a_handler_that_awaits_what_is_cancelled_has_failed(run, app):
    @app.workflow
    async def main() -> bool:
        work = asyncio.create_task(asyncio.sleep(3_600))

        @on_update("join")
        async def join(_: None) -> None:
            await work

        @on_update("stop")
        def stop(_: None) -> None:
            work.cancel()

        return await wait_for_event(finish)

    async def scenario():
        async with app:
            handle = await main.start()
            joined = asyncio.create_task(handle.update("join"))
            await handle.update("stop")
            with pytest.raises(UpdateFailed, match="CancelledError"):
                await asyncio.wait_for(joined, 30)
            await handle.raise_event(finish, True)
            return await handle.result(30)

    assert run(scenario)
