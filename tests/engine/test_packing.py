"""Packed payloads through the real engine: what is stored shows nothing, and reads as before."""

from __future__ import annotations

import asyncio
import os

import pytest

from perdure import ActivityFailed, App, Client, Codec, KeyRing, Retry, Transaction, WorkflowFailed
from perdure.codec import PAYLOAD_BYTES_MAX, encode
from perdure.history.actions import ContinueRun
from perdure.history.events import EventRaised
from perdure.sdk.packing.fields import parts
from tests.engine.packed import KEY1, WORD, codec_of, drive, everything, files_with, greeter, is_right, vacuumed
from tests.engine.test_stalls import stalled


def test_without_a_codec_the_search_finds_the_word(run, url, tmp_path):
    app = App("packed", store=url)

    @app.workflow
    async def echo(name: str) -> str:
        return name

    async def scenario():
        async with app:
            await (await echo.start(WORD)).result(30)

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
                await broken.result(30)
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


def test_failures_that_are_encrypted_are_told_apart_by_who_has_the_key(run, url):
    codec = Codec(keys=KeyRing({"k1": KEY1}))
    app = App("packed", store=url, codec=codec)
    is_down = True

    @app.workflow
    async def refused(order: int) -> int:
        if is_down:
            raise (ValueError if order < 2 else LookupError)(f"order {order} of {WORD}")
        return order

    async def scenario():
        nonlocal is_down
        async with app:
            handles = [await refused.with_options(id=f"o-{order}").start(order) for order in range(3)]
            await asyncio.gather(*(handle.result() for handle in handles), return_exceptions=True)
            await app.client.workflow("nowhere").with_options(id="s").start()
            await stalled(app.client.get("s"))
            seen = await app.client.failures()
            async with Client(url, app_id="packed") as blind:
                unseen = await blind.failures()
            is_down = False
            done = await app.client.retry_failures(seen[0].fingerprint)
            after = await app.client.failures()
            results = [await app.client.get(f"o-{order}.rerun").result(30) for order in range(2)]
            return seen, unseen, done, after, results

    seen, unseen, done, after, results = run(scenario)
    told = {group.sentence: (group.count, group.ids) for group in seen}
    assert told.pop(f"ValueError: order <n> of {WORD}") == (2, ["o-0", "o-1"])
    assert told.pop(f"LookupError: order <n> of {WORD}") == (1, ["o-2"])
    (sentence,) = told
    assert sentence.startswith("workflow-not-registered: ")
    assert not any(WORD in group.sentence for group in unseen)
    assert (done.count, done.hitch, results) == (2, None, [0, 1])
    assert {group.sentence: group.rerun for group in after}[f"ValueError: order <n> of {WORD}"] == 2


def test_a_history_replays_after_a_restart_and_reruns(run, url, tmp_path):
    first, second = everything(url, codec_of(tmp_path)), everything(url, codec_of(tmp_path))

    async def scenario():
        async with first:
            handle = await first.client.workflow("main").with_options(id="x").start(WORD)
            await handle.raise_event("next", 1)
            async with asyncio.timeout(30):
                while "ChildCreated" not in [type(e).__name__ async for e in handle.history()]:
                    await asyncio.sleep(0.02)
        async with second:
            handle = second.client.get("x")
            await second.client.get("child").raise_event("child may go")
            await handle.raise_event("early", {"name": WORD})
            result = await handle.result(30)
            calls = [e.number async for e in handle.history() if type(e).__name__ == "ActivityScheduled"]
            again = await handle.rerun(calls[-1], id="y")
            await second.client.get("child").purge()
            async with asyncio.timeout(30):
                while (await again.explain()).cause != "event":
                    await asyncio.sleep(0.02)
                    try:
                        await second.client.get("child").raise_event("child may go")
                    except LookupError:
                        continue
            await again.raise_event("early", {"name": WORD})
            return result, await again.result(30)

    first_result, rerun_result = run(scenario)
    assert is_right(first_result)
    assert rerun_result["failed"] == first_result["failed"]
    assert files_with(tmp_path, WORD) == []


def test_plain_payloads_of_before_still_read(run, url):
    plain, encrypted = greeter(url, None), greeter(url, Codec(keys=KeyRing({"k1": KEY1})))

    async def scenario():
        async with plain:
            await plain.client.workflow("greet").with_options(id="x").start(WORD)
        async with encrypted:
            handle = encrypted.client.get("x")
            await handle.raise_event("go", "hello")
            return await handle.result(30)

    assert run(scenario) == f"hello {WORD}"


def test_a_result_of_a_transaction_that_is_too_large_for_its_row_fails_it(run, tmp_path):
    """With a place for large values the writer lets it pass; a transaction waits for no such place."""
    app = App("bank", store=f"sqlite:///{tmp_path}/bank.db", codec=codec_of(tmp_path))

    @app.transaction(retry=Retry(max_attempts=3, initial_interval=60))
    def dump(db: Transaction) -> str:
        return os.urandom(PAYLOAD_BYTES_MAX).hex()

    @app.workflow
    async def main() -> str:
        try:
            return await dump()
        except ActivityFailed as error:
            return str(error)

    async def scenario():
        async with app:
            return await (await main.start()).result(30)

    assert "PayloadTooLarge" in run(scenario)


def test_events_that_an_action_carries_are_found_however_their_list_is_annotated():
    carried = EventRaised(name="go", data=encode(WORD))
    assert list(parts(ContinueRun(number=0, events=[carried]))) == [carried.data]
