"""Instances whose mail has to wait are not loaded again and again, and wake when something changes."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from perdure import App
from perdure.actors import host as hosts

COUNT = 60
LOOKS = 5


def program(store: str, *, has_code: bool) -> App:
    app = App("resting", store=store, activations_max=10)

    async def main(x: int) -> int:
        return x

    if has_code:
        app.workflow(name="main")(main)
    return app


async def begin(app: App, at: datetime | None = None) -> list[Any]:
    main = app.client.workflow("main")
    options = [main.with_options(id=f"i{n}", at=at) for n in range(COUNT)]
    return await asyncio.gather(*(option.start(7) for option in options))


async def loads(app: App) -> int:
    """How many loads it takes to look for mail some times."""
    (shard,) = app._life.engine.owned.values()
    for _ in range(LOOKS):  # because those that leave memory as they stall are loaded once more
        await look(app, shard.host)
    before = shard.host.loads
    for _ in range(LOOKS):
        await look(app, shard.host)
    return shard.host.loads - before


async def look(app: App, host: hosts.Host) -> None:
    await app._life.engine._feed._mail_round()
    await host.settle(5)


async def all_stalled(app: App) -> None:
    while len([state async for state in app.client.list(stalled=True)]) < COUNT:
        await asyncio.sleep(0.01)


def test_stalled_instances_beyond_the_bound_rest_and_go_on_with_code(run, url):
    async def scenario():
        async with program(url, has_code=False) as app:
            await begin(app)
            await all_stalled(app)
            loaded = await loads(app)
            (shard,) = app._life.engine.owned.values()
            before = shard.host.loads
            await asyncio.gather(*(app.client.get(f"i{n}").terminate() for n in range(3)))
            ended = [(await app.client.get(f"i{n}").state()).status for n in range(3)]
        async with program(url, has_code=True) as app:
            results = [await app.client.get(f"i{n}").result(30) for n in range(3, COUNT)]
        return loaded, before, ended, results

    loaded, before, ended, results = run(scenario)
    assert loaded == 0
    assert before > 0
    assert ended == ["terminated"] * 3
    assert results == [7] * (COUNT - 3)


@pytest.mark.long
def test_instances_that_start_later_rest_and_start_in_time(run, url):
    async def scenario():
        async with program(url, has_code=True) as app:
            handles = await begin(app, datetime.now(UTC) + timedelta(seconds=2))
            return await loads(app), [await handle.result(30) for handle in handles]

    loaded, results = run(scenario)
    assert loaded == 0
    assert results == [7] * COUNT


def test_mail_from_elsewhere_wakes_one_that_rests(run, url):
    async def scenario():
        async with program(url, has_code=False) as app:
            await begin(app)
            await all_stalled(app)
            await loads(app)
            (shard,) = app._life.engine.owned.values()
            before = shard.host.loads
            other = App("resting", store=url, standby=True)
            async with other:
                await other.client.get("i0").terminate()
                with pytest.raises(TimeoutError):
                    await other.client.get("i1").result(0.1)
                while (await other.client.get("i0").state()).status != "terminated":
                    await asyncio.sleep(0.01)
            return shard.host.loads - before

    assert run(scenario) <= 2


def test_what_is_no_longer_remembered_is_only_loaded_again(run, url, monkeypatch):
    monkeypatch.setattr(hosts, "RESTING_MAX", 5)

    async def scenario():
        async with program(url, has_code=False) as app:
            await begin(app)
            await all_stalled(app)
            loaded = await loads(app)
        async with program(url, has_code=True) as app:
            return loaded, [await app.client.get(f"i{n}").result(30) for n in range(COUNT)]

    loaded, results = run(scenario)
    assert loaded > 0
    assert results == [7] * COUNT
