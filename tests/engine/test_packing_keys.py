"""A payload whose key is missing, or that was changed, stands still and says so; keys rotate."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from perdure import App, Client, Codec, KeyRing
from perdure.codec import Unreadable
from perdure.errors import PayloadTampered
from perdure.sdk.packing.fields import parts
from tests.engine.packed import KEY1, KEY2, WORD, greeter
from tests.engine.test_stalls import stalled


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
            result = await handle.result(30)
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
            async with asyncio.timeout(30):
                while not gate:
                    await asyncio.sleep(0.01)
        async with keyless:
            halt = await stalled(keyless.client.get("x"))
        async with last:
            return halt, await last.client.get("x").result(30)

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
            result = await handle.result(30)
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
            assert await handle.result(30) == WORD * 10
            for file in (tmp_path / "blobs").glob("*/*"):
                file.write_bytes(b"forged")
            with pytest.raises(PayloadTampered):
                await handle.result(30)
            assert isinstance((await handle.state()).output, Unreadable)

    run(scenario)
