"""The lifecycle feed: what happens to instances is told in order, also by receivers that fail, and never lost."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from perdure import App, Client, InstanceExists, Webhook, continue_as_new, wait_for_event
from perdure.engine import herald
from perdure.errors import InvalidArgument
from perdure.history.lifecycle import LifecycleEvent
from perdure.stores.memory import MemoryStore
from tests.engine.receivers import Receiver, receiving

SECRET = "a secret of more than 16 bytes"


def shop(**options: Any) -> App:
    app = App("shop", drain_seconds=0.0, **options)

    @app.workflow
    async def echo(value: int) -> int:
        return value

    @app.workflow
    async def fails() -> None:
        raise LookupError("no such book")

    @app.workflow
    async def patient() -> str:
        return await wait_for_event("go", str)

    @app.workflow
    async def twice(left: int) -> None:
        if left:
            continue_as_new(left - 1)

    return app


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(herald, "PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(herald, "PAUSE_SECONDS_MAX", 0.1)


def test_a_life_is_told_from_start_to_purge() -> None:
    async def play(receiver: Receiver) -> None:
        app = shop(store=MemoryStore(), webhook=Webhook(receiver.url, SECRET))
        async with app:
            start = app.client.workflow
            await (await start("echo").with_options(id="e", tags={"a": "b"}).start(1)).result()
            failed = await start("fails").with_options(id="f").start()
            await until(lambda: "failed" in receiver.kinds("f"))
            patient = await start("patient").with_options(id="p").start()
            await patient.suspend("stock-taking")
            await patient.resume()
            await patient.terminate()
            await patient.purge()
            await failed.purge()
            await (await start("twice").with_options(id="t").start(2)).result()
            cancelled = await start("patient").with_options(id="c").start()
            await cancelled.cancel()
            lives = {
                "e": ["started", "completed"],
                "f": ["started", "failed", "purged"],
                "p": ["started", "suspended", "resumed", "terminated", "purged"],
                "t": ["started", "continued", "continued", "completed"],
                "c": ["started", "canceled"],
            }
            await until(lambda: all(len(receiver.kinds(id)) >= len(life) for id, life in lives.items()))
        assert {id: receiver.kinds(id) for id in lives} == lives
        by_type = {event["type"]: event for event in receiver.taken if event["subject"] in ("e", "f", "p")}
        told = by_type["perdure.workflow.failed"]["data"]
        assert told["failure"] == {"type": "LookupError", "message": "no such book"}
        assert by_type["perdure.workflow.suspended"]["data"]["reason"] == "stock-taking"
        first = receiver.taken[0]
        assert (first["specversion"], first["source"], first["subject"]) == ("1.0", "/perdure/apps/shop", "e")
        assert first["data"]["tags"] == {"a": "b"}
        assert "value" not in str(receiver.taken)

    with receiving() as receiver:
        asyncio.run(play(receiver))


@pytest.mark.long
def test_a_request_is_signed_over_id_timestamp_and_body() -> None:
    async def play(receiver: Receiver, secret: str) -> None:
        async with shop(store=MemoryStore(), webhook=Webhook(receiver.url, secret)) as app:
            await (await app.client.workflow("echo").start(1)).result()
            await until(lambda: len(receiver.taken) == 2)

    key = os.urandom(24)
    for secret, expected in ((SECRET, SECRET.encode()), (f"whsec_{base64.b64encode(key).decode()}", key)):
        with receiving() as receiver:
            asyncio.run(play(receiver, secret))
        for headers, body in receiver.requests:
            signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
            digest = base64.b64encode(hmac.new(expected, signed, hashlib.sha256).digest()).decode()
            assert headers["webhook-signature"] == f"v1,{digest}"
            assert headers["content-type"].startswith("application/cloudevents+json")
            assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60


@pytest.mark.long
def test_a_receiver_that_fails_hangs_up_and_is_slow_hears_everything_in_order() -> None:
    async def play(receiver: Receiver) -> None:
        webhook = Webhook(receiver.url, SECRET, timeout=0.3)
        async with shop(store=MemoryStore(), webhook=webhook) as app:
            for n in range(8):
                await app.client.workflow("twice").with_options(id=f"i{n}").start(3)
            await until(lambda: all("completed" in receiver.kinds(f"i{n}") for n in range(8)))

    def unreliable(number: int, event: dict[str, Any]) -> int | None:
        if number % 7 == 3:
            return None
        if number % 7 == 5:
            time.sleep(0.5)
        return 500 if number % 3 == 0 else 204

    with receiving(unreliable) as receiver:
        asyncio.run(play(receiver))
    for n in range(8):
        assert receiver.kinds(f"i{n}") == ["started", "continued", "continued", "continued", "completed"]


@pytest.mark.long
def test_a_receiver_that_is_down_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def play(receiver: Receiver) -> None:
        async with shop(store=MemoryStore(), webhook=Webhook(receiver.url)) as app:
            for n in range(8):
                await app.client.workflow("patient").with_options(id=f"i{n}").start()
            await until(lambda: len({request[0]["webhook-id"] for request in receiver.requests}) == 8)
            receiver.behaves = lambda number, event: 204
            await until(lambda: len(receiver.taken) == 8)

    with receiving(lambda number, event: 503) as receiver:
        asyncio.run(play(receiver))
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert ["503" in record.getMessage() for record in told] == [True]


@pytest.mark.long
def test_what_nobody_hears_is_given_up_shown_and_told_again_on_demand() -> None:
    async def play(receiver: Receiver) -> None:
        async with shop(store=MemoryStore(), webhook=Webhook(receiver.url, attempts=3)) as app:
            await (await app.client.workflow("echo").with_options(id="bad").start(1)).result()
            await (await app.client.workflow("echo").with_options(id="good").start(1)).result()
            await until(lambda: receiver.kinds("good") == ["started", "completed"])
            async with asyncio.timeout(30):
                while len((state := await app.client.feed()).given_up) < 2:
                    await asyncio.sleep(0.01)
            assert all("422" in why for _, why in state.given_up)
            assert sum(event["subject"] == "bad" for event in seen) == 6  # three tries of each
            receiver.behaves = lambda number, event: 200
            assert await app.client.tell_again() == 2
            await until(lambda: receiver.kinds("bad") == ["started", "completed"])
            assert (await app.client.feed()).given_up == []

    seen: list[dict[str, Any]] = []

    def refuses(number: int, event: dict[str, Any]) -> int:
        seen.append(event)
        return 422 if event["subject"] == "bad" else 200

    with receiving(refuses) as receiver:
        asyncio.run(play(receiver))


def test_a_start_that_is_refused_tells_nothing() -> None:
    async def play() -> None:
        async with shop(store=MemoryStore(), lifecycle=True) as app:
            workflow = app.client.workflow("patient").with_options(id="p")
            await workflow.start()
            with pytest.raises(InstanceExists):
                await workflow.start()
            heard = [one.event.kind async for one in app.client.lifecycle(follow=False)]
            assert heard == ["started"]

    asyncio.run(play())


def test_the_feed_is_followed_live_and_from_a_cursor_on() -> None:
    async def play(url: str) -> None:
        async with shop(store=url, lifecycle=True) as app:
            heard: list[tuple[str, LifecycleEvent]] = []

            async def follow() -> None:
                async with Client(url, app_id="shop") as client:
                    async for one in client.lifecycle(type=["completed", "failed"]):
                        heard.append((one.cursor, one.event))

            following = asyncio.create_task(follow())
            while not heard:  # because what is there before it looks is not followed
                await (await app.client.workflow("echo").start(0)).result()
                await asyncio.sleep(0.01)
            last = await app.client.workflow("echo").with_options(id="last").start(0)
            await last.result()
            await until(lambda: heard[-1][1].subject == "last")
            heard.clear()
            for n in range(5):
                await (await app.client.workflow("echo").with_options(id=f"i{n}").start(n)).result()
            await app.client.workflow("fails").with_options(id="f").start()
            await until(lambda: len(heard) == 6)
            following.cancel()
            assert [event.subject for _, event in heard] == ["i0", "i1", "i2", "i3", "i4", "f"]
            rest = [one.event async for one in app.client.lifecycle(after=heard[3][0], follow=False)]
            assert [(one.subject, one.kind) for one in rest] == [
                *(("i4", "started"), ("i4", "completed"), ("f", "started"), ("f", "failed"))
            ]
            only = [one.event.kind async for one in app.client.lifecycle(instance="f", follow=False)]
            assert only == ["started", "failed"]
            with pytest.raises(InvalidArgument, match="events of type 'ended' are none"):
                await anext(app.client.lifecycle(type="ended"))
            with pytest.raises(InvalidArgument, match="cursor"):
                await anext(app.client.lifecycle(after="x"))

    asyncio.run(play_in_folder(play))


async def play_in_folder(play: Callable[[str], Any]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        await play(f"sqlite:///{folder}/shop.db")


def test_who_steers_without_a_worker_tells_as_well() -> None:
    async def play(url: str) -> None:
        async with shop(store=url, lifecycle=True) as app:
            await app.client.workflow("patient").with_options(id="p").start()
        async with Client(url, app_id="shop", caretaker=True) as client:
            await client.get("p").terminate()
            await client.get("p").purge()
            heard = [one.event.kind async for one in client.lifecycle(instance="p", follow=False)]
            assert heard == ["started", "terminated", "purged"]

    asyncio.run(play_in_folder(play))


def test_without_a_feed_nothing_is_written() -> None:
    async def play() -> None:
        store = MemoryStore()
        async with shop(store=store) as app:
            await (await app.client.workflow("echo").start(1)).result()
            assert [one async for one in app.client.lifecycle(follow=False)] == []

    asyncio.run(play())


@pytest.mark.long
def test_what_follows_on_a_later_page_waits_for_what_was_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(herald, "PAGE", 1)
    monkeypatch.setattr(herald, "PAUSE_SECONDS", 0.0)

    async def play(receiver: Receiver) -> None:
        store = MemoryStore()
        async with shop(store=store, lifecycle=True) as app:
            await (await app.client.workflow("twice").with_options(id="t").start(3)).result()
            (shard,) = await store.shards("shop")
            kept = await store.notices(shard, 0, 10)
        for posted in kept:
            store._notices[shard][posted.number] = posted, 0  # pending again, as if nobody had looked at them yet
        async with shop(store=store, webhook=Webhook(receiver.url)):
            await until(lambda: "completed" in receiver.kinds("t"))
        assert receiver.kinds("t") == ["started", "continued", "continued", "continued", "completed"]

    with receiving(lambda number, event: 503 if number in (1, 3) else 200) as receiver:
        asyncio.run(play(receiver))


def test_several_nodes_tell_what_happens_in_all_shards_also_after_one_is_gone() -> None:
    async def play(receiver: Receiver) -> None:
        store = MemoryStore(shard_count=6, lease_seconds=0.6)
        webhook = Webhook(receiver.url)
        other = shop(store=store, webhook=webhook)
        async with shop(store=store, webhook=webhook) as app:
            await other.open()
            ids = [f"i{n}" for n in range(40)]
            for id in ids[:20]:
                await app.client.workflow("twice").with_options(id=id).start(2)
            await other.close()
            for id in ids[20:]:
                await app.client.workflow("twice").with_options(id=id).start(2)
            await until(lambda: all("completed" in receiver.kinds(id) for id in ids))
            for id in ids:
                assert receiver.kinds(id) == ["started", "continued", "continued", "completed"]
            everything = [one.event async for one in app.client.lifecycle(follow=False)]
            assert len({event.id for event in everything}) == len(everything) == 4 * len(ids)
            cursor = [one.cursor async for one in app.client.lifecycle(follow=False)][79]
            rest = [one.event async for one in app.client.lifecycle(after=cursor, follow=False)]
            assert [event.id for event in rest] == [event.id for event in everything[80:]]

    with receiving() as receiver:
        asyncio.run(play(receiver))


PROGRAM = """
import asyncio, sys
from tests.engine.test_herald import SECRET, shop
from perdure import Webhook

