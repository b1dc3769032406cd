"""Changing code under running workflows: patches, versions, and the fingerprint that a run records."""

from __future__ import annotations

import asyncio

import pytest

import perdure
from perdure import App, WorkflowContext, patched, wait_for_event
from perdure.errors import AlreadyRegistered, InvalidArgument, OnlyInWorkflow
from perdure.history.events import TurnStarted
from perdure.testing import run as perdure_run


def shop(url, code, **more):
    """An app whose workflow `main` is `code`, with the activities that it may call."""
    app = App("shop", store=url)

    @app.activity
    async def step(name: str) -> str:
        return name

    app.workflow(name="main", **more)(code(step))
    return app


def old(step):
    async def main() -> list[str]:
        done = [await step("a")]
        done.append(await wait_for_event("go", str))
        done.append(await step("b"))
        return done

    return main


def patched_before(step):
    """The patch lies before the point where the runs of `old` wait."""

    async def main() -> list[str]:
        done = []
        if patched("check-first"):
            done.append(await step("check"))
        done.append(await step("a"))
        done.append(await wait_for_event("go", str))
        done.append(await step("b"))
        return done

    return main


def patched_after(step):
    """The patch lies behind the point where the runs of `old` wait."""

    async def main() -> list[str]:
        done = [await step("a")]
        done.append(await wait_for_event("go", str))
        if patched("two-b"):
            done.append(await step("b1"))
        done.append(await step("b"))
        done.append(f"{patched('two-b')}")
        return done

    return main


async def begun(app, id="x"):
    """An instance that waits for its event, with its app closed again."""
    async with app:
        handle = await app.client.workflow("main").with_options(id=id).start()
        await waiting(handle)
    return handle


async def waiting(handle, seconds=30.0):
    async with asyncio.timeout(seconds):
        while (await handle.explain()).cause != "event":
            await asyncio.sleep(0.01)


async def turns(handle):
    return [event async for event in handle.history() if isinstance(event, TurnStarted)]


def test_a_run_that_has_passed_keeps_the_old_side_for_ever(run, url):
    async def scenario():
        await begun(shop(url, old))
        app = shop(url, patched_before)
        async with app:
            handle = app.client.get("x")
            await handle.raise_event("go", "e")
            return await handle.result(30), [turn.patches for turn in await turns(handle)]

    result, patches = run(scenario)
    assert result == ["a", "e", "b"]
    assert not any(patches)


def test_a_new_run_takes_the_new_side_and_records_it_once(run, url):
    async def scenario():
        await begun(shop(url, patched_before))
        app = shop(url, patched_before)
        async with app:
            handle = app.client.get("x")
            await handle.raise_event("go", "e")
            return await handle.result(30), [turn.patches for turn in await turns(handle)]

    result, patches = run(scenario)
    assert result == ["check", "a", "e", "b"]
    assert [found for found in patches if found] == [["check-first"]]


def test_a_run_that_has_not_passed_takes_the_new_side_and_stays_there(run, url):
    async def scenario():
        await begun(shop(url, old))
        app = shop(url, patched_after)
        async with app:
            handle = app.client.get("x")
            await handle.raise_event("go", "e")
            return await handle.result(30), [turn.patches for turn in await turns(handle)]

    result, patches = run(scenario)
    assert result == ["a", "e", "b1", "b", "True"]
    assert [found for found in patches if found] == [["two-b"]]


def test_a_patch_that_nobody_asks_for_any_more_disturbs_nobody(run, url):
    """The new side without its `if`: what stays when no run needs the old side."""

    def cleaned(step):
        async def main() -> list[str]:
            done = [await step("check"), await step("a")]
            done.append(await wait_for_event("go", str))
            done.append(await step("b"))
            return done

        return main

    async def scenario():
        await begun(shop(url, patched_before))
        app = shop(url, cleaned)
        async with app:
            handle = app.client.get("x")
            await handle.raise_event("go", "e")
            return await handle.result(30)

    assert run(scenario) == ["check", "a", "e", "b"]


