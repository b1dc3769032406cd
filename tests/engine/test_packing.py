"""Packed payloads through the real engine: encrypted, offloaded, forgotten; what cannot be read stands still."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from perdure import (
    ActivityFailed,
    App,
    Client,
    Codec,
    KeyRing,
    PersonalKeys,
    Retry,
    Secret,
    WorkflowFailed,
    activity_context,
    continue_as_new,
    on_update,
    set_state,
    set_status,
    wait_for_event,
)
from perdure.clock import SystemClock
from perdure.codec import Directory, Unreadable
from perdure.errors import BlobsUnavailable, KeyMissing, PayloadTampered
from perdure.sdk.packing.fields import parts
from tests.engine.test_stalls import stalled

WORD = "Lovelace"
"""Stands in everything that is passed, and may stand in no file."""
KEY1, KEY2 = KeyRing.new_key(), KeyRing.new_key()


def files_with(directory: Path, *words: str) -> list[str]:
    """The files under a directory in whose bytes one of the words stands, in whatever Unicode encoding."""
    forms = [word.encode(encoding) for word in words for encoding in ("utf-8", "utf-16-le")]
    files = [path for path in directory.rglob("*") if path.is_file()]
    return [path.name for path in files if any(form in path.read_bytes() for form in forms)]


def everything(url: str, codec: Codec | None) -> App:
    """An app that passes the word through every place where a value can be."""
    app = App("packed", store=url, codec=codec)

    @app.activity(retry=Retry(max_attempts=2, initial_interval=0.05))
    async def work(name: str, *, secret: Secret[str]) -> list[str]:
        context = activity_context()
        if context.attempt == 1:
            context.heartbeat({"seen": name})
            await asyncio.sleep(0.3)  # so that a look finds the heartbeat
            raise ValueError(f"no {name} today")
        assert context.last_details() == {"seen": name}
        return [name, secret.reveal(), os.urandom(1_000).hex()]

    @app.activity(retry=Retry(max_attempts=1))
    def fail(name: str) -> None:
        raise KeyError(name)

    @app.workflow
    async def child(names: list[str]) -> dict:
        await wait_for_event("child may go")
        return {"names": names[:2]}

    @app.workflow
    async def main(name: str, generation: int = 1) -> dict:
        set_status({"for": name, "run": generation})
        set_state({"name": name})

        @on_update("rename")
        async def rename(other: str) -> str:
            return f"{other}, not {name}"

        if generation == 1:
            await wait_for_event("next")
            continue_as_new(name, 2, keep_events=True)
        done = await work(name, secret=Secret(name))
        try:
            await fail(name)
        except ActivityFailed as error:
            failed = str(error)
        told = await child.with_options(id="child")(done)
        return {"child": told, "failed": failed, "heard": await wait_for_event("early", dict), "count": len(done)}

    @app.workflow
    async def broken(name: str) -> None:
        raise RuntimeError(f"{name} was refused")

    return app


async def drive(app: App, person: str = "ada") -> dict:
    handle = await app.client.workflow("main").with_options(id="x", tags={"person": person}).start(WORD)
    assert await handle.update("rename", WORD) == f"{WORD}, not {WORD}"
    assert await handle.query() == {"name": WORD}
    await handle.raise_event("early", {"name": WORD})
    await handle.raise_event("next", WORD)
    child = app.client.get("child")
    async with asyncio.timeout(10):
        while True:
            try:
                await child.raise_event("child may go", WORD)
                break
            except LookupError:
                await asyncio.sleep(0.01)
    return await handle.result(15)


def is_right(result: dict) -> bool:
    assert result["child"] == {"names": [WORD, WORD]}
    assert WORD in result["failed"]
    assert result["heard"] == {"name": WORD}
    return result["count"] == 3


def codec_of(tmp_path: Path, **more) -> Codec:
    keys = PersonalKeys(KeyRing({"k1": KEY1}), tmp_path / "keys")
    return Codec(compress=True, keys=keys, offload=tmp_path / "blobs", offload_above=500, **more)


def test_without_a_codec_the_search_finds_the_word(run, url, tmp_path):
    app = App("packed", store=url)

    @app.workflow
    async def echo(name: str) -> str:
        return name

    async def scenario():
        async with app:
            await (await echo.start(WORD)).result(5)

    run(scenario)
    assert files_with(tmp_path, WORD) != []


def test_no_file_ever_holds_what_was_passed(run, url, tmp_path):
    app = everything(url, codec_of(tmp_path))
    found = []

    async def watch():
        while True:
            found.extend(await asyncio.to_thread(files_with, tmp_path, WORD))
            await asyncio.sleep(0.02)

    async def scenario():
        async with app:
            watcher = asyncio.create_task(watch())
            result = await drive(app)
            broken = await app.client.workflow("broken").start(WORD)
            with pytest.raises(WorkflowFailed, match=WORD):
                await broken.result(5)
            state = await app.client.get("x").state()
            watcher.cancel()
            return result, state

    result, state = run(scenario)
    assert is_right(result)
    assert state.custom_status == {"for": WORD, "run": 2}
    assert state.input == [[WORD, 2], {}]
    assert found == []
    assert files_with(tmp_path, WORD) == []
    assert len(list((tmp_path / "blobs").glob("*/*"))) > 0
    vacuumed(tmp_path)
    assert files_with(tmp_path, WORD) == []


def vacuumed(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "app.db") as database:
        database.execute("pragma wal_checkpoint(truncate)")
        database.execute("vacuum")
    database.close()


def test_a_history_replays_after_a_restart_and_reruns(run, url, tmp_path):
    first, second = everything(url, codec_of(tmp_path)), everything(url, codec_of(tmp_path))

    async def scenario():
        async with first:
            handle = await first.client.workflow("main").with_options(id="x").start(WORD)
            await handle.raise_event("next", 1)
            async with asyncio.timeout(10):
                while "ChildCreated" not in [type(e).__name__ async for e in handle.history()]:
                    await asyncio.sleep(0.02)
        async with second:
            handle = second.client.get("x")
            await second.client.get("child").raise_event("child may go")
            await handle.raise_event("early", {"name": WORD})
            result = await handle.result(10)
            calls = [e.number async for e in handle.history() if type(e).__name__ == "ActivityScheduled"]
            again = await handle.rerun(calls[-1], id="y")
            await second.client.get("child").purge()
            async with asyncio.timeout(10):
                while (await again.explain()).cause != "event":
                    await asyncio.sleep(0.02)
                    try:
                        await second.client.get("child").raise_event("child may go")
                    except LookupError:
                        continue
            await again.raise_event("early", {"name": WORD})
            return result, await again.result(10)

    first_result, rerun_result = run(scenario)
    assert is_right(first_result)
    assert rerun_result["failed"] == first_result["failed"]
    assert files_with(tmp_path, WORD) == []


def test_forgetting_a_person_makes_every_payload_of_theirs_unreadable_and_no_other(run, url, tmp_path):
    codec = codec_of(tmp_path)
    app = everything(url, codec)

    async def scenario():
        async with app:
            await drive(app)
            other = await app.client.workflow("broken").with_options(tags={"person": "ben"}).start(WORD)
            with pytest.raises(WorkflowFailed):
                await other.result(5)
        assert codec.keys.erase("ada") == 1
        reopened = everything(url, codec_of(tmp_path))
        async with reopened:
            client = reopened.client
            for id in ("x", "child"):
                state = await client.get(id).state()
                assert isinstance(state.input, Unreadable)
                assert isinstance(state.output, Unreadable)
                with pytest.raises(KeyMissing, match="erased"):
                    await client.get(id).result(5)
                for event in [event async for event in client.get(id).history()]:
                    for payload in payloads(event):
                        with pytest.raises(KeyMissing):
                            await codec.unpacked(payload)
            with pytest.raises(WorkflowFailed, match=WORD):
                await client.get(other.id).result(5)
            assert [state.id async for state in client.list()]

    run(scenario)
    vacuumed(tmp_path)
    assert files_with(tmp_path, WORD) == []


def payloads(event):
    for part in parts(event):
        payload = getattr(part, "packed", part)
        assert payload is not None
        assert payload.key.startswith("p.")
        yield payload


def test_a_forgotten_person_who_is_waited_for_stalls_and_can_be_terminated(run, url, tmp_path):
    app = App("packed", store=url, codec=codec_of(tmp_path))

    @app.workflow
    async def waits(name: str) -> str:
        return name + await wait_for_event("go", str)

    async def scenario():
        async with app:
            handle = await waits.with_options(id="x", tags={"person": "ada"}).start(WORD)
        app.codec.keys.erase("ada")
        async with app:
            handle = app.client.get("x")
            with pytest.raises(KeyMissing):
                await handle.raise_event("go", "!")  # and no new key is made for who was forgotten
            await handle.raise_event("go")
            halt = await stalled(handle)
            await handle.terminate()
            return halt, (await handle.state()).status

    halt, status = run(scenario)
    assert halt.reason == "key-missing"
    assert "p." in halt.description
    assert status == "terminated"
    assert list((tmp_path / "keys").iterdir()) == []


def greeter(url: str, codec: Codec | None, gate: list[str] | None = None) -> App:
    app = App("packed", store=url, codec=codec)

    @app.activity(retry=Retry(max_attempts=1))
    async def fetch(name: str) -> str:
        if gate is not None:
            gate.append(name)
            await asyncio.sleep(60)
        return name * 100

    @app.workflow
    async def greet(name: str) -> str:
        told = await wait_for_event("go", str)
        return f"{told} {(await fetch(name))[:8]}"

    return app


@pytest.mark.parametrize(
    "codec, reason",
    [
        (None, "key-missing"),
        (Codec(keys=KeyRing({"k2": KEY2})), "key-missing"),
        (Codec(keys=KeyRing({"k1": KEY2})), "payload-tampered"),
        (Codec(compress=True), "key-missing"),
    ],
    ids=["no codec", "other key", "other key of that id", "no keys"],
)
def test_without_its_key_a_run_stands_still_and_names_it_and_goes_on_with_it(run, url, codec, reason):
    right, wrong = greeter(url, Codec(keys=KeyRing({"k1": KEY1}))), greeter(url, codec)

    async def scenario():
        async with right:
            await right.client.workflow("greet").with_options(id="x").start(WORD)
        async with wrong, Client(url) as plain:
            handle = wrong.client.get("x")
            await plain.get("x").raise_event("go", "hello")
            halt = await stalled(handle)
            told = await handle.explain()
        async with right:
            handle = right.client.get("x")
            result = await handle.result(10)
            return halt, told, result, (await handle.state()).stalled

    halt, told, result, after = run(scenario)
    assert halt.reason == reason
    assert "'k1'" in halt.description
    assert WORD not in halt.description
    assert told.cause == f"stalled:{reason}"
    assert result == f"hello {WORD}"
    assert after is None


def test_an_activity_in_flight_whose_input_has_no_key_stalls_its_run_and_is_no_failure(run, url):
    gate: list[str] = []
    ring = Codec(keys=KeyRing({"k1": KEY1}))
    first, keyless, last = (
        greeter(url, ring, gate),
        greeter(url, Codec(keys=KeyRing({"k2": KEY2}))),
        greeter(url, ring),
    )
    first._settings["drain_seconds"] = 0.0

    async def scenario():
        async with first:
            handle = await first.client.workflow("greet").with_options(id="x").start(WORD)
            await handle.raise_event("go", "hello")
            async with asyncio.timeout(10):
                while not gate:
                    await asyncio.sleep(0.01)
        async with keyless:
            halt = await stalled(keyless.client.get("x"))
        async with last:
            return halt, await last.client.get("x").result(10)

    halt, result = run(scenario)
    assert halt.reason == "key-missing"
    assert result == f"hello {WORD}"


def test_keys_rotate(run, url):
    old = Codec(keys=KeyRing({"k1": KEY1}))
    both = Codec(keys=KeyRing({"k2": KEY2, "k1": KEY1}))
    before, after = greeter(url, old), greeter(url, both)

    async def scenario():
        async with before:
            await before.client.workflow("greet").with_options(id="x").start(WORD)
        async with after:
            handle = after.client.get("x")
            await handle.raise_event("go", "hello")
            result = await handle.result(10)
        async with Client(url) as plain:
            return result, [event async for event in plain.get("x").history()]

    result, events = run(scenario)
    assert result == f"hello {WORD}"
    keys = {type(event).__name__: payload.key for event in events for payload in parts(event)}
    assert keys == {
        "RunStarted": "k1",
        "EventRaised": "k2",
        "ActivityScheduled": "k2",
        "ActivityCompleted": "k2",
        "RunCompleted": "k2",
    }


def test_a_changed_byte_in_the_store_stands_still(run, url, tmp_path):
    app = greeter(url, Codec(keys=KeyRing({"k1": KEY1})))

    async def scenario():
        async with app:
            await app.client.workflow("greet").with_options(id="x").start(WORD)
        with sqlite3.connect(tmp_path / "app.db") as database:
            ((events,),) = database.execute("select events from perdure_history").fetchall()
            head, mark, tail = events.partition('"json+a256gcm","k1","')
            assert mark
            flipped = "B" if tail[60] == "A" else "A"
            other = head + mark + tail[:60] + flipped + tail[61:]
            database.execute("update perdure_history set events = ?", (other,))
        database.close()
        async with app:
            handle = app.client.get("x")
            await handle.raise_event("go", "hello")
            return await stalled(handle)

    assert run(scenario).reason == "payload-tampered"


def test_a_result_that_was_changed_is_told_to_who_waits_for_it(run, url, tmp_path):
    app = App("packed", store=url, codec=Codec(offload=tmp_path / "blobs", offload_above=10))

    @app.workflow
    async def long(text: str) -> str:
        return text * 10

    async def scenario():
        async with app:
            handle = await long.start(WORD)
            assert await handle.result(5) == WORD * 10
            for file in (tmp_path / "blobs").glob("*/*"):
                file.write_bytes(b"forged")
            with pytest.raises(PayloadTampered):
                await handle.result(5)
            assert isinstance((await handle.state()).output, Unreadable)

    run(scenario)


def test_plain_payloads_of_before_still_read(run, url):
    plain, encrypted = greeter(url, None), greeter(url, Codec(keys=KeyRing({"k1": KEY1})))

    async def scenario():
        async with plain:
            await plain.client.workflow("greet").with_options(id="x").start(WORD)
        async with encrypted:
            handle = encrypted.client.get("x")
            await handle.raise_event("go", "hello")
            return await handle.result(10)

    assert run(scenario) == f"hello {WORD}"


# -- blobs --------------------------------------------------------------------------------------------------------


class Slow(Directory):
    """A directory on a disk that takes its time."""

    async def write(self, name, data):
        await asyncio.sleep(0.5)
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
    app = bulky(url, Codec(offload=Slow(tmp_path / "blobs"), offload_above=1_000))

    async def scenario():
        async with app:
            handle = await app.client.workflow("bulk").start(2_000)
            await handle.raise_event("go")
            started = time.monotonic()
            for _ in range(20):
                await (await app.client.workflow("light").start()).result(5)
            light = time.monotonic() - started
            return light, await handle.result(10)

    light, result = run(scenario)
    assert light < 0.5
    assert result == 2_000


def test_a_close_waits_for_a_turn_whose_blobs_are_on_their_way(run, url, tmp_path):
    codec = Codec(offload=Slow(tmp_path / "blobs"), offload_above=1_000)
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
            async with asyncio.timeout(10):
                while not produced:
                    await asyncio.sleep(0.01)
        async with second:
            return await second.client.get("x").result(10)

    assert run(scenario) == 1_800
    assert len(produced) == 1


def test_a_closed_place_stalls_and_a_resume_goes_on_when_it_is_open(run, url, tmp_path):
    blobs = Unreliable(tmp_path / "blobs")
    app = bulky(url, Codec(offload=blobs, offload_above=1_000))

    async def scenario():
        async with app:
            handle = await app.client.workflow("bulk").start(2_000)
            async with asyncio.timeout(10):
                while (await handle.explain()).cause != "event":
                    await asyncio.sleep(0.01)
            blobs.is_there = False
            await handle.raise_event("go")
            writes = await stalled(handle)
            blobs.is_there = True
            await handle.resume()
            result = await handle.result(10)
            blobs.is_there = False
            second = await app.client.workflow("bulk").with_options(id="y").start(2_000)
            of_the_attempt = await stalled(second)
            blobs.is_there = True
            await second.resume()
            await second.raise_event("go")
            return writes, result, of_the_attempt, await second.result(10)

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
            async with asyncio.timeout(10):
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
            return blob.name, halt, await third.client.get("x").result(10)

    name, halt, result = run(scenario)
    assert halt.reason == "blob-missing"
    assert name in halt.description
    assert result == 2_000


def test_values_beyond_the_bound_of_a_payload_pass_by_reference(run, url, tmp_path):
    app = bulky(url, Codec(offload=tmp_path / "blobs"))
    count = 9 * 1024 * 1024

    async def scenario():
        async with app:
            handle = await app.client.workflow("bulk").start(count)
            await handle.raise_event("go")
            return await handle.result(20)

    assert run(scenario) == count
    assert (tmp_path / "app.db").stat().st_size < 1024 * 1024


class Earlier(SystemClock):
    """A clock of some days ago."""

    def __init__(self, days: int) -> None:
        super().__init__()
        self._days = days

    def now(self) -> int:
        return super().now() - self._days * 86_400_000_000


def test_a_sweep_takes_what_nothing_refers_to_and_nothing_else(run, url, tmp_path):
    def app_of(days):
        codec = Codec(offload=tmp_path / "blobs", offload_above=1_000, clock=Earlier(days))
        return bulky(url, codec)

    old, young = app_of(3), app_of(1)

    async def finished(app, id):
        handle = await app.client.workflow("bulk").with_options(id=id).start(2_000 + int(id))
        await handle.raise_event("go")
        await handle.result(10)
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
            async with asyncio.timeout(10):
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
            assert await waiting.result(10) == 3_000
            everything = await old.client.purge_all()
            return swept, again, left, await_young | of_kept | of_waiting, everything, kept

    swept, again, left, wanted, everything, _ = run(scenario)
    assert swept >= 1
    assert again == 0
    assert left == wanted
    assert everything == 2
    day = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y%m%d")
    assert {path.parent.name for path in (tmp_path / "blobs").glob("*/*")} == {day}  # because purge_all sweeps


def test_what_a_schedule_keeps_is_packed_and_not_swept(run, url, tmp_path):
    codec = Codec(keys=KeyRing({"k1": KEY1}), offload=tmp_path / "blobs", offload_above=100, clock=Earlier(5))
    app = App("packed", store=url, codec=codec)

    @app.workflow
    async def size(text: str) -> int:
        return len(text)

    async def scenario():
        async with app:
            schedule = await size.with_schedule("nightly", every=3_600, start=datetime(2200, 1, 1, tzinfo=UTC)).create(
                WORD * 500
            )
            assert await app.client.sweep() == 0
            handle = await schedule.trigger()
            assert handle is not None
            return await handle.result(10), (await schedule.describe()).input

    assert run(scenario) == (500 * len(WORD), WORD * 500)
    assert files_with(tmp_path, WORD) == []


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
        print(await handle.result(10))

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
