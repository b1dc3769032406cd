"""Subscriptions that are delivered to a program's port."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.responses import Response

from perdure.blocks.resources import BulkSubscribe, Rule, Subscription
from perdure.clock import SystemClock
from perdure.errors import InvalidArgument
from perdure.remote.app_channel import AppChannel
from perdure.remote.brokers import open_broker
from perdure.remote.pubsub.declared import of_files, of_program
from perdure.remote.pubsub.delivery import Deliveries
from perdure.remote.pubsub.desk import PubsubDesk
from perdure.remote.pubsub.http_program import HttpProgram, named
from perdure.remote.pubsub.port import ProgramPort
from perdure.remote.pubsub.publishing import Publish
from perdure.remote.pubsub.routes import Routes
from servers.valkey import Valkey
from tests.remote.pubsub.listener import Listener
from tests.remote.pubsub.program import PATIENCE_SECONDS, components

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Scene:
    def __init__(self, desk: PubsubDesk, listener: Listener) -> None:
        self.desk = desk
        self.listener = listener

    async def publish(self, data: Any, topic: str = "orders", **metadata: str) -> None:
        asked = Publish(
            pubsub="bus",
            topic=topic,
            data=json.dumps(data).encode(),
            content_type="application/json",
            metadata=metadata,
        )
        await self.desk.publish("shop", asked)

    async def got(self, count: int) -> list[tuple[str, Any]]:
        while len(self.listener.got) < count:
            await asyncio.sleep(0.01)
        return self.listener.got

    async def subscribed(self, count: int = 1) -> None:
        while len(self.desk.subscriptions.get("shop", ())) != count:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def delivering(valkey: Valkey, listener: Listener, *declared: Subscription) -> AsyncIterator[Scene]:
    resources = components(("bus", "pubsub.redis", {"redisHost": f"127.0.0.1:{valkey.port}"}), subscriptions=declared)

    async def own() -> Any:
        return open_broker(valkey.url())

    desk = PubsubDesk(lambda app: resources, own, SystemClock())
    channel = AppChannel(listener.url)
    deliveries = Deliveries("shop", ProgramPort(HttpProgram(channel)), desk, of_files(declared))
    deliveries.start()
    try:
        yield Scene(desk, listener)
    finally:
        await deliveries.close()
        await desk.close()
        await channel.close()


def told(
    valkey: Valkey, listener: Listener, story: Callable[[Scene], Awaitable[None]], *declared: Subscription
) -> None:
    async def play() -> None:
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            delivering(valkey, listener, *declared) as scene,
            listener.listening(),
        ):
            await story(scene)

    valkey.clear()
    asyncio.run(play())


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Any:
    server = Valkey(tmp_path_factory.mktemp("valkey"), "no")
    yield server
    server.stop()


def test_a_program_that_tells_what_it_wants_is_sent_events(valkey: Valkey) -> None:
    async def story(scene: Scene) -> None:
        await scene.subscribed()
        await scene.publish({"a": 1}, **{"cloudevent.traceparent": TRACE})
        ((path, event),) = await scene.got(1)
        assert path == "/take-orders"
        assert (event["data"], event["topic"], event["pubsubname"]) == ({"a": 1}, "orders", "bus")
        assert (event["source"], event["type"], event["specversion"]) == ("shop", "com.dapr.event.sent", "1.0")
        assert scene.listener.headers[0]["content-type"] == "application/cloudevents+json"
        assert scene.listener.headers[0]["traceparent"] == TRACE
        (shown,) = scene.desk.subscriptions["shop"]
        assert (shown.origin, shown.rules) == ("PROGRAMMATIC", (("", "take-orders"),))

    told(valkey, Listener([{"pubsubname": "bus", "topic": "orders", "route": "take-orders"}]), story)


@pytest.mark.long
def test_a_subscription_of_a_file_has_routes_by_conditions(valkey: Valkey) -> None:
    async def story(scene: Scene) -> None:
        for type, data in (("placed", {"n": 9}), ("placed", {"n": 1}), ("paid", {}), ("placed", {})):
            await scene.publish(data, **{"cloudevent.type": type})
        got = {(path, event["type"], event["data"].get("n")) for path, event in await scene.got(4)}
        assert got == {
            ("/many", "placed", 9),
            ("/placed", "placed", 1),
            ("/rest", "paid", None),
            ("/placed", "placed", None),
        }

    declared = Subscription(
        name="s",
        pubsub="bus",
        topic="orders",
        path="/rest",
        rules=(
            Rule(match='event.type == "placed" && event.data.n > 5', path="/many"),
            Rule(match='event.type == "placed"', path="/placed"),
        ),
    )
    told(valkey, Listener(), story, declared)


@pytest.mark.long
def test_answers_are_verdicts(valkey: Valkey) -> None:
    tries = Counter[str]()

    def answer(path: str, event: Any) -> Response | dict[str, Any] | None:
        what = event["data"]
        tries[what] += 1
        if path == "/dead":
            return None
        match what:
            case "drop":
                return {"status": "DROP"}
            case "missing":
                return Response(status_code=404)
            case "retry" if tries[what] == 1:
                return {"status": "RETRY"}
            case "failed" if tries[what] == 1:
                return Response(status_code=500)
            case "unknown" if tries[what] == 1:
                return {"status": "PERHAPS"}
        return {"status": "SUCCESS"} if what != "text" else Response("fine")

    async def story(scene: Scene) -> None:
        await scene.subscribed(2)
        for what in ("drop", "missing", "retry", "failed", "unknown", "text", "fine"):
            await scene.publish(what)
        await scene.got(12)
        assert tries == {"drop": 2, "missing": 2, "retry": 2, "failed": 2, "unknown": 2, "text": 1, "fine": 1}
        assert {event["data"] for path, event in scene.listener.got if path == "/dead"} == {"drop", "missing"}

    subscriptions = [
        {"pubsubname": "bus", "topic": "orders", "route": "/orders", "deadLetterTopic": "dead"},
        {"pubsubname": "bus", "topic": "dead", "routes": {"default": "/dead"}},
    ]
    told(valkey, Listener(subscriptions, answer), story)


@pytest.mark.long
def test_events_wait_for_a_program_that_is_away_and_may_come_back_changed(valkey: Valkey) -> None:
    listener = Listener([{"pubsubname": "bus", "topic": "orders", "route": "/first"}])

    async def play() -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), delivering(valkey, listener) as scene:
            async with listener.listening():
                await scene.subscribed()
            await scene.publish(1)
            await asyncio.sleep(0.3)
            assert listener.got == []
            listener.subscriptions = [
                {"pubsubname": "bus", "topic": "orders", "route": "/second"},
                {"pubsubname": "bus", "topic": "more", "route": "/more"},
            ]
            async with listener.listening():
                await scene.subscribed(2)
                await scene.publish(2, "more")
                await scene.publish(3)
                got = {(path, event["data"]) for path, event in await scene.got(3)}
                assert got <= {("/first", 1), ("/second", 1), ("/second", 3), ("/more", 2)}
                assert {data for _, data in got} == {1, 2, 3}

    valkey.clear()
    asyncio.run(play())


@pytest.mark.long
def test_a_stop_waits_for_no_program_that_is_away(valkey: Valkey) -> None:
    listener = Listener([{"pubsubname": "bus", "topic": "orders", "route": "/orders"}])

    async def play() -> float:
        async with delivering(valkey, listener) as scene:
            async with listener.listening():
                await scene.subscribed()
            await scene.publish(1)
            await asyncio.sleep(0.3)
            begun = asyncio.get_running_loop().time()
        return asyncio.get_running_loop().time() - begun

    async def bounded() -> float:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await play()

    valkey.clear()
    assert asyncio.run(bounded()) < PATIENCE_SECONDS / 2


@pytest.mark.long
def test_a_bulk_is_answered_entry_by_entry(valkey: Valkey) -> None:
    seen: list[list[int]] = []

    def answer(path: str, bulk: Any) -> dict[str, Any]:
        entries = [(entry["entryId"], entry["event"]["data"]) for entry in bulk["entries"]]
        seen.append([data for _, data in entries])
        statuses = [
            {"entryId": id, "status": "RETRY" if data == 2 and len(seen) == 1 else "SUCCESS"} for id, data in entries
        ]
        return {"statuses": statuses}

    async def story(scene: Scene) -> None:
        for number in range(4):
            await scene.publish(number)
        await scene.got(2)
        assert sorted(seen[0]) == [0, 1, 2, 3]
        assert seen[1] == [2]
        assert scene.listener.got[0][1]["pubsubname"] == "bus"

    bulk = BulkSubscribe(messages_max=4, wait_milliseconds=500)
    declared = Subscription(name="s", pubsub="bus", topic="orders", path="/bulk", bulk=bulk)
    told(valkey, Listener(None, answer), story, declared)


def test_what_a_program_tells_that_is_nothing_is_refused() -> None:
    assert of_program(b"") == of_program(b"null") == of_program(b"[]") == []
    for body in (b"{}", b"[7]", b'[{"topic": "t"}]', b"\xff"):
        with pytest.raises(InvalidArgument, match="no list of subscriptions"):
            of_program(body)


def test_conditions_that_are_none_are_refused() -> None:
    for match in ("event.type ==", "x" * 5_000):
        with pytest.raises(InvalidArgument, match="condition"):
            Routes([(match, "/a")])


def test_an_event_without_a_route_goes_nowhere() -> None:
    routes = Routes([('event.data.kind == "a"', "/a")])
    assert routes.path_for(b'{"data": {"kind": "a"}}') == "/a"
    assert routes.path_for(b'{"data": 7}') is None


def test_words_are_verdicts() -> None:
    assert [named(word) for word in ("", "SUCCESS", "DROP", "success")] == ["SUCCESS", "SUCCESS", "DROP", "RETRY"]
