"""What a schedule keeps is packed as all else is."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from perdure import App, Client, Codec, KeyRing, Secret
from perdure.errors import KeyMissing
from tests.engine.packed import KEY1, WORD, Earlier, files_with


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
            return await handle.result(30), (await schedule.describe()).input

    assert run(scenario) == (500 * len(WORD), WORD * 500)
    assert files_with(tmp_path, WORD) == []


def test_a_schedule_keeps_secrets_and_shows_none(run, url, tmp_path):
    app = App("bank", store=url, codec=Codec(keys=KeyRing({"k1": KEY1})))

    @app.workflow
    async def login(password: Secret[str]) -> int:
        return len(password.reveal())

    login.with_schedule("declared", every=3_600).declare(Secret(WORD))

    async def scenario():
        async with app:
            made = await login.with_schedule("made", every=3_600).create(Secret(WORD))
            handles = [await made.trigger(), await app.client.get_schedule("declared").trigger()]
            results = [await handle.result(30) for handle in handles]
            await made.update(every=7_200)
            return results, repr(await made.describe()) + repr(await app.client.get("schedule:made").state())

    results, shown = run(scenario)
    assert results == [len(WORD)] * 2
    assert WORD not in shown
    assert files_with(tmp_path, WORD) == []


def test_a_schedule_is_steered_where_its_key_is_not(run, url, caplog):
    keys = KeyRing({"k1": KEY1})
    app = App("bank", store=url, codec=Codec(keys=keys))

    @app.workflow
    async def report(name: str) -> str:
        return name

    async def scenario():
        async with app:
            await report.with_schedule("hidden", every=3_600).create(WORD)
        async with Client(url) as client:
            hidden = client.get_schedule("hidden")
            with pytest.raises(KeyMissing, match="k1"):
                await hidden.describe()
            await client.workflow("report").with_schedule("plain", every=3_600).create("a")
            assert [state.id async for state in client.schedules()] == ["plain"]
            assert "schedule hidden is left out of the list: a payload is encrypted with key 'k1'" in caplog.text
            await client.get_schedule("plain").delete()
            await hidden.pause("for good")
        async with app:
            while not (await app.client.get_schedule("hidden").describe()).paused:
                await asyncio.sleep(0.01)
        async with Client(url) as client:
            await client.get_schedule("hidden").delete()
        async with app:
            while [state.id async for state in app.client.schedules()]:
                await asyncio.sleep(0.01)

    run(scenario)
