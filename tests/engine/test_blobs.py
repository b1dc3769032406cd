"""Large payloads lie in a place of their own, which may be slow, closed or swept."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta

import pytest

from perdure import App, Client, Codec, wait_for_event
from perdure.codec import Directory
from perdure.errors import BlobsUnavailable
from perdure.history.events import TurnStarted
from tests.engine.packed import Earlier, files_with
from tests.engine.test_stalls import stalled


class Slow(Directory):
    """A directory on a disk that takes its time, which is until it is let go."""

    def __init__(self, path):
        super().__init__(path)
        self.asked = asyncio.Event()
        self.let_go = asyncio.Event()

    async def write(self, name, data):
        self.asked.set()
        await self.let_go.wait()
        await super().write(name, data)


class Unreliable(Directory):
    """A directory that can be taken away."""

    is_there = True

    async def write(self, name, data):
        self._check()
        await super().write(name, data)

    async def read(self, name):
        self._check()
        return await super().read(name)

    def _check(self):
        if not self.is_there:
            raise BlobsUnavailable("the place is closed")


def bulky(url: str, codec: Codec) -> App:
    app = App("packed", store=url, codec=codec)

    @app.activity
    async def produce(count: int) -> str:
        return "x" * count

    @app.activity
    async def measure(text: str) -> int:
        return len(text)

    @app.workflow
    async def bulk(count: int) -> int:
        text = await produce(count)
        await wait_for_event("go")
        return await measure(text)

    @app.workflow
    async def light() -> str:
        return "light"

    return app


def test_a_slow_place_holds_up_its_own_run_alone(run, url, tmp_path):
    slow = Slow(tmp_path / "blobs")
    app = bulky(url, Codec(offload=slow, offload_above=1_000))

    async def scenario():
        async with app:
            handle = await app.client.workflow("bulk").start(2_000)
            await handle.raise_event("go")
            await slow.asked.wait()
            for _ in range(20):
                await (await app.client.workflow("light").start()).result()
            slow.let_go.set()
            return await handle.result()

    assert run(scenario) == 2_000


def test_a_close_waits_for_a_turn_whose_blobs_are_on_their_way(run, url, tmp_path):
    slow = Slow(tmp_path / "blobs")
    codec = Codec(offload=slow, offload_above=1_000)
    produced = []

    def app_of():
        app = App("packed", store=url, codec=codec)

        @app.activity
        async def produce() -> str:
            produced.append(1)
            return "x" * 900

        @app.activity
        async def measure(text: str) -> int:
            return len(text)

        @app.workflow
        async def bulk() -> int:
            return await measure(await produce() * 2)

        return app

    first, second = app_of(), app_of()

    async def scenario():
        async with first:
            await first.client.workflow("bulk").with_options(id="x").start()
            await slow.asked.wait()
            asyncio.get_running_loop().call_later(0.2, slow.let_go.set)
        async with second:
            return await second.client.get("x").result()

    assert run(scenario) == 1_800
    assert len(produced) == 1


def test_a_closed_place_stalls_and_a_resume_goes_on_when_it_is_open(run, url, tmp_path):
    blobs = Unreliable(tmp_path / "blobs")
    app = bulky(url, Codec(offload=blobs, offload_above=1_000))

    async def scenario():
        async with app:
            handle = await app.client.workflow("bulk").start(2_000)
            async with asyncio.timeout(30):
                while (await handle.explain()).cause != "event":
                    await asyncio.sleep(0.01)
            blobs.is_there = False
            await handle.raise_event("go")
            writes = await stalled(handle)
            blobs.is_there = True
            await handle.resume()
            result = await handle.result(30)
            blobs.is_there = False
            second = await app.client.workflow("bulk").with_options(id="y").start(2_000)
            of_the_attempt = await stalled(second)
            blobs.is_there = True
            await second.resume()
            await second.raise_event("go")
            return writes, result, of_the_attempt, await second.result(30)

    writes, result, of_the_attempt, second = run(scenario)
    assert writes.reason == of_the_attempt.reason == "blobs-unavailable"
    assert "closed" in writes.description
    assert result == second == 2_000


def test_a_missing_blob_stalls_and_names_it_and_goes_on_when_it_is_back(run, url, tmp_path):
    codec = Codec(offload=tmp_path / "blobs", offload_above=1_000)
    first, second, third = (bulky(url, codec) for _ in range(3))

    async def scenario():
        async with first:
            handle = await first.client.workflow("bulk").with_options(id="x").start(2_000)
            async with asyncio.timeout(30):
                while (await handle.explain()).cause != "event":
                    await asyncio.sleep(0.01)
        (blob,) = (tmp_path / "blobs").glob("*/*")
        kept = blob.rename(tmp_path / "kept")
        async with second:
            handle = second.client.get("x")
            await handle.raise_event("go")
            halt = await stalled(handle)
        kept.rename(blob)
        async with third:
            return blob.name, halt, await third.client.get("x").result(30)

    name, halt, result = run(scenario)
    assert halt.reason == "blob-missing"
    assert name in halt.description
    assert result == 2_000


def test_a_replay_of_large_payloads_meets_the_code_that_the_run_has_had(run, url, tmp_path):
    app = App("packed", store=url, codec=Codec(offload=tmp_path / "blobs", offload_above=100))

    @app.workflow
    async def collect(text: str) -> int:
        for _ in range(3):
            text += await wait_for_event("more", str)
        return len(text)

    async def scenario():
        async with app:
            await collect.with_options(id="x").start("x" * 1_000)
        for count in range(1, 4):
            async with app:
                handle = app.client.get("x")
                await handle.raise_event("more", "y" * 1_000)
                while len(found := await prints(handle)) <= count:
                    await asyncio.sleep(0.01)
        return found

    async def prints(handle):
        return [event.fingerprint async for event in handle.history() if isinstance(event, TurnStarted)]

    assert run(scenario) == [collect.fingerprint, None, None, None]


def test_values_beyond_the_bound_of_a_payload_pass_by_reference(run, url, tmp_path):
    app = bulky(url, Codec(offload=tmp_path / "blobs"))
    count = 9 * 1024 * 1024

    async def scenario():
        async with app:
            handle = await app.client.workflow("bulk").start(count)
            await handle.raise_event("go")
            return await handle.result(30)

    assert run(scenario) == count
    assert (tmp_path / "app.db").stat().st_size < 1024 * 1024


def test_a_sweep_takes_what_nothing_refers_to_and_nothing_else(run, url, tmp_path):
    def app_of(days):
        codec = Codec(offload=tmp_path / "blobs", offload_above=1_000, clock=Earlier(days))
        return bulky(url, codec)

    old, young = app_of(3), app_of(1)

    async def finished(app, id):
        handle = await app.client.workflow("bulk").with_options(id=id).start(2_000 + int(id))
        await handle.raise_event("go")
        await handle.result(30)
        return handle

    def blobs():
        return {path.name for path in (tmp_path / "blobs").glob("*/*")}

    async def scenario():
        async with young:
            await (await finished(young, "1")).purge()
        await_young = blobs()
        async with old:
            kept = await finished(old, "2")
            of_kept = blobs() - await_young
            waiting = await old.client.workflow("bulk").with_options(id="4").start(3_000)
            async with asyncio.timeout(30):
                while (await waiting.explain()).cause != "event":
                    await asyncio.sleep(0.01)
            of_waiting = blobs() - await_young - of_kept
            purged = await finished(old, "5")
            (tmp_path / "blobs" / "20200101").mkdir()
            (tmp_path / "blobs" / "20200101" / f"{'0' * 64}.0a0b0c0d.part").touch()
            assert await old.client.sweep() == 1  # what a crash left
            await purged.purge()
            swept = await old.client.sweep()
            again = await old.client.sweep()
            left = blobs()
            await waiting.raise_event("go")
            assert await waiting.result(30) == 3_000
            everything = await old.client.purge_all()
            return swept, again, left, await_young | of_kept | of_waiting, everything, kept

    swept, again, left, wanted, everything, _ = run(scenario)
    assert swept >= 1
    assert again == 0
    assert left == wanted
    assert everything == 2
    day = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y%m%d")
    assert {path.parent.name for path in (tmp_path / "blobs").glob("*/*")} == {day}  # because purge_all sweeps


CRASHER = """
import asyncio, os, signal, sys
from perdure import App, Codec
from perdure.codec import Directory

