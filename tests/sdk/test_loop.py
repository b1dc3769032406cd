"""The deterministic event loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure.errors import NotInWorkflow
from perdure.sdk.loop import ITERATIONS_MAX, TimerHandle, TooManyIterations, new_loop


class Timers:
    """Collects what the loop would make durable."""

    def __init__(self) -> None:
        self.made: list[TimerHandle] = []
        self.cancelled: list[TimerHandle] = []

    def create_timer(self, handle: TimerHandle) -> None:
        self.made.append(handle)

    def cancel_timer(self, handle: TimerHandle) -> None:
        self.cancelled.append(handle)


def a_loop(seed: int = 7) -> Any:
    return new_loop(Timers(), seed)


def test_callbacks_run_in_the_order_they_became_ready():
    loop, ran = a_loop(), []
    loop.call_soon(lambda: (ran.append(1), loop.call_soon(ran.append, 3)))
    loop.call_soon(ran.append, 2)
    loop.run_until_idle()
    assert ran == [1, 2, 3]


def test_a_cancelled_callback_does_not_run():
    loop, ran = a_loop(), []
    loop.call_soon(ran.append, 1).cancel()
    loop.run_until_idle()
    assert ran == []


def test_time_stands_still_and_timers_go_to_their_keeper():
    loop = a_loop()
    loop.set_time(5.0)
    assert loop.time() == 5.0
    handle = loop.call_later(2.0, print)
    assert handle.when() == 7.0
    loop.run_until_idle()
    handle.cancel()
    assert handle.cancelled()


def test_what_is_due_already_needs_no_timer():
    loop, ran = a_loop(), []
    loop.call_later(0, ran.append, 1)
    loop.call_at(-5.0, ran.append, 2)
    loop.run_until_idle()
    assert ran == [1, 2]


def test_sets_of_tasks_have_the_same_order_in_every_run():
    async def nothing() -> None: ...

    def order(seed: int) -> list[int]:
        loop = a_loop(seed)
        tasks = [loop.create_task(nothing()) for _ in range(50)]
        places = {task: index for index, task in enumerate(tasks)}
        found = [places[task] for task in set(tasks)]
        loop.run_until_idle()
        return found

    assert order(7) == order(7)


def test_the_outer_loop_is_back_afterwards():
    async def outer() -> bool:
        before = asyncio.get_running_loop()
        loop = a_loop()
        inside = []
        loop.call_soon(lambda: inside.append(asyncio.get_running_loop()))
        loop.run_until_idle()
        return inside == [loop] and asyncio.get_running_loop() is before

    assert asyncio.run(outer())


def test_a_loop_that_does_not_rest_is_stopped():
    loop, passes = a_loop(), [0]

    def again() -> None:
        passes[0] += 1
        loop.call_soon(again)

    loop.call_soon(again)
    with pytest.raises(TooManyIterations):
        loop.run_until_idle()
    assert passes == [ITERATIONS_MAX]


@pytest.mark.parametrize(
    "name", ["run_in_executor", "create_connection", "add_signal_handler", "subprocess_exec", "stop", "close"]
)
def test_what_reaches_outside_is_refused_by_name(name):
    with pytest.raises(NotInWorkflow, match=rf"loop\.{name}.*activity"):
        getattr(a_loop(), name)()
