"""Steps at a server: their code is found by whichever worker has the workflow, also behind a codec of the app's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from perdure import App, Client, activity_context, step
from perdure.codec import Codec, KeyRing
from perdure.events import ActivityScheduled
from tests.remote.native.serving import served

SECONDS = 30.0


def worker(url: str, body: Callable[[], Any], **options: Any) -> App:
    """An App with a workflow of two steps, the second of which runs `body`."""
    app = App("shop", server=url, drain_seconds=0.0, **options)

    @app.workflow
    async def main(name: str) -> str:
        async def told() -> str:
            return f"told {name}"

        first = await step("first", told, type=str)
        return f"{first}, {await step('second', body, type=str)}"

    return app


def idle(url: str) -> App:
    """A worker of the same app that lacks the workflow."""
    app = App("shop", server=url)

    @app.workflow
    async def other() -> None: ...

    return app


async def key() -> str:
    return activity_context().idempotency_key


@pytest.mark.parametrize("codec", [None, Codec(keys=KeyRing({"a": bytes(32)}))])
def test_a_step_goes_on_with_another_worker_that_has_the_workflow(url, run, codec) -> None:
    keys: list[str] = []
    begun = asyncio.Event()

    async def hangs() -> str:
        keys.append(await key())
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def ends() -> str:
        keys.append(await key())
        return "ended"

    async def scenario() -> None:
        async with asyncio.timeout(SECONDS), served(url) as there:
            async with worker(there.url, hangs, codec=codec) as first:
                handle = await first.client.workflow("main").with_options(id="r").start("Ada")
                await begun.wait()
            async with Client(there.url) as client:
                explained = await client.get("r").explain()
                assert "no worker of app shop is connected" in str(explained)
                async with idle(there.url):
                    explained = await client.get("r").explain()
                    assert "the only worker of app shop that is connected has no workflow main" in str(explained)
                    assert keys == keys[:1]
                    async with worker(there.url, ends, codec=codec) as second:
                        assert await second.client.get("r").result() == "told Ada, ended"
                events = [event async for event in client.get(handle.id).history()]
                tags = [event.tags for event in events if isinstance(event, ActivityScheduled)]
                assert tags == [{"perdure.step": "", "perdure.workflow": "main"}] * 2

    run(scenario)
    assert len(keys) == 2
    assert keys[0] == keys[1]
