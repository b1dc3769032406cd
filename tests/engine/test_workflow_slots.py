"""Slots of a node's workflows: how many are begun and not finished, who begins next, and what outlives the process."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from perdure import (
    App,
    Client,
    Queue,
    WorkflowCancelled,
    WorkflowTerminated,
    continue_as_new,
    set_status,
    wait_for_event,
)
from perdure.engine.workflow_slots import WorkflowSlots
from perdure.testing.conformance import a_head


class Inside:
    """How many workflows have begun and not ended, and how many at most, by name."""

    def __init__(self, seconds: float = 0.02) -> None:
        self._seconds = seconds
        self.now: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self.order: list[int] = []

    async def stay(self, name: str, number: int) -> None:
        self.order.append(number)
        for key in (name, ""):
            self.now[key] += 1
            self.peak[key] = max(self.peak[key], self.now[key])
        await asyncio.sleep(self._seconds)
        for key in (name, ""):
            self.now[key] -= 1


def app_of(url: str, inside: Inside, **settings: object) -> App:
    app = App("bounded", store=url, **settings)

    @app.workflow
    async def small(number: int) -> int:
        await inside.stay("small", number)
        return number

    @app.workflow
    async def large(number: int) -> int:
        await inside.stay("large", number)
        return number

    @app.workflow
    async def endless(rounds: int) -> None:
        if rounds:
            continue_as_new(rounds - 1)
        set_status("waits")
        await wait_for_event("end")

    @app.workflow
    async def parent(number: int) -> int:
        return await small(number)

    return app


async def finish(app: App, names: list[str]) -> None:
    handles = [await app.client.workflow(name).start(number) for number, name in enumerate(names)]
    await asyncio.gather(*(handle.result() for handle in handles))


@pytest.mark.parametrize("store", ["sqlite", "memory"])
def test_no_more_workflows_begin_than_a_node_has_slots(run, url, store):
    inside = Inside()
    app = app_of(url if store == "sqlite" else "memory:", inside, workflow_slots=3)

    async def scenario():
        async with app:
            await finish(app, ["small"] * 20)

    run(scenario)
    assert inside.peak[""] == 3
    assert sorted(inside.order) == list(range(20)), "each begins once"


@pytest.mark.long
def test_without_slots_of_its_own_a_workflow_begins_at_once(run, url):
    inside = Inside(1.0)
    app = app_of(url, inside, workflow_slots_by_name={"large": 2})

    async def scenario():
        async with app:
            await finish(app, ["large"] * 4 + ["small"] * 6)

    run(scenario)
    assert inside.peak["large"] == 2
    assert inside.peak["small"] == 6


def test_slots_by_name_and_in_all_hold_together(run, url):
    inside = Inside()
    app = app_of(url, inside, workflow_slots=3, workflow_slots_by_name={"large": 1})

    async def scenario():
        async with app:
            await finish(app, ["large"] * 5 + ["small"] * 9)

    run(scenario)
    assert (inside.peak["large"], inside.peak[""]) == (1, 3)


def test_a_slot_is_kept_while_it_waits_and_over_continue_as_new_and_after_a_restart(run, url):
    async def begin() -> None:
        async with app_of(url, Inside(), workflow_slots=1) as app:
            first = await app.client.workflow("endless").with_options(id="first").start(2)
            while (await first.state()).custom_status != "waits":
                await asyncio.sleep(0.01)
            await app.client.workflow("small").with_options(id="second").start(2)

    async def go_on() -> None:
        async with app_of(url, Inside(), workflow_slots=1) as app:
            first, second = app.client.get("first"), app.client.get("second")
            third = await app.client.workflow("small").with_options(id="third").start(3)
            while (told := await third.explain()).cause != "workflow-slots":
                await asyncio.sleep(0.01)
            assert told.sentence == (
                "small third has not begun: its node has 1 workflow slots; slots are held by first."
            )
            assert (await second.state()).status == "pending"
            async with Client(url) as client:
                elsewhere = await client.get("third").explain()
            assert "a node has 1 workflow slots for it, which may all be held" in elsewhere.sentence
            await first.raise_event("end")
            assert [await second.result(), await third.result()] == [2, 3]

    run(begin)
    run(go_on)


def test_who_waits_can_be_cancelled_and_terminated_and_hears_events_later(run, url):
    app = app_of(url, Inside(), workflow_slots=1)

    async def scenario():
        async with app:
            first, second, third, fourth = [await app.client.workflow("endless").start(0) for _ in range(4)]
            await second.cancel()
            await third.terminate()
            await fourth.raise_event("end")
            with pytest.raises(WorkflowCancelled):
                await second.result()
            with pytest.raises(WorkflowTerminated):
                await third.result()
            assert (await fourth.state()).status == "pending"
            await first.raise_event("end")
            await first.result()
            await fourth.result()

    run(scenario)


def test_what_a_queue_lets_in_begins_and_counts(run, url):
    app = app_of(url, Inside(), workflow_slots=1)

    async def scenario():
        async with app:
            queued = app.client.workflow("endless").with_options(queue=Queue("all", concurrency=2))
            first = await app.client.workflow("endless").start(0)
            others = [await queued.start(0) for _ in range(2)]
            last = await app.client.workflow("endless").start(0)
            for other in others:
                while (await other.state()).status != "running":
                    await asyncio.sleep(0.01)
            await first.raise_event("end")
            await first.result()
            assert (await last.state()).status == "pending"
            for other in others:
                await other.raise_event("end")
                await other.result()
            await last.raise_event("end")
            await last.result()

    run(scenario)


def test_children_take_slots_of_their_own(run, url):
    inside = Inside()
    app = app_of(url, inside, workflow_slots_by_name={"small": 2})

    async def scenario():
        async with app:
            await finish(app, ["parent"] * 8)

    run(scenario)
    assert inside.peak["small"] == 2


class TestSlots:
    def test_the_oldest_is_asked_first_and_who_does_not_want_a_slot_leaves_it(self) -> None:
        asked: list[str] = []
        slots = WorkflowSlots(1)
        assert slots.enter(1, a_head("holder"), asked.append)
        for id, created in (("young", 3), ("old", 2)):
            assert not slots.enter(1, a_head(id, created=created), asked.append)
        slots.leave("holder")
        assert asked == ["old"]
        assert not slots.enter(1, a_head("new", created=1), asked.append), "what is reserved is nobody else's"
        slots.settle("old")
        assert asked == ["old", "new"]
        assert slots.enter(1, a_head("new", created=1), asked.append)
        slots.settle("new")
        assert list(slots.holders("checkout")) == ["new"]

    def test_a_shard_that_goes_takes_its_workflows_along(self) -> None:
        asked: list[str] = []
        slots = WorkflowSlots(2)
        slots.occupy(1, a_head("a"))
        slots.occupy(2, a_head("b"))
        slots.occupy(2, a_head("c"))
        assert not slots.enter(1, a_head("d"), asked.append)
        assert not slots.enter(2, a_head("e"), asked.append)
        slots.vacate(2)
        assert asked == ["d"]
        assert not slots.waits("e")

    def test_many_that_wait_are_not_looked_through_for_each_slot(self) -> None:
        slots = WorkflowSlots(1, {"checkout": 1})
        begun: list[str] = []

        def begin(id: str) -> None:
            assert slots.enter(1, a_head(id), begin)
            begun.append(id)

        count = 20_000
        begin("0")
        for number in range(1, count):
            assert not slots.enter(1, a_head(str(number), created=number), begin)
        for number in range(count - 1):
            slots.leave(str(number))
        assert begun == [str(number) for number in range(count)]
