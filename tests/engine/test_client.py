"""The client: finding, reading and steering many."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from perdure import App, Client, InstanceNotFound, WorkflowTerminated, wait_for_event


@pytest.fixture
def app(url):
    app = App("desk", store=url)

    @app.workflow
    async def quick(x: int = 0) -> int:
        return x

    @app.workflow
    async def wait(x: int = 0) -> int:
        return x + await wait_for_event("go", int)

    @app.workflow
    async def broken() -> None:
        raise ValueError("no")

    return app


async def ids(client, **filters):
    return [state.id async for state in client.list(**filters)]


def test_list_is_newest_first_and_goes_on_over_pages(run, app):
    async def scenario():
        async with app:
            quick = app.client.workflow("quick")
            handles = [await quick.with_options(id=f"i{n:04}").start(n) for n in range(350)]
            await asyncio.gather(*(handle.result(30) for handle in handles))
            return await ids(app.client), await ids(app.client, limit=120), await ids(app.client, limit=0)

    every, some, none = run(scenario)
    assert every == [f"i{n:04}" for n in reversed(range(350))]
    assert some == every[:120]
    assert none == []


def test_list_by_every_filter(run, app):
    async def scenario():
        async with app:
            client = app.client
            start = datetime.now(UTC)
            await (
                await client.workflow("quick").with_options(id="done-1", tags={"team": "a", "prio": "1"}).start()
            ).result()
            await asyncio.sleep(0.01)
            middle = datetime.now(UTC)
            await asyncio.sleep(0.01)
            with pytest.raises(Exception, match="no"):
                await (await client.workflow("broken").with_options(id="bad-1", tags={"team": "a"}).start()).result()
            held = await client.workflow("wait").with_options(id="Waiting-1", tags={"team": "b"}).start()
            await held.suspend()
            await client.workflow("missing").with_options(id="lost-1").start()
            while await ids(client, stalled=True) != ["lost-1"] or await ids(client, suspended=True) != ["Waiting-1"]:
                await asyncio.sleep(0.01)
            return {
                "name": await ids(client, name="quick"),
                "status": await ids(client, status="failed"),
                "statuses": await ids(client, status=["completed", "FAILED"]),
                "after": await ids(client, created_after=middle),
                "before": await ids(client, created_before=middle),
                "between": await ids(client, created_after=start, created_before=middle),
                "finished": await ids(client, finished_after=middle),
                "finished before": await ids(client, finished_before=middle),
                "tag": await ids(client, tags={"team": "a"}),
                "tags": await ids(client, tags={"team": "a", "prio": "1"}),
                "no tag": await ids(client, tags={"team": "z"}),
                "text": await ids(client, text="WAIT"),
                "suspended": await ids(client, suspended=True),
                "stalled": await ids(client, stalled=True),
                "neither": await ids(client, suspended=False, stalled=False),
                "all at once": await ids(client, name="wait", status="running", tags={"team": "b"}, suspended=True),
            }

    assert run(scenario) == {
        "name": ["done-1"],
        "status": ["bad-1"],
        "statuses": ["bad-1", "done-1"],
        "after": ["lost-1", "Waiting-1", "bad-1"],
        "before": ["done-1"],
        "between": ["done-1"],
        "finished": ["bad-1"],
        "finished before": ["done-1"],
        "tag": ["bad-1", "done-1"],
        "tags": ["done-1"],
        "no tag": [],
        "text": ["Waiting-1"],
        "suspended": ["Waiting-1"],
        "stalled": ["lost-1"],
        "neither": ["bad-1", "done-1"],
        "all at once": ["Waiting-1"],
    }


def test_state_tells_everything(run, app):
    async def scenario():
        async with app:
            handle = await app.client.workflow("quick").with_options(id="x", tags={"k": "v"}).start(7)
            await handle.result()
            done = await handle.state()
            bad = await app.client.workflow("broken").start()
            with pytest.raises(Exception, match="no"):
                await bad.result()
            return done, await bad.state()

    done, bad = run(scenario)
    assert (done.id, done.app, done.name, done.status, done.run) == ("x", "desk", "quick", "completed", 1)
    assert (done.input, done.output, done.tags, done.failure) == (7, 7, {"k": "v"}, None)
    assert done.created <= done.updated == done.finished
    assert done.suspended is None
    assert done.stalled is None
    assert bad.status == "failed"
    assert bad.failure.__cause__.type == "ValueError"


def test_history_reads_typed_events_over_many_pages(run, app):
    @app.activity
    async def step(x: int) -> int:
        return x

    @app.workflow
    async def long(n: int) -> None:
        for x in range(n):
            await step(x)

    async def scenario():
        async with app:
            handle = await long.start(300)
            await handle.result(30)
            return [event async for event in handle.history()]

    events = run(scenario)
    names = [type(event).__name__ for event in events]
    assert names.count("ActivityScheduled") == names.count("ActivityCompleted") == 300
    assert names[:2] == ["TurnStarted", "RunStarted"]
    assert names[-1] == "RunCompleted"
    assert [event.number for event in events if type(event).__name__ == "ActivityCompleted"] == list(range(1, 301))
    turns = [event.at for event in events if type(event).__name__ == "TurnStarted"]
    assert turns == sorted(turns)


def test_result_waits_no_longer_than_asked_and_the_workflow_does_not_notice(run, app):
    async def scenario():
        async with app:
            handle = await app.client.workflow("wait").start(1)
            with pytest.raises(TimeoutError):
                await handle.result(0.1)
            waiters = [asyncio.create_task(handle.result()) for _ in range(5)]
            await asyncio.sleep(0)
            await handle.raise_event("go", 1)
            return await asyncio.gather(*waiters), await handle.result(timeout=timedelta(seconds=5).total_seconds())

    assert run(scenario) == ([2] * 5, 2)


def test_batches_act_on_what_the_filters_find(run, app):
    async def scenario():
        async with app:
            wait = app.client.workflow("wait")
            for n in range(60):
                await wait.with_options(id=f"w{n}", tags={"even": str(n % 2 == 0)}).start()
            assert await app.client.suspend_all("audit", text="w1") == 11
            held = [state async for state in app.client.list(suspended=True)]
            assert {state.suspended.reason for state in held} == {"audit"}
            counts = [
                await app.client.resume_all(suspended=True),
                await app.client.cancel_all(text="w5"),
                await app.client.terminate_all(tags={"even": "True"}),
            ]
            with pytest.raises(WorkflowTerminated):
                await app.client.get("w0").result(30)
            while [s async for s in app.client.list(text="w5", status="running")]:
                await asyncio.sleep(0.01)
            counts.append(await app.client.purge_all(status="terminated"))
            counts.append(await app.client.purge_all())
            left = await ids(app.client)
            return counts, len(left)

    counts, left = run(scenario)
    assert counts[0] == 11
    assert counts[1] == 11
    assert counts[2] == 25
    assert counts[3] == 25
    assert counts[4] == 11
    assert left == 24


def test_a_client_beside_the_owner_does_everything_through_the_store(run, app, url):
    async def scenario():
        async with app, Client(url) as client:
            assert await ids(client) == []
            handle = await client.workflow("wait").with_options(id="x").start(1)
            with pytest.raises(TimeoutError):
                await handle.result(0.05)
            await handle.raise_event("go", 41)
            assert await handle.result(30) == 42
            assert (await handle.state()).output == 42
            assert len([event async for event in handle.history()]) >= 3
            other = await client.workflow("wait").start(1)
            await other.suspend("hm")
            while (await other.state()).suspended is None:
                await asyncio.sleep(0.01)
            await other.resume()
            await other.terminate("x")
            with pytest.raises(WorkflowTerminated):
                await other.result(30)
            return await handle.purge()

    assert run(scenario) == 1


def test_a_client_alone_can_start_what_is_run_later(run, app, url):
    async def scenario():
        async with app:
            pass
        async with Client(url) as client:
            handle = await client.workflow("quick").with_options(id="x").start(5)
            told = await handle.explain()
            assert (await handle.state()).status == "pending"
        async with app:
            return await app.client.get("x").result(30), told.cause

    assert run(scenario) == (5, "no-node")


def test_an_unknown_instance_is_named_in_the_error(run, app):
    async def scenario():
        async with app:
            handle = app.client.get("nobody")
            calls = (
                handle.state(),
                handle.result(),
                handle.cancel(),
                handle.suspend(),
                handle.resume(),
                handle.terminate(),
                handle.purge(),
                handle.explain(),
                handle.rerun(1),
                anext(handle.history()),
            )
            for call in calls:
                with pytest.raises(InstanceNotFound, match="nobody") as caught:
                    await call
                assert caught.value.instance_id == "nobody"

    run(scenario)


def test_explain_names_what_each_instance_waits_for(run, app):
    began = asyncio.Event()

    @app.activity
    async def slow() -> None:
        began.set()
        await asyncio.sleep(3600)

    @app.workflow
    async def calls() -> None:
        await slow()

    @app.workflow
    async def parent() -> None:
        await calls.with_options(id="kid")()

    async def scenario():
        async with app:
            event = await (await app.client.workflow("wait").start()).explain()
            await parent.with_options(id="p").start()
            await began.wait()
            child = await app.client.get("p").explain()
            done = await app.client.workflow("quick").start()
            await done.result()
            finished = await done.explain()
            await app.client.terminate_all()
            return event, child, finished

    event, child, finished = run(scenario)
    assert event.cause == "event"
    assert "'go'" in event.sentence
    assert "in wait" in event.sentence
    assert event.command.startswith("perdure raise")
    assert child.cause == "activity"
    assert "kid" in child.sentence
    assert "slow" in child.sentence
    assert finished.cause == "finished"
