"""External events: early, in order, by any case, from everywhere."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

import perdure
from perdure import App, InstanceNotFound, set_status, wait_for_event


@pytest.fixture
def app(url):
    return App("ears", store=url)


@dataclass
class Vote:
    who: str
    yes: bool


def test_early_events_wait_and_come_in_order(run, app):
    @app.workflow
    async def listen() -> list[int]:
        await wait_for_event("go")
        return [await wait_for_event("n", int) for _ in range(5)]

    async def scenario():
        async with app:
            handle = await listen.start()
            for number in range(5):
                await handle.raise_event("n", number)
            await handle.raise_event("go")
            return await handle.result(30)

    assert run(scenario) == [0, 1, 2, 3, 4]


def test_names_do_not_mind_their_case(run, app):
    @app.workflow
    async def listen() -> list[str]:
        return [await wait_for_event("Approved"), await wait_for_event("STRASSE")]

    async def scenario():
        async with app:
            handle = await listen.start()
            await handle.raise_event("aPPROVED", "one")
            await handle.raise_event("straße", "two")
            return await handle.result(30)

    assert run(scenario) == ["one", "two"]


def test_data_comes_as_the_type_that_is_asked_for(run, app):
    @app.workflow
    async def listen() -> bool:
        vote = await wait_for_event("vote", Vote)
        return vote.yes and vote.who == "Ada"

    async def scenario():
        async with app:
            handle = await listen.start()
            await handle.raise_event("vote", Vote("Ada", True))
            return await handle.result(30)

    assert run(scenario) is True


def test_several_waiters_are_served_in_their_order(run, app):
    @app.workflow
    async def listen() -> list[int]:
        return list(await asyncio.gather(*(wait_for_event("n", int) for _ in range(4))))

    async def scenario():
        async with app:
            handle = await listen.start()
            for number in range(4):
                await handle.raise_event("n", number)
            return await handle.result(30)

    assert run(scenario) == [0, 1, 2, 3]


def test_a_wait_that_timed_out_takes_nothing(run, app):
    @app.workflow
    async def listen() -> list[object]:
        try:
            async with asyncio.timeout(0.1):
                await wait_for_event("n", int)
        except TimeoutError:
            set_status("late")
            return ["late", await wait_for_event("n", int)]
        return []

    async def scenario():
        async with app:
            handle = await listen.start()
            while (await handle.state()).custom_status != "late":
                await asyncio.sleep(0.01)
            await handle.raise_event("n", 9)
            return await handle.result(30)

    assert run(scenario) == ["late", 9]


def test_an_activity_raises_one_through_the_client(run, app):
    @app.activity
    async def call_back(id: str) -> None:
        await app.client.get(id).raise_event("answer", 42)

    @app.workflow
    async def ask() -> int:
        await call_back(perdure.workflow_context().instance_id)
        return await wait_for_event("answer", int)

    async def scenario():
        async with app:
            return await (await ask.start()).result(30)

    assert run(scenario) == 42


def test_a_workflow_raises_one_on_another(run, app):
    @app.workflow
    async def listen() -> int:
        return await wait_for_event("answer", int)

    @app.workflow
    async def tell(id: str) -> None:
        perdure.raise_event(id, "ANSWER", 42)
        perdure.raise_event("nobody", "answer", 1)

    async def scenario():
        async with app:
            handle = await listen.start()
            await (await tell.start(handle.id)).result(30)
            return await handle.result(30)

    assert run(scenario) == 42


def test_events_survive_a_cold_start_taken_or_not(run, app):
    @app.workflow
    async def listen() -> list[int]:
        first = await wait_for_event("n", int)
        await wait_for_event("go")
        return [first, await wait_for_event("n", int)]

    async def scenario():
        async with app:
            handle = await listen.with_options(id="x").start()
            await handle.raise_event("n", 1)
            await handle.raise_event("n", 2)
        async with app:
            handle = app.client.get("x")
            await handle.raise_event("go")
            return await handle.result(30)

    assert run(scenario) == [1, 2]


@pytest.mark.long
def test_many_events_to_one_instance_all_arrive_in_order(run, app):
    @app.workflow
    async def listen(count: int) -> list[int]:
        return [await wait_for_event("n", int) for _ in range(count)]

    async def scenario():
        async with app:
            handle = await listen.start(500)
            for number in range(500):
                await handle.raise_event("n", number)
            return await handle.result(30)

    assert run(scenario) == list(range(500))


def test_a_finished_instance_ignores_them_and_an_unknown_one_is_an_error(run, app):
    @app.workflow
    async def quick() -> None: ...

    async def scenario():
        async with app:
            handle = await quick.start()
            await handle.result(30)
            await handle.raise_event("n", 1)
            with pytest.raises(InstanceNotFound):
                await app.client.get("nobody").raise_event("n", 1)

    run(scenario)


def test_an_event_that_comes_while_the_instance_ends_is_ignored_too(run, app):
    @app.workflow
    async def listen() -> int:
        return await wait_for_event("n", int)

    async def scenario():
        async with app:
            handle = await listen.start()
            await asyncio.gather(*(handle.raise_event("n", number) for number in range(5)))
            return await handle.result(30)

    assert run(scenario) == 0


def test_events_before_a_delayed_start_are_there_when_it_starts(run, app):
    from datetime import UTC, datetime, timedelta

    @app.workflow
    async def listen() -> list[int]:
        return [await wait_for_event("n", int), await wait_for_event("n", int)]

    async def scenario():
        async with app:
            soon = datetime.now(UTC) + timedelta(seconds=0.5)
            handle = await listen.with_options(at=soon).start()
            await handle.raise_event("n", 1)
            await handle.raise_event("n", 2)
            assert (await handle.state()).status == "pending"
            return await handle.result(30)

    assert run(scenario) == [1, 2]
