"""The broker that is the store itself, through the port that all brokers fulfil."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from perdure import App
from perdure.blocks.pubsub import Begin, Broker, Message, SubscribeOptions, Verdict
from perdure.blocks.pubsub.store import StoreBroker
from perdure.errors import InvalidArgument, PayloadTooLarge
from perdure.sdk.publishing import MESSAGE_BYTES_MAX

QUICK = SubscribeOptions(initial_interval=0.01, max_interval=0.01, attempts_max=3, dead_letter="dead")


def a_message(id: str, data: bytes = b"1", **more: object) -> Message:
    return Message(id=id, topic="orders", data=data, source="test", **more)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.005)


def test_messages_arrive_as_they_were_published_to_each_group(run, url):
    app = App("shop", store=url)
    got: dict[str, list[Message]] = {"a": [], "b": []}
    sent = [
        a_message("1", b'{ "n": 1 }', key="k", type="order.placed", time=1_700_000_000_000_000),
        a_message("2", b"\x00\xff", content_type="application/octet-stream", key="k"),
        a_message("3", b"no json", key="k", extensions={"subject": "s"}),
    ]

    async def scenario():
        async with app:
            broker: Broker = StoreBroker(app._life.engine)
            for group, taken in got.items():

                async def take(message: Message, taken: list[Message] = taken) -> Verdict:
                    taken.append(message)
                    return Verdict.SUCCESS

                await broker.subscribe("orders", group, take)
            await broker.publish(sent)
            await until(lambda: len(got["a"]) == len(got["b"]) == 3)
            await broker.close()

    run(scenario)
    for messages in got.values():
        assert [message.data for message in messages] == [message.data for message in sent]
        assert messages[0] == sent[0]
        assert [message.content_type for message in messages] == [message.content_type for message in sent]


def test_two_subscriptions_of_a_group_share_it_and_one_that_is_closed_takes_no_more(run, url):
    app = App("shop", store=url)
    got: list[tuple[str, str]] = []
    gate = asyncio.Event()

    async def scenario():
        async with app:
            broker = StoreBroker(app._life.engine)

            async def first(message: Message) -> Verdict:
                got.append(("first", message.id))
                await gate.wait()
                return Verdict.SUCCESS

            async def second(message: Message) -> Verdict:
                got.append(("second", message.id))
                return Verdict.SUCCESS

            one = await broker.subscribe("orders", "g", first)
            await broker.subscribe("orders", "g", second)
            await broker.publish([a_message(str(number)) for number in range(10)])
            await until(lambda: len(got) == 10)
            closing = asyncio.create_task(one.close())
            await asyncio.sleep(0.02)
            assert not closing.done()  # because it still handles some
            gate.set()
            await closing
            await broker.publish([a_message(str(number)) for number in range(10, 20)])
            await until(lambda: len(got) == 20)

    run(scenario)
    assert {who for who, id in got if int(id) < 10} == {"first", "second"}
    assert {who for who, id in got if int(id) >= 10} == {"second"}


def test_verdicts_and_where_a_group_begins(run, url):
    app = App("shop", store=url)
    got: list[str] = []
    dead: list[Message] = []

    async def take(message: Message) -> Verdict:
        got.append(message.id)
        return {"drop": Verdict.DROP, "retry": Verdict.RETRY}.get(message.id, Verdict.SUCCESS)

    async def bury(message: Message) -> Verdict:
        dead.append(message)
        return Verdict.SUCCESS

    async def scenario():
        async with app:
            broker = StoreBroker(app._life.engine)
            await broker.publish([a_message("before")])
            await broker.subscribe("dead", "g", bury)
            await broker.subscribe("orders", "g", take, QUICK)
            newest: list[str] = []

            async def note(message: Message) -> Verdict:
                newest.append(message.id)
                return Verdict.SUCCESS

            await until(lambda: got == ["before"])
            await broker.subscribe("orders", "new", note, SubscribeOptions(begin=Begin.NEWEST))
            await broker.publish([a_message("drop"), a_message("retry")])
            await until(lambda: len(dead) == 2)
            await until(lambda: len(newest) == 2)

    run(scenario)
    assert got.count("retry") == 3
    assert got.count("drop") == 1


def test_what_is_no_message_is_refused(run, url):
    app = App("shop", store=url)

    async def scenario():
        async with app:
            broker = StoreBroker(app._life.engine)
            with pytest.raises(InvalidArgument):
                await broker.publish([a_message("")])
            with pytest.raises(InvalidArgument):
                await broker.publish(["text"])
            with pytest.raises(PayloadTooLarge):
                await broker.publish([a_message("1", b"x" * (MESSAGE_BYTES_MAX + 1))])
            with pytest.raises(InvalidArgument):
                await broker.subscribe("", "g", lambda message: Verdict.SUCCESS)

    run(scenario)
