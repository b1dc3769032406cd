"""Child workflows: awaited, detached, cancelled, failing."""

from __future__ import annotations

import asyncio

import pytest

import perdure
from perdure import (
    App,
    ChildWorkflowFailed,
    InstanceNotFound,
    WorkflowFailed,
    WorkflowTerminated,
    wait_for_event,
    workflow_context,
)


@pytest.fixture
def app(url):
    return App("family", store=url)


async def begun(app, id):
    """Return once there is an instance of the id, and it runs."""
    while not [state async for state in app.client.list(text=id, status="running")]:
        await asyncio.sleep(0.01)


def test_an_awaited_child_returns_its_typed_result_and_knows_its_parent(run, app):
    @app.workflow
    async def child(x: int) -> list[object]:
        await asyncio.sleep(0.01)
        return [x + 1, workflow_context().parent_id]

    @app.workflow
    async def parent() -> list[object]:
        return await child(1)

    async def scenario():
        async with app:
            handle = await parent.with_options(id="p").start()
            result = await handle.result(30)
            children = [state.id async for state in app.client.list(parent="p")]
            return result, children

    result, children = run(scenario)
    assert result == [2, "p"]
    assert len(children) == 1


def test_a_child_keeps_the_id_and_tags_it_was_given(run, app):
    @app.workflow
    async def child() -> dict[str, str]:
        return workflow_context().tags

    @app.workflow
    async def parent() -> dict[str, str]:
        return await child.with_options(id="kid", tags={"of": "p"})()

    async def scenario():
        async with app:
            result = await (await parent.start()).result(30)
            return result, (await app.client.get("kid").state()).tags

    assert run(scenario) == ({"of": "p"}, {"of": "p"})


def test_a_failing_child_brings_its_whole_chain_of_causes(run, app):
    @app.activity
    async def fail() -> None:
        try:
            raise OSError("disk on fire")
        except OSError as error:
            raise RuntimeError("cannot write") from error

    @app.workflow
    async def child() -> None:
        await fail()

    @app.workflow
    async def parent() -> list[str]:
        try:
            await child.with_options(id="kid")()
        except ChildWorkflowFailed as error:
            chain: list[str] = [error.type, error.instance_id]
            cause = error.__cause__
            while cause is not None:
                chain.append(f"{cause.type}: {cause.message}")  # type: ignore[attr-defined]
                cause = cause.__cause__
            return chain
        return []

    async def scenario():
        async with app:
            return await (await parent.start()).result(30)

    chain = run(scenario)
    assert chain[:2] == ["ActivityFailed", "kid"]
    assert [text.split(":")[0] for text in chain[2:]] == ["ActivityFailed", "RuntimeError", "OSError"]
    assert chain[-1] == "OSError: disk on fire"


def test_a_detached_child_goes_on_when_its_parent_is_done(run, app):
    @app.workflow
    async def child() -> str:
        await wait_for_event("go")
        return "done"

    @app.workflow
    async def parent() -> str:
        return (await child.start()).id

    async def scenario():
        async with app:
            child_id = await (await parent.start()).result(30)
            handle = app.client.get(child_id)
            await handle.raise_event("go")
            return await handle.result(30)

    assert run(scenario) == "done"


def test_a_detached_child_may_start_later(run, app):
    @app.workflow
    async def child() -> None: ...

    @app.workflow
    async def parent() -> str:
        from datetime import timedelta

        later = perdure.now() + timedelta(seconds=0.4)
        return (await child.with_options(at=later, id="late").start()).id

    async def scenario():
        async with app:
            await (await parent.start()).result(30)
            early = (await app.client.get("late").state()).status
            await app.client.get("late").result(30)
            return early

    assert run(scenario) == "pending"


def test_cancelling_the_wait_cancels_the_child(run, app):
    @app.workflow
    async def child() -> None:
        await asyncio.sleep(3600)

    @app.workflow
    async def parent() -> str:
        try:
            async with asyncio.timeout(0.1):
                await child.with_options(id="kid")()
        except TimeoutError:
            return "gave up"
        return "?"

    async def scenario():
        async with app:
            result = await (await parent.start()).result(30)
            with pytest.raises(perdure.WorkflowCancelled):
                await app.client.get("kid").result(30)
            return result

    assert run(scenario) == "gave up"


