"""Steps: closures of a workflow that run as durable calls, and are found again by whoever has to make them again."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap

import pytest

from perdure import ActivityFailed, App, KeyRing, Retry, activity_context, step, wait_for_event
from perdure.errors import InvalidArgument, OnlyInWorkflow
from perdure.events import ActivityScheduled
from tests.engine.cluster import World, in_world

steps = App("steps")
made: dict[str, int] = {}
keys: dict[str, set[str]] = {}


def note(what: str) -> None:
    made[what] = made.get(what, 0) + 1
    keys.setdefault(what, set()).add(activity_context().idempotency_key)


@steps.workflow
async def totals(prices: list[int]) -> int:
    async def priced(price: int) -> int:
        note(f"price {price}")
        await asyncio.sleep(0.5)
        return price * 2

    async def called(price: int) -> int:
        return await step("price", lambda: priced(price), type=int)

    doubled = await asyncio.gather(*(called(price) for price in prices))

    async def summed() -> int:
        note("sum")
        return sum(doubled)

    return await step("sum", summed, type=int, kind="total")


@pytest.mark.durable(crash="every-step")
def test_a_step_is_made_again_where_its_process_dies_and_under_the_same_key(perdure_app):
    made.clear()
    keys.clear()
    env = perdure_app(steps)

    async def scenario():
        handle = await totals.start([1, 20])
        assert await handle.result() == 42
        events = [event async for event in handle.history()]
        asked = [event for event in events if isinstance(event, ActivityScheduled)]
        assert [event.name for event in asked] == ["price", "price", "sum"]
        assert [event.tags for event in asked] == [{"perdure.step": ""}] * 2 + [{"perdure.step": "total"}]

    env.run(scenario())
    assert {what: len(of) for what, of in keys.items()} == {"price 1": 1, "price 20": 1, "sum": 1}
    assert max(made.values()) <= 2


def test_a_failed_step_is_tried_again_when_its_run_has_left_memory(run, url):
    app = App("evicting", store=url, activations_max=1)
    tries: list[int] = []

    @app.workflow
    async def stubborn(word: str) -> str:
        async def attempt() -> str:
            tries.append(activity_context().attempt)
            if len(tries) < 3:
                raise RuntimeError("not yet")
            return word

        return await step("stubborn", attempt, type=str, retry=Retry(max_attempts=5, initial_interval=0.2, backoff=1.0))

    @app.workflow
    async def other() -> None:
        await wait_for_event("never")

    async def scenario():
        async with app:
            handle = await stubborn.start("well")
            for _ in range(3):
                await other.start()
                await asyncio.sleep(0.1)
            return await handle.result(30)

    assert run(scenario) == "well"
    assert tries == [1, 2, 3]


@pytest.mark.long
def test_a_step_of_a_run_with_a_codec_is_found_again(run, url, tmp_path):
    program = textwrap.dedent(
        """
        import asyncio, os, signal, sys
        from perdure import App, Codec, KeyRing, step

        app = App("packed", store=sys.argv[1], codec=Codec(keys=KeyRing({"a": sys.argv[2]})), drain_seconds=0.0)

        @app.workflow
        async def greet(name: str) -> str:
            async def body() -> str:
                if sys.argv[3] == "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                return f"hello {name}"

            return await step("greet", body, type=str)

        async def main():
            async with app:
                handle = await greet.with_options(id="g", if_exists="return").start("Ada")
                print(await handle.result(30))

        asyncio.run(main())
        """
    )
    key = KeyRing.new_key()

    def life(word: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program, url, key, word], check=False, capture_output=True, text=True, timeout=30
        )

    assert life("die").returncode == -signal.SIGKILL
    done = life("live")
    assert done.stdout == "hello Ada\n", done.stderr


def test_another_node_makes_the_step_again_whose_owner_was_killed():
    made_on: list[tuple[str, str]] = []

    def code(node: str) -> App:
        app = App("shop")

        @app.workflow(name="greet")
        async def greet(name: str) -> str:
            async def body() -> str:
                made_on.append((node, activity_context().idempotency_key))
                await asyncio.sleep(5)
                return f"hello {name}"

            return await step("greet", body, type=str)

        return app

    async def scenario(world: World) -> str:
        one = await world.node("one", code("one"))
        await one.start("greet", "Ada")
        two = await world.node("two", code("two"))
        await asyncio.sleep(1)
        (owner,) = [node for node in (one, two) if node.name == made_on[0][0]]
        owner.process.kill()
        state = await (two if owner is one else one).outcome()
        assert state.output is not None
        return bytes(state.output.data).decode()

    assert in_world(scenario) == '"hello Ada"'
    (first, key), (second, again) = made_on
    assert first != second
    assert key == again


def test_other_code_that_does_not_ask_for_the_step_stands_still(run, url):
    begun = asyncio.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.sleep(60)

    def code(name: str) -> App:
        app = App("changed", store=url, drain_seconds=0.0)

        @app.workflow(name="w")
        async def w() -> None:
            await step(name, hang)

        return app

    async def scenario():
        before = code("old")
        async with before:
            handle = await before.client.workflow("w").start()
            await begun.wait()
        async with (after := code("new")):
            found = after.client.get(handle.id)
            while (state := await found.state()).stalled is None:
                await asyncio.sleep(0.01)
            return state.stalled.reason

    assert run(scenario) == "non-determinism"


def test_the_stream_of_a_step_is_read_beside_its_result(run, url):
    app = App("streaming", store=url)

    @app.workflow
    async def tell() -> int:
        async def told() -> int:
            for word in ("once", "upon"):
                await activity_context().put(word)
            return 2

        return await step("told", told, type=int, stream=True)

    async def scenario():
        async with app:
            handle = await tell.start()
            count = await handle.result(30)
            return count, [item async for item in handle.stream("told", type=str)]

    assert run(scenario) == (2, ["once", "upon"])


def test_what_a_step_may_not_be_is_refused(run, url):
    app = App("refusing", store=url)

    @app.workflow
    async def wrong() -> str:
        with pytest.raises(InvalidArgument, match="async function"):
            await step("x", 5)  # type: ignore[call-overload]
        with pytest.raises(InvalidArgument):
            await step("", lambda: asyncio.sleep(0))
        for kind in (5, None, "x" * 257, "a\nb"):  # before it is stored, because nobody could read that history again
            with pytest.raises(InvalidArgument, match="a step's kind"):
                await step("x", lambda: asyncio.sleep(0), kind=kind)  # type: ignore[call-overload]
        with pytest.raises(ActivityFailed, match="division"):
            await step("y", divided)
        return "refused"

    async def divided() -> float:
        return 1 / 0

    async def scenario():
        with pytest.raises(OnlyInWorkflow):
            await step("outside", divided)
        async with app:
            return await (await wrong.start()).result(30)

    assert run(scenario) == "refused"