def test_a_patch_in_a_loop_stays_as_the_first_round_had_it(run, url):
    def round_trip(new):
        def code(step):
            async def main() -> list[str]:
                done = []
                for _ in range(2):
                    done.append(await wait_for_event("go", str))
                    if new and patched("loop"):
                        done.append("new")
                    await step("s")
                return done

            return main

        return code

    async def scenario():
        app = shop(url, round_trip(new=False))
        async with app:
            handle = await app.client.workflow("main").with_options(id="x").start()
            await handle.raise_event("go", "1")
            while len(await turns(handle)) < 3:
                await asyncio.sleep(0.01)
        app = shop(url, round_trip(new=True))
        async with app:
            handle = app.client.get("x")
            await handle.raise_event("go", "2")
            return await handle.result(30)

    assert run(scenario) == ["1", "2"]


def test_daprs_style_asks_by_daprs_name(run, url):
    app = App("shop", store=url)

    @app.workflow
    def main(ctx: WorkflowContext, x: int):
        yield ctx.create_timer(__import__("datetime").timedelta(0))
        return [ctx.is_patched("p"), ctx.is_patched("p")]

    async def scenario():
        async with app:
            return await (await app.client.workflow("main").start(1)).result(30)

    assert run(scenario) == [True, True]


def test_a_patch_is_asked_for_by_name_and_only_in_a_workflow(run, url):
    with pytest.raises(OnlyInWorkflow):
        patched("p")
    app = App("shop", store=url)

    @app.workflow
    async def main() -> str:
        try:
            patched("")
        except InvalidArgument as error:
            return str(error)
        return ""

    async def scenario():
        async with app:
            return await (await main.start()).result(30)

    assert "the name of a patch" in run(scenario)


def test_code_may_listen_later_than_the_code_before_it_did(run, url):
    """The wait of the old code has the number that the new code's first wait gets."""

    def both_at_once(step):
        async def main() -> str:
            heard, _ = await asyncio.gather(wait_for_event("go", str), asyncio.sleep(0.3))
            return heard

        return main

    def one_after_the_other(step):
        async def main() -> str:
            await asyncio.sleep(0.3)
            return await wait_for_event("other", str)

        return main

    async def scenario():
        await begun(shop(url, both_at_once))
        app = shop(url, one_after_the_other)
        async with app:
            handle = app.client.get("x")
            async with asyncio.timeout(30):
                while "'other'" not in (await handle.explain()).sentence:
                    await asyncio.sleep(0.01)
            await handle.raise_event("other", "heard")
            return await handle.result(30)

    assert run(scenario) == "heard"


# -- versions -----------------------------------------------------------------------------------------------------


def versioned(url, *versions, marked=None):
    """An app with these versions of `main`, None for the one without; each says which it is, and waits once."""
    app = App("shop", store=url)
    for version in versions:

        @app.workflow(name="main", version=version, latest=version == marked and marked is not None)
        async def main(rounds: int = 0, *, version=version) -> list[str]:
            found = [str(version), await wait_for_event("go", str)]
            if rounds:
                perdure.continue_as_new(rounds - 1)
            return found

    return app


def test_a_new_run_takes_the_latest_and_stays_on_it(run, url):
    async def scenario():
        app = versioned(url, "9", "10", None)
        async with app:
            handle = await app.client.workflow("main").with_options(id="x").start()
            await waiting(handle)
            version = (await handle.state()).version
        app = versioned(url, "9", "10", "11", None)
        async with app:
            handle = app.client.get("x")
            await handle.raise_event("go", "e")
            return version, await handle.result(30)

    assert run(scenario) == ("10", ["10", "e"])


def test_the_marked_version_is_the_latest(run, url):
    async def scenario():
        app = versioned(url, "1", "2", marked="1")
        async with app:
            handle = await app.client.workflow("main").start()
            await handle.raise_event("go", "e")
            return await handle.result(30)

    assert run(scenario) == ["1", "e"]


def test_a_run_from_before_there_were_versions_stays_on_the_code_without_one(run, url):
    async def scenario():
        app = versioned(url, None)
        async with app:
            await waiting(await app.client.workflow("main").with_options(id="x").start())
        app = versioned(url, None, "2")
        async with app:
            handle = app.client.get("x")
            await handle.raise_event("go", "e")
            return await handle.result(30)

    assert run(scenario) == ["None", "e"]