async def main():
    app = shop(store=sys.argv[1], webhook=Webhook(sys.argv[2], SECRET))
    async with app:
        n = int(sys.argv[3])
        while True:
            await app.client.workflow("twice").with_options(id=f"i{n}").start(2)
            print(n, flush=True)
            n += 1
asyncio.run(main())
"""


@pytest.mark.long
def test_kill_9_in_between_loses_nothing_and_repetitions_have_the_same_id(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"

    def slow(number: int, event: dict[str, Any]) -> int:
        time.sleep(0.005)
        return 500 if number % 11 == 0 else 204

    async def settle(receiver: Receiver) -> None:
        async with shop(store=url, webhook=Webhook(receiver.url, SECRET)) as app:
            async with asyncio.timeout(40):
                ids = [state.id async for state in app.client.list()]
                while not all("completed" in receiver.kinds(id) for id in ids):
                    await asyncio.sleep(0.05)
            assert len(ids) > 20
            for id in ids:
                assert receiver.kinds(id) == ["started", "continued", "continued", "completed"]

    with receiving(slow) as receiver:
        begun = 0
        for _ in range(3):
            program = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, url, receiver.url, str(begun)], stdout=subprocess.PIPE, text=True
            )
            assert program.stdout is not None
            for _ in range(15):
                begun = int(program.stdout.readline()) + 1
            program.send_signal(signal.SIGKILL)
            begun = max([begun, *(int(line) + 1 for line in program.stdout if line.strip().isdecimal())]) + 5
            program.wait()
            program.stdout.close()
        asyncio.run(settle(receiver))
    bodies: dict[str, set[str]] = {}
    for event in receiver.taken:
        bodies.setdefault(event["id"], set()).add(str(event))
    assert all(len(different) == 1 for different in bodies.values())


@pytest.mark.parametrize(
    "url, secret", [("ftp://x", None), ("http://u:p@x/", None), ("http://x/", "short"), ("http://x/", "whsec_!")]
)
def test_a_webhook_that_cannot_be_meant_is_refused(url: str, secret: str | None) -> None:
    with pytest.raises(InvalidArgument):
        Webhook(url, secret)
