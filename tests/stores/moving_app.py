"""An app with every sort of thing under way, which stops at a gate: activities end once a file is there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from perdure import App, Client, Queue, activity_context, on_update, set_state, wait_for_event

LEFT = {
    "call": "activity",
    "slept": "timer",
    "week": "timer",
    "events": "event",
    "parent": "activity",
    "stream": "activity",
    "updated": "event",
}
"""Instances that are under way when the first node leaves, and what each then waits for, or its child does."""


def shop(store: Any, folder: Path) -> App:
    """The app on a store; its gate and its ledger of attempts are in the folder."""
    app = App("shop", store=store, drain_seconds=0.0, quarantine_deaths=None)
    line = Queue("post", concurrency=1)

    async def gate(name: str) -> str:
        with (folder / "ledger").open("a") as ledger:
            print(name, activity_context().idempotency_key, file=ledger)
        while not (folder / "open").exists():
            await asyncio.sleep(0.005)
        return f"{name} done"

    @app.activity
    async def hold(name: str) -> str:
        return await gate(name)

    @app.activity(queue=line)
    async def post(name: str) -> str:
        return await gate(name)

    @app.activity
    async def count() -> AsyncIterator[int]:
        yield 1
        await gate("count")
        yield 2

    @app.workflow
    async def calls(name: str = "call") -> str:
        set_state("calling", "phase")
        return await hold(name)

    @app.workflow
    async def sleeps(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "slept"

    @app.workflow
    async def waits() -> list[Any]:
        return [await wait_for_event("go"), await wait_for_event("go")]

    @app.workflow
    async def parent() -> str:
        return f"of {await calls.with_options(id='child')('child')}"

    @app.workflow
    async def posts(name: str) -> str:
        return await post(name)

    @app.workflow
    async def streams() -> str:
        await count()
        return "streamed"

    @app.workflow
    async def updated() -> int:
        total = 0

        @on_update("add")
        async def added(number: int) -> int:
            nonlocal total
            total += number
            return total

        await wait_for_event("end")
        return total

    @app.workflow
    async def quick(value: int) -> int:
        return value

    return app


async def begin(app: App) -> None:
    """Run everything on a node up to the gate; the node leaves."""
    async with app:
        client = app.client
        for id, name, *arguments in (
            ("call", "calls"),
            ("slept", "sleeps", 2.0),
            ("week", "sleeps", 7 * 86_400.0),
            ("events", "waits"),
            ("parent", "parent"),
            ("posted 1", "posts", "post 1"),
            ("posted 2", "posts", "post 2"),
            ("stream", "streams"),
            ("updated", "updated"),
            ("done", "quick", 5),
        ):
            await client.workflow(name).with_options(id=id, tags={"lot": "first"}).start(*arguments)
        quick: Any = app.definitions.workflows["quick"]
        await quick.with_schedule("hourly", every=timedelta(hours=1)).create(7)
        assert await client.get("done").result(30) == 5
        assert await client.get("updated").update("add", 2, id="u1", timeout=10) == 2
        await client.get("events").raise_event("go", 1)
        for id, cause in LEFT.items():
            await until(client, id, cause)
        async for item in client.get("stream").stream("count"):
            assert item == 1
            break


async def until(client: Client, id: str, cause: str) -> None:
    while (await client.get(id).explain()).cause != cause:
        await asyncio.sleep(0.005)


async def add(client: Client) -> None:
    """What a client does while no node runs: mail, and an instance that nobody has begun."""
    await client.get("events").raise_event("go", 2)
    await client.workflow("quick").with_options(id="pending").start(6)


async def end(app: App, folder: Path) -> dict[str, Any]:
    """Open the gate and run everything to its end; the results by id."""
    (folder / "open").touch()
    async with app:
        client = app.client
        assert await client.get("updated").update("add", 9, id="u1", timeout=10) == 2, "it was answered before"
        assert await client.get("updated").update("add", 3, timeout=10) == 5
        await client.get("updated").raise_event("end", None)
        assert await client.get("call").query(name="phase") == "calling"
        ids = ("call", "slept", "events", "parent", "child", "posted 1", "posted 2", "stream", "updated", "pending")
        results = {id: await client.get(id).result(30) for id in ids}
        results["items"] = [item async for item in client.get("stream").stream("count")]
        results["week"] = (await client.get("week").explain()).cause
        run = await client.get_schedule("hourly").trigger()
        results["run"] = await run.result(30)
        results["lot"] = len([state async for state in client.list(tags={"lot": "first"})])
        return results


RESULTS = {
    "call": "call done",
    "slept": "slept",
    "events": [1, 2],
    "parent": "of child done",
    "child": "child done",
    "posted 1": "post 1 done",
    "posted 2": "post 2 done",
    "stream": "streamed",
    "updated": 5,
    "pending": 6,
    "items": [1, 1, 2],
    "week": "timer",
    "run": 7,
    "lot": 9,
}
"""What `end` gives; the stream has one item twice, because its attempt ran again. Finished ones are not in the lot."""


def ledger(folder: Path) -> list[str]:
    return (folder / "ledger").read_text().splitlines() if os.path.exists(folder / "ledger") else []