class Deadly(Directory):
    async def write(self, name, data):
        await super().write(name, data)
        if sys.argv[2] == "die" and data.startswith(b'"r'):
            os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with app:
        handle = await app.client.workflow("bulk").with_options(id="x", if_exists="return").start()
        print(await handle.result(30))

codec = Codec(offload=Deadly(f"{sys.argv[1]}/blobs"), offload_above=100)
app = App("packed", store=f"sqlite:///{sys.argv[1]}/app.db", codec=codec)

@app.activity
async def produce() -> str:
    return "r" + os.urandom(500).hex()

@app.workflow
async def bulk() -> int:
    return len(await produce())

asyncio.run(main())
"""


@pytest.mark.long
def test_a_kill_between_blob_and_commit_leaves_an_orphan_and_no_dangling_reference(run, url, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(CRASHER))

    def begin(how):
        command = [sys.executable, str(program), str(tmp_path), how]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, env=dict(os.environ), check=False)

    assert begin("die").returncode == -signal.SIGKILL
    (orphan,) = (tmp_path / "blobs").glob("*/*")
    assert files_with(tmp_path / "blobs", "r")
    assert not any(orphan.name.encode() in path.read_bytes() for path in tmp_path.glob("app.db*"))
    done = begin("live")
    assert done.stdout.strip() == "1001", done.stderr
    blobs = list((tmp_path / "blobs").glob("*/*"))
    assert len(blobs) == 2
    early = (datetime.now(UTC) - timedelta(days=4)).strftime("%Y%m%d")
    days = (orphan.parent.name, early)
    orphan.parent.rename(orphan.parent.with_name(early))  # as if days had passed, for the blobs and who refers to them

    async def scenario():
        async with Client(url, codec=Codec(offload=tmp_path / "blobs")) as client:
            return await client.sweep()

    with sqlite3.connect(tmp_path / "app.db") as database:
        for row, events in database.execute("select rowid, events from perdure_history").fetchall():
            renamed = events.replace(
                *(type(events)(name, "ascii") if isinstance(events, bytes) else name for name in days)
            )
            database.execute("update perdure_history set events = ? where rowid = ?", (renamed, row))
    database.close()
    assert run(scenario) == 1
    (left,) = (tmp_path / "blobs").glob("*/*")
    assert left.name != orphan.name
