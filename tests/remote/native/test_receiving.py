"""Subscriptions of an app at a server: its code is given the messages, with all that follows as embedded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from perdure import App, Client, CloudEvent, Codec, KeyRing, Retry, Verdict, publish, wait_for_event
from tests.remote.native.serving import Served, served

SECONDS = 30.0
QUICK = Retry(max_attempts=3, initial_interval=0.01, max_interval=0.02)


@dataclass
class Order:
    id: str
    total: int


def play(scenario: Callable[[Served], Awaitable[None]], store: str = "memory:") -> None:
    async def within() -> None:
        async with asyncio.timeout(SECONDS), served(store) as there:
            await scenario(there)

    asyncio.run(within())


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.005)


async def drained(client: Client, topic: str, group: str) -> None:
    while [g.left for t in await client.topics() if t.name == topic for g in t.groups if g.name == group] != [0]:
        await asyncio.sleep(0.01)


def test_a_handler_gets_typed_data_and_the_event_and_what_it_publishes_goes_out() -> None:
    app = App("shop")
    got: list[object] = []

    @app.subscribe("orders")
    async def bill(order: Order, event: CloudEvent) -> None:
        got.append((order, event.key))
        await publish("bills", order.total)

    @app.subscribe("bills")
    def note(total: int) -> None:
        got.append(total)

    async def scenario(there: Served) -> None:
        await app.open(server=there.url)
        await app.client.publish("orders", Order("a", 3), key="k")
        await until(lambda: len(got) == 2)
        assert got == [(Order("a", 3), "k"), 3]
        await drained(app.client, "orders", "bill")
        await app.close()

    play(scenario)


def test_messages_of_a_key_stay_in_order_and_a_failure_holds_back_only_its_key() -> None:
    app = App("shop")
    got: list[tuple[str, int]] = []
    fails = {"bad": 2}

    @app.subscribe("orders", retry=Retry(max_attempts=5, initial_interval=0.2, max_interval=0.2))
    async def handle(number: int, event: CloudEvent) -> None:
        if fails.get(event.key or "", 0):
            fails[event.key or ""] -= 1
            raise RuntimeError("not yet")
        got.append((event.key or "", number))

    async def scenario(there: Served) -> None:
        await app.open(server=there.url)
        for number in range(3):
            await app.client.publish("orders", number, key="bad")
            await app.client.publish("orders", number, key="good")
        await drained(app.client, "orders", "handle")
        await app.close()

    play(scenario)
    assert [one for one in got if one[0] == "good"] == [("good", n) for n in range(3)]
    assert [one for one in got if one[0] == "bad"] == [("bad", n) for n in range(3)]


def test_dead_letters_tell_why() -> None:
    app = App("shop")
    dead: dict[object, object] = {}

    @app.subscribe("orders", retry=QUICK, dead_letter="dead")
    async def handle(data: str) -> Verdict:
        if data == "raised":
            raise RuntimeError("never")
        return Verdict.DROP

    @app.subscribe("dead")
    async def bury(event: CloudEvent) -> None:
        dead[event.data] = event.extensions["deadletterreason"]

    async def scenario(there: Served) -> None:
        await app.open(server=there.url)
        for data in ("raised", "dropped", 7):
            await app.client.publish("orders", data)
        await until(lambda: len(dead) == 3)
        await app.close()

    play(scenario)
    assert dead["raised"] == "RuntimeError: never"
    assert dead["dropped"] == "the receiver has dropped it"
    assert "str" in str(dead[7])


def test_a_message_starts_a_workflow_once_and_another_raises_an_event_on_it() -> None:
    app = App("shop")

    @app.workflow
    async def checkout(order: Order) -> list[object]:
        return [order.total, await wait_for_event("paid")]

    app.subscribe("orders", starts=checkout, id="order-{data.id}")
    patient = Retry(max_attempts=1_000, initial_interval=0.01, max_interval=0.05)
    app.subscribe("payments", raises="paid", id="order-{data.order}", retry=patient)

    async def scenario(there: Served) -> None:
        await app.open(server=there.url)
        await app.client.publish("payments", {"order": "a"})  # comes again until there is an instance
        for _ in range(3):
            await app.client.publish("orders", Order("a", 3), id="1", source="web")
        handle = app.client.get("order-a")
        await drained(app.client, "payments", "paid")
        assert await handle.result() == [3, {"order": "a"}]
        assert len([one async for one in app.client.list()]) == 1
        await app.close()

    play(scenario)


def test_what_an_expression_does_not_fit_is_a_dead_letter() -> None:
    app = App("shop")
    dead: list[str] = []

    @app.workflow
    async def checkout(order: dict) -> None: ...

    app.subscribe("orders", starts=checkout, id="data.id", retry=QUICK, dead_letter="dead")

    @app.subscribe("dead")
    async def bury(event: CloudEvent) -> None:
        dead.append(event.extensions["deadletterreason"])

    async def scenario(there: Served) -> None:
        await app.open(server=there.url)
        await app.client.publish("orders", {"none": 1})
        await until(lambda: len(dead) == 1)
        await app.close()

    play(scenario)
    assert "data.id" in dead[0]


def test_encrypted_messages_are_plain_to_code_alone() -> None:
    app = App("shop", codec=Codec(keys=KeyRing({"k": bytes(32)}, current="k"), compress=False))
    got: list[str] = []

    @app.workflow
    async def keep(word: dict) -> str:
        return word["secret"]

    @app.subscribe("words")
    async def handle(word: dict) -> None:
        got.append(word["secret"])

    app.subscribe("words", group="keeper", starts=keep, id="kept-{data.number}")

    async def scenario(there: Served) -> None:
        await app.open(server=there.url)
        await app.client.publish("words", {"secret": "plain", "number": 1})
        await until(lambda: got == ["plain"])
        await drained(app.client, "words", "keeper")
        assert await app.client.get("kept-1").result() == "plain"
        await app.close()

    play(scenario)


def test_messages_wait_for_a_worker_and_one_that_leaves_ends_what_it_has() -> None:
    got: list[tuple[str, int]] = []
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    def made(name: str) -> App:
        app = App("shop", drain_seconds=SECONDS)

        @app.subscribe("orders", group="all")
        async def handle(number: int) -> None:
            if number == 0:
                has_begun.set()
                await may_end.wait()
            got.append((name, number))

        return app

    async def scenario(there: Served) -> None:
        first, second = made("first"), made("second")
        async with Client(there.url) as client:
            await client.publish("orders", 0)
            await first.open(server=there.url)
            await has_begun.wait()
            leaving = asyncio.create_task(first.close())
            await until(lambda: not any(g for t, g in there.server.hosted._engines["shop"].consumers.groups()))
            await client.publish("orders", 1)
            may_end.set()
            await leaving
            await drained_to(client, 1)
            assert got == [("first", 0)]
            await second.open(server=there.url)
            await drained(client, "orders", "all")
            await second.close()

    async def drained_to(client: Client, count: int) -> None:
        while [group.left for topic in await client.topics() for group in topic.groups] != [count]:
            await asyncio.sleep(0.01)

    play(scenario)
    assert got == [("first", 0), ("second", 1)]
