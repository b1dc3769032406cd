"""The engines of a server without a port: what they do while no worker is there."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import msgspec
import pytest

from perdure.codec import NOTHING
from perdure.engine import queues
from perdure.history.events import EventRaised
from perdure.history.options import Limits, Place
from perdure.history.work import StartOptions
from perdure.remote.dispatch.stream import WorkerStream
from perdure.remote.hosted import Hosted
from perdure.remote.requests import OpenStream
from perdure.remote.security import Grant
from perdure.remote.wire.codec import DAPR
from perdure.stores.contract import Letter
from perdure.stores.memory import MemoryStore
from tests.remote.peer import names, until

QUIET_SECONDS = 1.0
LOADS_MAX = 40
"""Loads of one instance within that time, in which its slot is offered ten times; a loop that spins makes thousands."""


class Backwards(MemoryStore):
    """Mail in the order in which no store gives it: the newest first, of new instances too."""

    async def mail(self, *about: Any, **more: Any) -> list[Letter]:
        return [letter._replace(new=None) for letter in await super().mail(*about, **more)]

    async def load(self, shard: int, ids: Any) -> Any:
        return [msgspec.structs.replace(one, mail=one.mail[::-1]) for one in await super().load(shard, ids)]


def worker() -> WorkerStream:
    return WorkerStream("shop", DAPR, OpenStream(), grant=Grant("shop", frozenset(("shop",))))


@pytest.mark.long
def test_a_start_in_a_queue_waits_for_a_worker_without_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "OFFER_AGAIN_SECONDS", 0.1)

    async def scenario() -> None:
        hosted = Hosted(MemoryStore())
        await hosted.open(["shop"])
        engine = await hosted.engine("shop")
        place = Place("mails", Limits(concurrency=1))
        await engine.operations.start("main", NOTHING, StartOptions(id="order-1", place=place))
        await asyncio.sleep(QUIET_SECONDS)
        (shard,) = engine.owned.values()
        assert shard.host.loads < LOADS_MAX
        stream = worker()
        await hosted.connect(stream)
        item = DAPR.read_item(await asyncio.wait_for(stream.next(), 30) or b"")
        assert item is not None
        assert item.instance == "order-1"  # type: ignore[union-attr]
        await hosted.close()

    asyncio.run(scenario())


def test_a_run_takes_nothing_before_its_start_is_handed_over() -> None:
    """Some SDKs wait for ever if a history begins with anything else."""

    async def scenario() -> None:
        store = Backwards()
        hosted = Hosted(store)
        await hosted.open(["shop"])
        operations = await hosted.operations("shop")
        await operations.start("main", NOTHING, StartOptions(id="order-1"))
        await operations.command("order-1", None, EventRaised(name="paid", data=NOTHING), "k1")
        await until(lambda: _left(hosted))
        stream = worker()
        await hosted.connect(stream)
        item: Any = DAPR.read_item(await asyncio.wait_for(stream.next(), 30) or b"")
        # What it waits for comes with it or in the next turn, as a new instance is taken in before its mail.
        assert names(_Reader(), item)[:2] == ["TurnStarted", "RunStarted"]  # type: ignore[arg-type]
        await hosted.close()

    asyncio.run(scenario())


def test_what_a_store_offers_stands_on_the_object_that_an_engine_is_given() -> None:
    """From Python 3.12 on a protocol is asked for without __getattr__."""

    async def scenario() -> None:
        hosted = Hosted(MemoryStore())
        await hosted.open(["shop"])
        store = (await hosted.engine("shop")).store
        for name in ("audit", "purge_told", "shard_states"):
            assert callable(inspect.getattr_static(store, name))
        await hosted.close()

    asyncio.run(scenario())


@pytest.mark.long
def test_workers_are_let_go_when_another_process_has_the_work() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        first, second = Hosted(store, owner="first"), Hosted(store, owner="second")
        for hosted in (first, second):
            await hosted.open(["shop"])
        stream = worker()
        await first.connect(stream)
        store.expire("shop")
        await until(lambda: second.is_owner)
        engine = await first.engine("shop")
        for shard in list(engine.owned.values()):
            engine._ownership.lost(shard, "fenced")  # as its next commit would tell it
        await until(lambda: stream.is_closed)
        assert first.dispatcher.streams == []
        for hosted in (first, second):
            await hosted.close()

    asyncio.run(scenario())


class _Reader:
    codec = DAPR


def _left(hosted: Hosted) -> bool:
    """Whether the instance has left memory, so that it is loaded when a worker comes."""
    engine = hosted._engines["shop"]
    for shard in engine.owned.values():
        actor = shard.host.get("order-1")
        if actor is not None and actor.is_idle:
            shard.host.drop(actor)
    return all(shard.host.get("order-1") is None for shard in engine.owned.values())