def test_a_test_runs_the_version_that_it_names():
    app = App("shop")

    @app.workflow(name="main", version="1")
    async def first() -> int:
        return 1

    @app.workflow(name="main", version="2")
    async def second() -> int:
        return 2

    assert (perdure_run(first), perdure_run(second)) == (1, 2)


def test_a_missing_version_stands_still_names_what_there_is_and_goes_on_when_it_comes(run, url):
    async def scenario():
        app = versioned(url, "1")
        async with app:
            await waiting(await app.client.workflow("main").with_options(id="x").start())
        app = versioned(url, "2", "3", None)
        async with app:
            handle = app.client.get("x")
            await handle.raise_event("go", "e")
            async with asyncio.timeout(30):
                while (halt := (await handle.state()).stalled) is None:
                    await asyncio.sleep(0.01)
        app = versioned(url, "1", "2")
        async with app:
            return halt, await app.client.get("x").result(30)

    halt, result = run(scenario)
    assert halt.reason == "version-not-registered"
    assert "no version '1' of workflow 'main'" in halt.description
    assert "(there are: one without a version, 2, 3)" in halt.description
    assert result == ["1", "e"]


def test_the_next_generation_takes_the_latest(run, url):
    async def scenario():
        app = versioned(url, "1")
        async with app:
            await waiting(await app.client.workflow("main").with_options(id="x").start(1))
        app = versioned(url, "1", "2")
        async with app:
            handle = app.client.get("x")
            await handle.raise_event("go", "e")
            async with asyncio.timeout(30):
                while (await handle.state()).run == 1 or (await handle.state()).version is None:
                    await asyncio.sleep(0.01)
            await handle.raise_event("go", "f")
            return await handle.result(30), (await handle.state()).version

    assert run(scenario) == (["2", "f"], "2")


def test_a_rerun_stays_on_the_version_of_what_it_keeps(run, url):
    async def scenario():
        first = App("shop", store=url)

        def register(app, version):
            @app.activity
            async def step(name: str) -> str:
                return name

            @app.workflow(name="main", version=version)
            async def main() -> list[str]:
                return [str(version), await step("a"), await step("b")]

        register(first, "1")
        async with first:
            handle = await first.client.workflow("main").with_options(id="x").start()
            await handle.result(30)
        second = App("shop", store=url)
        register(second, "1")

        @second.workflow(name="main", version="2")
        async def newer() -> list[str]:
            return ["2"]

        async with second:
            again = await second.client.get("x").rerun(2)
            return await again.result(30), (await again.state()).version

    assert run(scenario) == (["1", "a", "b"], "1")


def test_two_functions_of_one_name_and_version_are_refused():
    app = App("shop")

    @app.workflow(name="main", version="1")
    async def first() -> None: ...

    with pytest.raises(AlreadyRegistered, match="another version"):

        @app.workflow(name="main", version="1")
        async def second() -> None: ...


def test_two_marked_versions_are_refused():
    app = App("shop")

    @app.workflow(name="main", version="1", latest=True)
    async def first() -> None: ...

    with pytest.raises(AlreadyRegistered, match="mark one"):

        @app.workflow(name="main", version="2", latest=True)
        async def second() -> None: ...


def test_a_version_is_a_name():
    with pytest.raises(InvalidArgument, match="a version"):
        App("shop").workflow(version="")


def test_an_included_app_brings_all_its_versions():
    app = App("whole").include(versioned("memory:", "1", "2"))
    assert set(app.definitions.versions["main"]) == {"1", "2"}
    assert app.definitions.workflows["main"].version == "2"


# -- fingerprints -------------------------------------------------------------------------------------------------


def test_a_run_records_which_code_took_it_up_and_when_that_changed(run, url):
    async def scenario():
        first = shop(url, old)
        await begun(first)
        app = shop(url, patched_after)
        async with app:
            handle = app.client.get("x")
            await handle.raise_event("go", "e")
            await handle.result(30)
            prints = [first.definitions.workflows["main"].fingerprint, app.definitions.workflows["main"].fingerprint]
            return prints, [turn.fingerprint for turn in await turns(handle)]

    prints, recorded = run(scenario)
    assert recorded[0] == prints[0]
    assert [found for found in recorded if found] == prints
