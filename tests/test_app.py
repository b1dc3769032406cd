"""An app's own life: which loop and process it belongs to, and that nothing stays held when it ends badly."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import asynccontextmanager

import pytest

from perdure import App
from perdure.errors import NotOpen
from perdure.stores.sql.runner import ThreadRunner


@pytest.fixture
def make(url: str) -> Callable[[], App]:
    """Makes the same app again, as another process would."""

    def make() -> App:
        app = App("life", store=url, drain_seconds=30.0)

        @app.activity
        async def wait() -> None:
            await asyncio.sleep(3600)

        @app.workflow
        async def echo(said: str) -> str:
            return said

        @app.workflow
        async def hang() -> None:
            await wait()

        return app

    return make


async def answers(app: App) -> str:
    """What a workflow that runs here returns; shows that this process owns the store."""
    handle = await app.client.workflow("echo").start("here")
    assert app.is_owner
    return await handle.result(30)


def test_an_app_whose_loop_was_closed_is_opened_again_on_another(make, run):
    app = make()
    run(app.open)

    async def again():
        with pytest.raises(NotOpen, match="another event loop"):
            await app.client.workflow("echo").start("lost")
        async with app:
            return await answers(app)

    assert run(again) == "here"


def test_closing_an_app_whose_loop_was_closed_frees_the_store(make, run):
    app = make()
    run(app.open)
    run(app.close)

    async def elsewhere():
        async with make() as other:
            return await answers(other)

    assert run(elsewhere) == "here"


def test_an_activity_that_is_taken_up_uses_the_client(url, run):
    app = App("life", store=url, drain_seconds=0.0)
    is_first = True

    @app.activity
    async def begin() -> str:
        if is_first:
            await asyncio.sleep(3600)
        return await (await echo.start("said")).result(30)

    @app.workflow
    async def echo(said: str) -> str:
        return said

    @app.workflow
    async def order() -> str:
        return await begin()

    async def before():
        async with app:
            await order.with_options(id="order-1").start()
            async for _ in app.client.list(name="order", status="running"):
                return

    async def after():
        async with app:
            return await app.client.get("order-1").result(30)

    run(before)
    is_first = False
    assert run(after) == "said"


def test_another_thread_is_told_that_the_app_is_not_of_its_loop(make, run):
    async def scenario():
        async with make() as app:
            said: list[str] = []

            async def meddle():
                for call in (lambda: app.client.workflow("echo").start("x"), app.client.get("x").state, app.close):
                    with pytest.raises(NotOpen) as caught:
                        await call()
                    said.append(str(caught.value))

            thread = threading.Thread(target=lambda: asyncio.run(meddle()))
            thread.start()
            await asyncio.to_thread(thread.join)
            assert len(said) == 3
            assert all("another event loop" in text for text in said)
            return await answers(app)

    assert run(scenario) == "here"


@pytest.fixture
def runners(monkeypatch):
    """The threads that work on stores."""
    alive: list[ThreadRunner] = []
    begin, stop = ThreadRunner.__init__, ThreadRunner.stop

    def begun(self, name):
        begin(self, name)
        alive.append(self)

    def stopped(self):
        stop(self)
        alive.remove(self)

    monkeypatch.setattr(ThreadRunner, "__init__", begun)
    monkeypatch.setattr(ThreadRunner, "stop", stopped)
    return alive


@asynccontextmanager
async def held(runners):
    """Each thread is in its work, and not in SQLite, because a fork while one is leaves the child its lock for ever."""
    go_on = threading.Event()

    async def hold(runner):
        is_held = threading.Event()
        holding = asyncio.ensure_future(runner.run(lambda: (is_held.set(), go_on.wait())))
        assert await asyncio.to_thread(is_held.wait, 30)
        return holding

    holding = [await hold(runner) for runner in list(runners)]
    assert holding
    try:
        yield
    finally:
        go_on.set()
        await asyncio.gather(*holding)


def test_a_forked_child_opens_the_app_that_it_inherited(make, run, runners):
    app = make()

    async def as_standby() -> bytes:
        async with app:
            await app.state().set("of the child", 1)
            return b"standby" if not app.is_owner else b"owner"

    async def scenario():
        async with app:
            await app.state().set("of the parent", 1)
            reading, writing = os.pipe()
            async with held(runners):
                child = os.fork()
                if child == 0:
                    faulthandler.dump_traceback_later(40, exit=True)
                    said = b"failed"
                    try:
                        asyncio._set_running_loop(None)
                        said = asyncio.run(asyncio.wait_for(as_standby(), 30))
                    finally:
                        os.write(writing, said)
                        os._exit(0)
            await asyncio.to_thread(os.waitpid, child, 0)
            said = os.read(reading, 100)
            os.close(reading)
            os.close(writing)
            return said, await answers(app)

    assert run(scenario) == (b"standby", "here")


def test_a_close_that_is_cancelled_while_it_drains_frees_the_store(make, run):
    async def scenario():
        app = make()
        await app.open()
        await app.client.workflow("hang").start()
        closing = asyncio.create_task(app.close())
        await asyncio.sleep(0.05)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        other = make()
        await other.open()
        said = await answers(other)
        closing = asyncio.create_task(other.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        return said

    assert run(scenario) == "here"


def test_an_open_that_is_cancelled_anywhere_leaves_nothing_held(make, run):
    async def scenario():
        for steps in range(40):
            app = make()
            opening = asyncio.create_task(app.open())
            for _ in range(steps):
                await asyncio.sleep(0.0005)
            opening.cancel()
            await asyncio.wait([opening])
            await app.close()
        async with make() as app:
            return await answers(app)

    assert run(scenario) == "here"


def test_a_standby_says_once_whom_it_stands_by_for(make, run, caplog):
    caplog.set_level(logging.INFO, logger="perdure")

    async def scenario():
        async with make(), make() as standby:
            for _ in range(3):
                await standby._life.engine._ownership._round()

    run(scenario)
    assert len([record for record in caplog.records if "stands by" in record.message]) == 1


LOADED = """
import sys
from perdure import App, Client

App("light", store="sqlite:///light.db", retention={"completed": 60})
print(*sys.modules)
"""


def test_an_app_that_is_not_open_has_loaded_no_engine_and_no_store():
    names = subprocess.run([sys.executable, "-c", LOADED], check=True, capture_output=True, text=True).stdout.split()
    rooms = {name.split(".")[1] for name in names if name.startswith("perdure.")}
    assert rooms.isdisjoint({"actors", "scheduler", "remote"})
    assert [name for name in names if name.startswith("perdure.engine.")] == ["perdure.engine.settings"]
    assert [name for name in names if name.startswith("perdure.stores.") and "contract" not in name] == []
    assert "sqlite3" not in names
