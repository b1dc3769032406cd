"""One run of workflow code, fed by hand: no engine, no store, no clock."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import perdure
from perdure import App
from perdure.codec import decode, encode
from perdure.history.actions import (
    Action,
    CancelTimer,
    CompleteRun,
    ContinueRun,
    CreateTimer,
    ScheduleActivity,
    SetStatus,
    StopWaiting,
    WaitForEvent,
)
from perdure.history.delivery import deliveries
from perdure.history.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    EventRaised,
    Failure,
    RunCancelRequested,
    RunStarted,
    TimerFired,
    TurnStarted,
)
from perdure.history.work import Identity
from perdure.sdk.loop import TooManyIterations
from perdure.sdk.run import Diverged, Run

START = RunStarted(name="main", execution="e", input=encode(None))
SECOND = 1_000_000

app = App("unit")


@app.activity
async def act(x: int) -> int:
    return x


def a_run(code: Callable[[], Awaitable[Any]]) -> Run:
    """A run of the code at its beginning, started at time 0."""

    async def main(_: Run, event: RunStarted) -> Any:
        return encode(await code())

    return Run(Identity("unit", "i", "0123456789abcdef" * 2, 1, "main", 0), main, False)


def begun(code: Callable[[], Awaitable[Any]]) -> tuple[Run, list[Action]]:
    run = a_run(code)
    return run, run.advance(0, [START])


def kinds(actions: list[Action]) -> list[str]:
    return [type(action).__name__ for action in actions]


def test_actions_are_numbered_in_order_and_say_their_line():
    async def code() -> None:
        await asyncio.gather(act(1), asyncio.sleep(5), act(2))

    _, actions = begun(code)
    assert kinds(actions) == ["ScheduleActivity", "CreateTimer", "ScheduleActivity"]
    assert [action.number for action in actions] == [1, 2, 3]
    assert isinstance(actions[1], CreateTimer)
    assert actions[1].due == 5 * SECOND
    assert actions[0].line is not None
    assert "in code" in actions[0].line


def test_a_result_moves_the_code_on():
    async def code() -> int:
        return await act(1) + await act(2)

    run, _ = begun(code)
    (second,) = run.advance(SECOND, [ActivityCompleted(number=1, result=encode(10))])
    assert isinstance(second, ScheduleActivity)
    (end,) = run.advance(SECOND, [ActivityCompleted(number=2, result=encode(20))])
    assert isinstance(end, CompleteRun)
    assert decode(end.output) == 30
    assert run.finished


def test_events_of_one_turn_are_delivered_one_by_one():
    async def code() -> list[str]:
        order: list[str] = []

        async def one(name: str, number: int) -> None:
            await act(number)
            order.append(name)
            await asyncio.sleep(0)
            order.append(name.upper())

        await asyncio.gather(one("a", 1), one("b", 2))
        return order

    run, _ = begun(code)
    (together,) = run.advance(1, [ActivityCompleted(number=2), ActivityCompleted(number=1)])
    run, _ = begun(code)
    run.advance(1, [ActivityCompleted(number=2)])
    (apart,) = run.advance(1, [ActivityCompleted(number=1)])
    assert isinstance(together, CompleteRun)
    assert isinstance(apart, CompleteRun)
    assert decode(together.output) == decode(apart.output) == ["b", "B", "a", "A"]


def test_a_timer_that_was_taken_back_in_its_turn_was_never_asked_for():
    async def code() -> None:
        asyncio.get_running_loop().call_later(5, print).cancel()
        await act(1)

    _, actions = begun(code)
    assert kinds(actions) == ["ScheduleActivity"]


def test_a_timer_that_is_taken_back_later_is_cancelled_by_an_action():
    async def code() -> None:
        async with asyncio.timeout(5):
            await act(1)
        await act(2)

    run, actions = begun(code)
    assert kinds(actions) == ["CreateTimer", "ScheduleActivity"]
    actions = run.advance(1, [ActivityCompleted(number=2)])
    assert {type(action) for action in actions} == {CancelTimer, ScheduleActivity}


def test_a_timeout_takes_its_call_back():
    async def code() -> str:
        try:
            async with asyncio.timeout(5):
                await act(1)
        except TimeoutError:
            return "late"
        return ""

    run, _ = begun(code)
    actions = run.advance(5 * SECOND, [TimerFired(number=1)])
    assert kinds(actions) == ["CancelActivity", "CompleteRun"]


def test_events_wait_for_the_code_and_the_code_for_events():
    async def code() -> list[Any]:
        first = await perdure.wait_for_event("go")
        return [first, await perdure.wait_for_event("early")]

    run, actions = begun(code)
    (wait,) = actions
    assert isinstance(wait, WaitForEvent)
    assert run.advance(1, [EventRaised(name="EARLY", data=encode(2))]) == []
    actions = run.advance(2, [EventRaised(name="Go", data=encode(1))])
    assert isinstance(actions[0], StopWaiting)
    assert actions[0].number == wait.number
    assert isinstance(actions[-1], CompleteRun)
    assert decode(actions[-1].output) == [1, 2]


def test_cancellation_wins_over_nothing_and_the_reason_arrives():
    async def code() -> str:
        try:
            await act(1)
        except asyncio.CancelledError as error:
            return str(error)
        return ""

    run, _ = begun(code)
    actions = run.advance(1, [RunCancelRequested(reason="enough")])
    assert kinds(actions) == ["CancelActivity", "CompleteRun"]
    assert isinstance(actions[-1], CompleteRun)
    assert decode(actions[-1].output) == "enough"


def test_uncaught_cancellation_ends_cancelled_and_an_error_ends_failed():
    async def code() -> None:
        await act(1)

    run, _ = begun(code)
    assert run.advance(1, [RunCancelRequested()])[-1].status == "canceled"  # type: ignore[attr-defined]
    run, _ = begun(code)
    (end,) = run.advance(1, [ActivityFailed(number=1, failure=Failure("ValueError", "no"), attempt=3)])
    assert isinstance(end, CompleteRun)
    assert end.status == "failed"
    assert end.failure is not None
    assert end.failure.type == "ActivityFailed"
    assert end.failure.cause is not None
    assert end.failure.cause.type == "ValueError"


def test_what_nobody_awaited_is_not_asked_for_when_the_run_ends():
    async def code() -> int:
        asyncio.create_task(act(1))  # noqa: RUF006 that nobody holds it is the point
        await asyncio.sleep(0)
        return 1

    _, actions = begun(code)
    assert kinds(actions) == ["CompleteRun"]


def test_continue_as_new_ends_with_its_input_and_what_is_kept():
    async def code() -> None:
        await perdure.wait_for_event("go")
        perdure.continue_as_new(5, keep_events=True)

    run, _ = begun(code)
    early = EventRaised(name="n", data=encode(1))
    actions = run.advance(1, [early, EventRaised(name="go")])
    assert isinstance(actions[-1], ContinueRun)
    assert decode(actions[-1].input) == 5
    assert actions[-1].events == [early]


def test_a_run_that_continues_takes_no_event_from_the_next_one():
    async def take(turned: asyncio.Event) -> None:
        await turned.wait()
        await perdure.wait_for_event("n")

    async def code() -> None:
        turned = asyncio.Event()
        taker = asyncio.create_task(take(turned))
        await perdure.wait_for_event("go")
        turned.set()
        assert not taker.done()
        perdure.continue_as_new(5, keep_events=True)

    run, _ = begun(code)
    early, late = EventRaised(name="n", data=encode(1)), EventRaised(name="n", data=encode(2))
    actions = run.advance(1, [early, EventRaised(name="go"), late])
    assert isinstance(actions[-1], ContinueRun)
    assert actions[-1].events == [early, late]


def test_a_run_that_has_ended_sees_nothing_more_of_its_turn():
    seen = []

    async def listen() -> None:
        while True:
            seen.append(await perdure.wait_for_event("n", int))

    async def code() -> None:
        listener = asyncio.create_task(listen())
        await perdure.wait_for_event("go")
        assert not listener.done()

    run, _ = begun(code)
    run.advance(1, [EventRaised(name="n", data=encode(n)) for n in (1, 2)])
    run.advance(2, [EventRaised(name="go"), EventRaised(name="n", data=encode(3))])
    assert seen == [1, 2]


def test_the_newest_status_of_a_turn_is_the_one_that_counts():
    async def code() -> None:
        perdure.set_status(1)
        perdure.set_status(2)
        await act(1)

    _, actions = begun(code)
    assert [decode(action.status) for action in actions if isinstance(action, SetStatus)] == [2]


def test_a_replay_agrees_with_what_was_recorded_or_names_the_difference():
    async def code() -> None:
        await act(1)
        await act(2)

    run = a_run(code)
    turns = [
        [TurnStarted(), START, ActivityScheduled(number=1, name="act")],
        [TurnStarted(at=1), ActivityCompleted(number=1), ActivityScheduled(number=2, name="other")],
    ]
    first, second = deliveries(turns)
    run.replay(first)
    with pytest.raises(Diverged) as caught:
        run.replay(second)
    assert caught.value.difference.number == 2
    assert "test_run.py" in str(caught.value)


def test_code_that_is_put_away_unwinds_and_records_nothing():
    said = []

    async def code() -> None:
        try:
            await act(1)
        finally:
            said.append("finally")
            await act(2)
            said.append("after")

    run, _ = begun(code)
    run.close()
    assert said == ["finally"]
    assert run.sealed
    assert run.advance(1, [ActivityCompleted(number=1)]) == []


def test_code_that_is_put_away_unwinds_in_the_context_of_each_task():
    said = []
    where = contextvars.ContextVar("where", default="nowhere")

    async def branch(name: str) -> None:
        token = where.set(name)
        try:
            await act(1)
        finally:
            said.append(where.get())
            where.reset(token)  # which fails in any other context
            said.append(where.get())

    async def code() -> None:
        where.set("main")
        await asyncio.gather(branch("first"), branch("second"))

    run, _ = begun(code)
    run.close()
    assert said == ["second", "main", "first", "main"]


def test_code_that_refuses_to_unwind_does_not_hold_anybody_up():
    async def code() -> None:
        while True:
            try:
                await act(1)
            except BaseException:  # noqa: BLE001 as rude as code can be
                continue

    run, _ = begun(code)
    run.close()
    assert run.sealed


def test_a_turn_that_does_not_come_to_rest_is_ended_and_says_where():
    async def code() -> None:
        while True:
            await asyncio.sleep(0)

    run = a_run(code)
    with pytest.raises(TooManyIterations):
        run.advance(0, [START])
    assert "in code" in (run.where() or "")


def test_stale_replies_change_nothing():
    async def code() -> None:
        await act(1)

    run, _ = begun(code)
    assert run.advance(1, [ActivityCompleted(number=7), TimerFired(number=9)]) == []
    assert not run.finished
