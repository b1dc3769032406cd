"""A person whose key is erased is forgotten in every payload of theirs, and what needs one stands still."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest

from perdure import App, Codec, KeyRing, PersonalKeys, Queue, Retry, Transaction, WorkflowFailed, wait_for_event
from perdure.codec import Unreadable
from perdure.errors import KeyMissing
from perdure.sdk.packing import worker as packing
from perdure.sdk.packing.fields import parts
from perdure.sdk.packing.packer import stall_of
from tests.engine.packed import KEY1, WORD, codec_of, drive, everything, files_with, vacuumed
from tests.engine.test_stalls import stalled


def test_forgetting_a_person_makes_every_payload_of_theirs_unreadable_and_no_other(run, url, tmp_path):
    codec = codec_of(tmp_path)
    app = everything(url, codec)

    async def scenario():
        async with app:
            await drive(app)
            other = await app.client.workflow("broken").with_options(tags={"person": "ben"}).start(WORD)
            with pytest.raises(WorkflowFailed):
                await other.result(30)
        assert codec.keys.erase("ada") == 1
        reopened = everything(url, codec_of(tmp_path))
        async with reopened:
            client = reopened.client
            for id in ("x", "child"):
                state = await client.get(id).state()
                assert isinstance(state.input, Unreadable)
                assert isinstance(state.output, Unreadable)
                with pytest.raises(KeyMissing, match="erased"):
                    await client.get(id).result(30)
                for event in [event async for event in client.get(id).history()]:
                    for payload in payloads(event):
                        with pytest.raises(KeyMissing):
                            await codec.unpacked(payload)
            with pytest.raises(WorkflowFailed, match=WORD):
                await client.get(other.id).result(30)
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


@pytest.mark.parametrize("fails", [False, True])
def test_a_transaction_whose_key_is_erased_meanwhile_stands_still_and_leaves_nothing(run, tmp_path, fails):
    keys = PersonalKeys(KeyRing({"k1": KEY1}), tmp_path / "keys")
    with sqlite3.connect(tmp_path / "bank.db") as db:
        db.execute("create table paid (who text)")
    app = App("bank", store=f"sqlite:///{tmp_path}/bank.db?shared=yes", codec=Codec(keys=keys))

    @app.transaction
    def pay(db: Transaction, who: str) -> str:
        db.execute("insert into paid values (?)", (who,))
        keys.erase("ada")
        if fails:
            raise ValueError(who)
        return who

    @app.workflow
    async def main(who: str) -> str:
        return await pay(who)

    async def scenario():
        async with app:
            handle = await main.with_options(tags={"person": "ada"}).start(WORD)
            return (await stalled(handle)).reason

    assert run(scenario) == "key-missing"
    with sqlite3.connect(tmp_path / "bank.db") as db:
        assert db.execute("select * from paid").fetchall() == []


def bank_of(url: str, tmp_path: Path) -> tuple[App, PersonalKeys]:
    """An app whose one activity waits in a queue of one slot until the gate `hold` is open."""
    keys = PersonalKeys(KeyRing({"k1": KEY1}), tmp_path / "keys")
    return App("bank", store=url, codec=Codec(keys=keys)), keys


def test_a_call_of_someone_forgotten_gives_its_slot_to_others(run, url, tmp_path):
    app, keys = bank_of(url, tmp_path)
    gate = asyncio.Event()

    @app.activity(queue=Queue("one", concurrency=1))
    async def call(who: str) -> str:
        await gate.wait()
        return who

    @app.workflow
    async def main(who: str) -> str:
        return await call(who)

    async def scenario():
        async with app:
            first, ada, last = [
                await main.with_options(tags={"person": who}).start(who) for who in ("first", "ada", "last")
            ]
            while [state.waiting for state in await app.client.queues()] != [2]:
                await asyncio.sleep(0.01)
            keys.erase("ada")
            gate.set()
            done = await first.result(30), await last.result(30)
            reason = (await stalled(ada)).reason
            queues = await app.client.queues()
            await ada.resume()
            await main.start("another")
            assert await (await main.start("yet another")).result(30) == "yet another"
            await ada.terminate()
            return done, reason, queues, await app.client.queues()

    done, reason, queues, left = run(scenario)
    assert done == ("first", "last")
    assert reason == "key-missing"
    assert [(state.waiting, state.running) for state in queues] == [(1, 0)]
    assert left == []


def test_a_call_that_cannot_be_made_is_tried_once_for_each_resume(run, url, tmp_path, monkeypatch):
    app, keys = bank_of(url, tmp_path)
    tries = []
    monkeypatch.setattr(packing, "stall_of", lambda error: tries.append(error) or stall_of(error))

    @app.activity(retry=Retry(initial_interval=0.1))
    async def call(who: str) -> str:
        keys.erase("ada")
        raise ValueError(who)

    @app.workflow
    async def main(who: str) -> str:
        return await call(who)

    async def scenario():
        async with app:
            handle = await main.with_options(tags={"person": "ada"}).start(WORD)
            await stalled(handle)
            counts = [len(tries)]
            for _ in range(2):
                await handle.resume()
                await asyncio.sleep(0.2)  # in which a loop would go round hundreds of times
                counts.append(len(tries))
            return counts

    first, *counts = run(scenario)
    assert counts[-1] <= first + 4


def test_what_an_outbox_sends_to_a_person_is_forgotten_with_them(run, tmp_path):
    app, _ = bank_of(f"sqlite:///{tmp_path}/app.db", tmp_path)

    @app.workflow
    async def child(name: str) -> str:
        return name + await wait_for_event("told", str)

    @app.workflow
    async def main(name: str) -> str:
        return await child.with_options(id="child")(name)

    async def scenario():
        async with app:
            await main.with_options(id="x", tags={"person": "ada"}).start(WORD)
            while "child" not in [state.id async for state in app.client.list()]:
                await asyncio.sleep(0.01)
            with sqlite3.connect(tmp_path / "app.db") as db:
                outbox = app.outbox(db)
                outbox.start(child.with_options(id="y", tags={"person": "ada"}), WORD)
                for id in ("child", "y", "nobody"):
                    outbox.raise_event(id, "told", WORD)
            return [await app.client.get(id).result(30) for id in ("x", "y")]

    assert run(scenario) == [WORD * 2] * 2
    with sqlite3.connect(tmp_path / "app.db") as db:
        stored = [json.loads(events) for (events,) in db.execute("select events from perdure_history")]
    told = [event["data"][1] for events in stored for event in events if event["type"] == "EventRaised"]
    assert len(told) == 2
    assert all(key.startswith("p.") for key in told)
