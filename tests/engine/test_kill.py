"""Real processes and SIGKILL: nothing is lost, nothing committed is done again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import closing, suppress
from pathlib import Path

import pytest

from perdure import App, Client, on_update, wait_for_event
from perdure.engine import waiters
from perdure.errors import ForkedEngine, PerdureError, StoreOwned, StoreRolledBack
from perdure.history.events import ActivityCompleted, ActivityScheduled
from perdure.scheduler import pace
from tests.engine import ledger_app

LIVES = 20
PROGRAM = Path(ledger_app.__file__)


def begin(directory: Path, *words: str) -> subprocess.Popen[str]:
    """A process that runs the ledger program."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(directory), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    """Read what the process says until it says the word."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == word:
            return
    raise AssertionError(f"the process ended without {word!r}: {process.communicate()[1]}")


def ledger(directory: Path) -> list[list[str]]:
    path = directory / "ledger"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


async def completed(url: str) -> set[str]:
    """The keys of calls whose completion is in history."""
    found = set()
    async with Client(url, app_id="ledger") as client:
        async for state in client.list():
            async for event in client.get(state.id).history():
                if isinstance(event, ActivityCompleted):
                    found.add(f"{state.id}/{state.execution_id}.{state.run}/{event.number}")
    return found


@pytest.mark.long
@pytest.mark.timeout(150)
def test_twenty_lives_that_end_by_sigkill(tmp_path, url):
    dice = random.Random(20)
    seen = 0
    killed = 0
    for _ in range(LIVES):
        known = asyncio.run(completed(url)) if (tmp_path / "app.db").exists() else set()
        begun = len(ledger(tmp_path))
        process = begin(tmp_path)
        wait_for(process, "ready")
        time.sleep(dice.uniform(0.0, 0.35))
        if process.poll() is None:
            killed += 1
        kill(process)
        again = [line for line in ledger(tmp_path)[begun:] if line[0] == "begin" and line[2] in known]
        assert again == [], "a call whose completion was in history was run again"
        seen += len(known)
    process = begin(tmp_path)
    try:
        wait_for(process, "finished")
    finally:
        kill(process)
    assert killed >= LIVES // 2
    assert seen > 0
    asyncio.run(judge(url, tmp_path))


async def judge(url: str, directory: Path) -> None:
    """Every instance is right, every call was begun, and all attempts of a call carried one key."""
    async with Client(url, app_id="ledger") as client:
        names = [f"j{number}" for number in range(ledger_app.INSTANCES)]
        for name in names:
            assert await client.get(name).result(30) == ledger_app.expected(name)
        total = 0
        async for state in client.list():
            async for event in client.get(state.id).history():
                total += isinstance(event, ActivityScheduled)
    keys = defaultdict(set)
    attempts = 0
    for kind, name, key, _ in ledger(directory):
        keys[name].add(key)
        attempts += kind == "begin"
    assert len(keys) == total
    assert all(len(found) == 1 for found in keys.values())
    assert attempts >= total


def test_a_standby_serves_clients_and_takes_over_when_the_owner_is_killed(tmp_path, url, monkeypatch):
    monkeypatch.setattr(ledger_app, "DIRECTORY", tmp_path)
    owner = begin(tmp_path, "stay")
    try:
        wait_for(owner, "owner")
        standby = App("ledger", store=url)
        standby.include(ledger_app.app)

        async def scenario():
            async with standby:
                assert not standby.is_owner
                assert "standby" in repr(standby)
                client = standby.client
                handle = await client.workflow("job").with_options(id="mine").start("mine")
                await handle.raise_event("go", "event for mine")
                assert "mine" in [state.id async for state in client.list()]
                assert await handle.result(30) == ledger_app.expected("mine")
                late = await client.workflow("job").with_options(id="late").start("late")
                waiting = asyncio.create_task(late.result())
                await asyncio.sleep(0.1)
                kill(owner)
                async with asyncio.timeout(30):
                    while not standby.is_owner:
                        await asyncio.sleep(0.02)
                await late.raise_event("go", "event for late")
                assert await asyncio.wait_for(waiting, 30) == ledger_app.expected("late")
                for number in range(ledger_app.INSTANCES):
                    name = f"j{number}"
                    if [s async for s in client.list(text=name) if s.id == name and s.status == "running"]:
                        await client.get(name).raise_event("go", f"event for {name}")
                        assert (await client.get(name).result(30))[:-1] == ledger_app.expected(name)[:-1]

        asyncio.run(scenario())
    finally:
        kill(owner)
        ledger_app.app._host = None