def test_a_terminated_child_fails_its_parent_s_call(run, app):
    @app.workflow
    async def child() -> None:
        await asyncio.sleep(3600)

    @app.workflow
    async def parent() -> str:
        try:
            await child.with_options(id="kid")()
        except ChildWorkflowFailed as error:
            return error.type
        return "?"

    async def scenario():
        async with app:
            handle = await parent.start()
            await begun(app, "kid")
            await app.client.get("kid").terminate("stop")
            with pytest.raises(WorkflowTerminated):
                await app.client.get("kid").result(30)
            return await handle.result(30)

    assert run(scenario) == "WorkflowTerminated"


def test_a_child_whose_id_is_taken_fails_the_call_and_not_the_other(run, app):
    @app.workflow
    async def child() -> str:
        return await wait_for_event("go")

    @app.workflow
    async def parent() -> str:
        try:
            await child.with_options(id="taken")()
        except ChildWorkflowFailed as error:
            return str(error)
        return "?"

    async def scenario():
        async with app:
            first = await child.with_options(id="taken").start()
            told = await (await parent.start()).result(30)
            await first.raise_event("go", "mine")
            return told, await first.result(30)

    told, result = run(scenario)
    assert "taken" in told
    assert result == "mine"


def test_children_of_a_fan_out_and_of_children(run, app):
    @app.workflow
    async def tree(depth: int) -> int:
        if depth == 0:
            return 1
        return 1 + sum(await asyncio.gather(tree(depth - 1), tree(depth - 1), tree(depth - 1)))

    async def scenario():
        async with app:
            return await (await tree.start(4)).result(30)

    assert run(scenario) == 121


def test_children_survive_a_cold_start_of_the_engine(run, app):
    @app.workflow
    async def child() -> int:
        return await wait_for_event("go", int)

    @app.workflow
    async def parent() -> int:
        return await child.with_options(id="kid")() + 1

    async def scenario():
        async with app:
            await parent.with_options(id="p").start()
            await begun(app, "kid")
        async with app:
            await app.client.get("kid").raise_event("go", 41)
            return await app.client.get("p").result(30)

    assert run(scenario) == 42


def test_a_workflow_called_outside_one_says_what_to_write(run, app):
    @app.workflow
    async def child() -> None: ...

    with pytest.raises(perdure.errors.NotStarted, match=r"\.start\("):
        child()


def test_a_failing_workflow_keeps_its_traceback(run, app):
    @app.workflow
    async def broken() -> None:
        raise LookupError("nobody home")

    async def scenario():
        async with app:
            await (await broken.start()).result(30)

    with pytest.raises(WorkflowFailed, match="nobody home") as caught:
        run(scenario)
    assert "in broken" in caught.value.__cause__.stack


def test_purging_a_parent_takes_its_finished_family_along(run, app):
    @app.workflow
    async def tree(depth: int) -> None:
        if depth:
            await asyncio.gather(tree(depth - 1), tree(depth - 1))

    async def scenario():
        async with app:
            handle = await tree.start(2)
            await handle.result(30)
            count = await handle.purge()
            with pytest.raises(InstanceNotFound):
                await handle.state()
            return count, [state async for state in app.client.list()]

    assert run(scenario) == (7, [])


def test_terminating_a_parent_takes_its_running_family_along_only_if_asked(run, app):
    @app.workflow
    async def tree(depth: int) -> None:
        if depth:
            await tree(depth - 1)
        await asyncio.sleep(3600)

    async def statuses(handle):
        return sorted([str(s.status) async for s in app.client.list(text=handle.id)])

    async def terminated(handle, **how):
        while await statuses(handle) != ["running"] * 3:
            await asyncio.sleep(0.01)
        await handle.terminate(**how)
        with pytest.raises(WorkflowTerminated):
            await handle.result()

    async def scenario():
        async with app:
            whole = await tree.with_options(id="whole").start(2)
            await terminated(whole)
            while await statuses(whole) != ["terminated"] * 3:
                await asyncio.sleep(0.01)
            alone = await tree.with_options(id="alone").start(2)
            await terminated(alone, recursive=False)
            await asyncio.sleep(0.2)
            assert await statuses(alone) == ["running", "running", "terminated"]
            await app.client.terminate_all()

    run(scenario)
