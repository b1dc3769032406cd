"""Subscriptions that are delivered to a program that speaks gRPC."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from perdure.blocks.pubsub import SubscribeOptions
from perdure.blocks.resources import BulkSubscribe, Rule, Subscription
from perdure.remote.pubsub.desk import PubsubDesk
from perdure.remote.pubsub.publishing import Publish
from perdure.remote.wire.schema import RUNTIME_SCHEMA as SCHEMA
from tests.remote.pubsub.callback import DROP, RETRY, SERVICE, SUCCESS, Callback
from tests.remote.pubsub.program import PATIENCE_SECONDS, components, serving

PAUSE_SECONDS = SubscribeOptions().initial_interval
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def subscription(topic: str = "orders", dead: str = "", **routes: Any) -> Any:
    return SCHEMA.TopicSubscription(
        pubsub_name="bus", topic=topic, dead_letter_topic=dead, routes=SCHEMA.TopicRoutes(**routes)
    )


class Scene:
    def __init__(self, desk: PubsubDesk, program: Callback) -> None:
        self.desk = desk
        self.program = program

    async def publish(self, data: Any, topic: str = "orders", **metadata: str) -> None:
        body = json.dumps(data).encode()
        asked = Publish(pubsub="bus", topic=topic, data=body, content_type="application/json", metadata=metadata)
        await self.desk.publish("shop", asked)

    async def got(self, count: int) -> list[Any]:
        while len(self.program.got) < count:
            await asyncio.sleep(0.01)
        return self.program.got

    async def subscribed(self, count: int = 1) -> None:
        while len(self.desk.subscriptions.get("shop", ())) != count:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def delivering(program: Callback, *declared: Subscription) -> AsyncIterator[Scene]:
    resources = components(("bus", "pubsub.perdure", {}), subscriptions=declared)
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        serving("shop", resources=resources, app_url=program.url) as server,
    ):
        yield Scene(server.hosted.pubsub, program)


def told(program: Callback, story: Callable[[Scene], Awaitable[None]], *declared: Subscription) -> None:
    async def play() -> None:
        async with delivering(program, *declared) as scene, program.listening():
            await story(scene)

    asyncio.run(play())


def test_a_program_that_tells_what_it_wants_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(scene: Scene) -> None:
        await scene.subscribed()
        await scene.publish({"a": 1}, **{"cloudevent.traceparent": TRACE, "cloudevent.colour": "red"})
        (event,) = await scene.got(1)
        assert (event.data, event.data_content_type) == (b'{"a": 1}', "application/json")
        assert (event.topic, event.pubsub_name, event.path) == ("orders", "bus", "")
        assert (event.source, event.type, event.spec_version) == ("shop", "com.dapr.event.sent", "1.0")
        assert event.extensions["colour"] == "red"
        (metadata,) = scene.program.metadata
        assert (metadata["traceparent"], metadata["dapr-api-token"]) == (TRACE, "secret")
        (shown,) = scene.desk.subscriptions["shop"]
        assert (shown.origin, shown.rules) == ("PROGRAMMATIC", (("", ""),))

    monkeypatch.setenv("APP_API_TOKEN", "secret")
    told(Callback(subscription()), story)


def test_paths_are_those_that_files_and_programs_name() -> None:
    async def story(scene: Scene) -> None:
        await scene.subscribed(2)
        for data, topic in (({"n": 9}, "orders"), ({"n": 1}, "orders"), ({"n": 1}, "told")):
            await scene.publish(data, topic)
        got = {(event.topic, event.path, json.loads(event.data)["n"]) for event in await scene.got(3)}
        assert got == {("orders", "many", 9), ("orders", "/rest", 1), ("told", "few", 1)}

    declared = Subscription(
        name="s", pubsub="bus", topic="orders", path="/rest", rules=(Rule(match="event.data.n > 5", path="many"),)
    )
    rules = [SCHEMA.TopicRule(match="event.data.n > 5", path="many")]
    told(Callback(subscription("told", rules=rules, default="few")), story, declared)


@pytest.mark.long
def test_answers_are_verdicts() -> None:
    tries = Counter[str]()

    def answer(event: Any) -> int | grpc.StatusCode:
        what = json.loads(event.data)
        tries[what] += 1
        if event.topic == "dead":
            return SUCCESS
        match what:
            case "drop":
                return DROP
            case "missing":
                return grpc.StatusCode.UNIMPLEMENTED
            case "retry" if tries[what] == 1:
                return RETRY
            case "failed" if tries[what] == 1:
                return grpc.StatusCode.UNKNOWN
            case "unavailable" if tries[what] == 1:
                return grpc.StatusCode.UNAVAILABLE
            case "unknown" if tries[what] == 1:
                return 17
        return SUCCESS

    async def story(scene: Scene) -> None:
        await scene.subscribed(2)
        for what in ("drop", "missing", "retry", "failed", "unavailable", "unknown", "fine"):
            await scene.publish(what)
        await scene.got(13)
        assert tries == {
            **dict.fromkeys(("drop", "missing", "retry", "failed", "unavailable", "unknown"), 2),
            "fine": 1,
        }
        buried = {json.loads(event.data) for event in scene.program.got if event.topic == "dead"}
        assert buried == {"drop", "missing"}

    told(Callback(subscription(dead="dead"), subscription("dead"), answer=answer), story)


@pytest.mark.long
def test_a_program_that_is_always_unavailable_uses_up_its_attempts() -> None:
    """It is there, so that its answer counts, and does not come again at once for ever."""

    times: list[float] = []

    def answer(event: Any) -> grpc.StatusCode:
        times.append(asyncio.get_running_loop().time())
        return grpc.StatusCode.UNAVAILABLE

    async def story(scene: Scene) -> None:
        await scene.subscribed()
        await scene.publish("x")
        await scene.got(2)
        assert times[1] - times[0] >= PAUSE_SECONDS

    told(Callback(subscription(), answer=answer), story)


@pytest.mark.long
def test_events_wait_for_a_program_that_is_away_and_may_come_back_changed() -> None:
    program = Callback(subscription())

    async def play() -> None:
        async with delivering(program) as scene:
            async with program.listening():
                await scene.subscribed()
            await scene.publish(1)
            await asyncio.sleep(0.3)
            assert program.got == []
            program.subscriptions = (subscription(default="second"), subscription("more"))
            async with program.listening():
                await scene.subscribed(2)
                await scene.publish(2, "more")
                await scene.publish(3)
                got = {(event.path, event.data) for event in await scene.got(3)}
                assert got <= {("", b"1"), ("second", b"1"), ("second", b"3"), ("", b"2")}
                assert {data for _, data in got} == {b"1", b"2", b"3"}

    asyncio.run(play())


@pytest.mark.long
@pytest.mark.parametrize("bulks", [f"{SERVICE}/OnBulkTopicEvent", f"{SERVICE}Alpha/OnBulkTopicEventAlpha1"])
def test_a_bulk_is_answered_entry_by_entry(bulks: str) -> None:
    seen = Counter[bytes]()

    def answer(event: Any) -> int:
        seen[event.data] += 1
        return RETRY if event.data == b"2" and seen[event.data] == 1 else SUCCESS

    async def story(scene: Scene) -> None:
        await scene.subscribed()
        for number in range(4):
            await scene.publish(number)
        (first,) = await scene.got(1)
        for number in range(4, 7):
            await scene.publish(number)
        _, again = await scene.got(2)
        assert sorted(one.cloud_event.data for one in first.entries) == [b"0", b"1", b"2", b"3"]
        assert sorted(one.cloud_event.data for one in again.entries) == [b"2", b"4", b"5", b"6"]
        assert (first.pubsub_name, first.topic, first.path) == ("bus", "orders", "all")
        assert first.entries[0].cloud_event.source == "shop"

    bulk = BulkSubscribe(messages_max=4, wait_milliseconds=60_000)
    declared = Subscription(name="s", pubsub="bus", topic="orders", path="all", bulk=bulk)
    told(Callback(answer=answer, bulks=bulks, tells=False), story, declared)


@pytest.mark.long
def test_a_bulk_that_a_program_takes_under_no_name_is_buried() -> None:
    async def story(scene: Scene) -> None:
        await scene.subscribed(2)
        await scene.publish(7)
        (event,) = await scene.got(1)
        assert (event.topic, event.data) == ("dead", b"7")

    bulk = BulkSubscribe(messages_max=1)
    declared = Subscription(name="s", pubsub="bus", topic="orders", path="all", bulk=bulk, dead_letter_topic="dead")
    told(Callback(subscription("dead"), bulks=None), story, declared)