def test_a_second_owner_is_refused_where_standing_by_is_not_wanted(tmp_path, url, run):
    owner = begin(tmp_path, "stay")
    try:
        wait_for(owner, "owner")

        async def scenario():
            app = App("ledger", store=url, standby=False)
            with pytest.raises(StoreOwned, match=str(owner.pid)):
                await app.open()
            async with Client(url) as client:
                while not [state async for state in client.list(limit=1)]:
                    await asyncio.sleep(0.01)

        run(scenario)
    finally:
        kill(owner)


def test_a_forked_child_that_uses_the_inherited_app_is_told_so(run, url):
    app = App("forks", store=url)

    @app.workflow
    async def main() -> int:
        return 1

    async def scenario():
        async with app:
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                said = b"no error"
                try:
                    app.client.workflow("main")
                except ForkedEngine as error:
                    said = error.code.encode()
                finally:
                    os.write(writing, said)
                    os._exit(0)
            os.close(writing)
            os.waitpid(child, 0)
            said = os.read(reading, 100)
            os.close(reading)
            return said, await (await main.start()).result(30)

    assert run(scenario) == (b"PERDURE-1011", 1)


def test_a_client_that_was_taken_before_the_fork_is_told_so_too(run, url):
    app = App("forks", store=url)

    @app.workflow
    async def main() -> int:
        return 1

    async def scenario():
        async with app:
            client = app.client
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                said = b"no error"
                try:
                    asyncio._set_running_loop(None)
                    asyncio.run(asyncio.wait_for(client.workflow("main").start(), 30))
                except ForkedEngine as error:
                    said = error.code.encode()
                except BaseException as error:  # noqa: BLE001 the parent judges what it was
                    said = repr(error).encode()
                finally:
                    os.write(writing, said)
                    os._exit(0)
            os.close(writing)
            os.waitpid(child, 0)
            said = os.read(reading, 200)
            os.close(reading)
            return said

    assert run(scenario) == b"PERDURE-1011"


def test_who_waits_on_a_standby_hears_what_the_owner_finished_just_before_it_left(run, url, monkeypatch):
    # because the takeover shall come between two looks
    for module, name in ((pace, "LOOK_SECONDS"), (pace, "LOOK_SECONDS_MAX"), (waiters, "LOOK_SECONDS_MAX")):
        monkeypatch.setattr(module, name, 600.0)

    def program() -> App:
        app = App("relay", store=url)

        @app.workflow
        async def main() -> int:
            return await wait_for_event("go", int)

        return app

    async def scenario():
        first, second = program(), program()
        await first.open()
        async with second:
            assert (first.is_owner, second.is_owner) == (True, False)
            handle = await second.client.workflow("main").start()
            waiting = asyncio.create_task(handle.result())
            await asyncio.sleep(0.2)
            there = first.client.get(handle.id)
            await there.raise_event("go", 42)
            assert await there.result(30) == 42
            await first.close()
            return await asyncio.wait_for(waiting, 30)

    assert run(scenario) == 42


@pytest.mark.parametrize("how", ["replaced", "copied back"])
def test_who_waits_when_the_store_becomes_an_older_one_is_told(run, url, tmp_path, how):
    app = App("relay", store=url)
    path, copy = tmp_path / "app.db", tmp_path / "copy.db"

    @app.workflow
    async def main() -> int:
        @on_update("never")
        async def never(data: int) -> None:
            await wait_for_event("never")

        return await wait_for_event("go", int)

    def back_up(source: Path, target: Path) -> None:
        with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
            one.backup(other)

    async def scenario():
        async with app:
            await main.with_options(id="before").start()
        back_up(path, copy)
        await app.open()
        try:
            handle = await main.with_options(id="x").start()
            asked = [
                asyncio.create_task(handle.result()),
                asyncio.create_task(handle.update("never", 1)),
                asyncio.create_task(app.client.get("before").result()),
            ]
            await asyncio.sleep(0.2)  # so that all three wait
            if how == "replaced":
                os.replace(copy, path)
            else:
                back_up(copy, path)
            with suppress(PerdureError):  # because it may be this very commit that finds out
                await handle.raise_event("go", 1)
            async with asyncio.timeout(30):
                return [type(error) for error in await asyncio.gather(*asked, return_exceptions=True)]
        finally:
            with suppress(StoreRolledBack):
                await app.close()

    assert run(scenario) == [StoreRolledBack] * 3
