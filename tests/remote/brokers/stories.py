"""What every broker does alike: the suite of each broker derives from it and has a fixture `address`."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from perdure.blocks.pubsub import Begin, Broker, Message, SubscribeOptions, Verdict
from perdure.clock import SystemClock
from perdure.errors import StoreUnavailable
from perdure.remote.brokers import open_broker

PATIENCE_SECONDS = 30.0
FAST = SubscribeOptions(initial_interval=0.05, max_interval=0.05)
LEASE = "lease=30"
"""Longer than a busy machine may stand still, because what a reader that lost its lease had in hand comes twice."""
PROGRAM = Path(__file__).with_name("consumer_program.py")


def a_message(id: str, topic: str = "orders", key: str | None = None, data: bytes = b"1", **more: object) -> Message:
    return Message(id=id, topic=topic, data=data, key=key, source="test", **more)  # type: ignore[arg-type]


class Server(Protocol):
    def kill(self) -> None: ...
    def restart(self) -> None: ...


class Desk:
    """Brokers of one story, as many as there are nodes; what they are handed is written down."""

    def __init__(self, address: str, stack: AsyncExitStack) -> None:
        self._address = address
        self._stack = stack
        self.got: list[Message] = []

    def node(self, options: str = LEASE) -> Broker:
        broker = open_broker(f"{self._address}?{options}")
        self._stack.push_async_callback(broker.close)
        return broker

    async def take(self, message: Message) -> Verdict:
        self.got.append(message)
        return Verdict.SUCCESS

    @property
    def ids(self) -> list[str]:
        return [message.id for message in self.got]


def told(address: str, story: Callable[[Desk], Awaitable[None]]) -> None:
    async def play() -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), AsyncExitStack() as stack:
            await story(Desk(address, stack))

    asyncio.run(play())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


class OnBrokers:
    """The stories."""

    def test_a_message_arrives_as_it_was_published(self, address: str) -> None:
        async def story(desk: Desk) -> None:
            broker = desk.node()
            sent = [
                a_message("1", data=b'{"a": 1}', key="k", type="order.placed", time=1_700_000_000_000_000),
                a_message("2", data=b"\x00\xff", content_type="application/octet-stream"),
                a_message("3", data="größe".encode(), content_type="text/plain", extensions={"traceparent": "00-1"}),
                a_message("4", data=b'"text"', expires=4_000_000_000_000_000),
                a_message("5", data=b"not json"),
            ]
            await broker.publish(sent)
            await broker.subscribe("orders", "g", desk.take)
            await until(lambda: len(desk.got) == len(sent))
            assert sorted(desk.got, key=lambda message: message.id) == sent

        told(address, story)

    def test_every_group_gets_every_message_and_its_members_share_them(self, address: str) -> None:
        async def story(desk: Desk) -> None:
            got: dict[str, list[str]] = defaultdict(list)

            def taker(name: str) -> Callable[[Message], Awaitable[Verdict]]:
                async def take(message: Message) -> Verdict:
                    got[name].append(message.id)
                    await asyncio.sleep(0.01)
                    return Verdict.SUCCESS

                return take

            nodes = [desk.node("lease=4&parts=4") for _ in range(2)]
            shared = [
                await broker.subscribe("orders", "shared", taker(name))
                for name, broker in zip("ab", nodes, strict=True)
            ]
            await nodes[0].subscribe("orders", "alone", taker("alone"))
            await until(lambda: [reads(subscriber) for subscriber in shared] == [2, 2])
            ids = [f"m{number:03}" for number in range(60)]
            await nodes[0].publish([a_message(id) for id in ids])
            await until(lambda: len(got["alone"]) >= 60 and len(got["a"]) + len(got["b"]) >= 60)
            assert sorted(got["alone"]) == ids
            assert sorted(got["a"] + got["b"]) == ids
            assert got["a"]
            assert got["b"]

        told(address, story)

    def test_messages_of_a_key_come_in_order_and_one_that_fails_holds_back_its_key_alone(self, address: str) -> None:
        async def story(desk: Desk) -> None:
            failures = Counter[str]()

            async def take(message: Message) -> Verdict:
                failures[message.id] += 1
                if message.id == "k1-00" and failures[message.id] == 1:
                    raise ValueError("first")
                if message.id == "k1-00" and len(desk.got) < 20:
                    return Verdict.RETRY
                return await desk.take(message)

            broker = desk.node("lease=30&parts=4")
            sent = [a_message(f"{key}-{number:02}", key=key) for number in range(10) for key in ("k1", "k2", "k3")]
            options = SubscribeOptions(initial_interval=0.05, max_interval=0.05, attempts_max=10_000)
            await broker.subscribe("orders", "g", take, options)
            await broker.publish(sent)
            await until(lambda: len(desk.got) == 30)
            for key in ("k1", "k2", "k3"):
                assert [id for id in desk.ids if id.startswith(key)] == [f"{key}-{n:02}" for n in range(10)]
            assert desk.ids.index("k1-00") == 20
            assert failures["k1-00"] > 1

        told(address, story)

    def test_what_fails_too_often_or_is_dropped_is_a_dead_letter(self, address: str) -> None:
        async def story(desk: Desk) -> None:
            tries = Counter[str]()

            async def take(message: Message) -> Verdict:
                tries[message.id] += 1
                return Verdict.DROP if message.id == "dropped" else Verdict.RETRY

            broker = desk.node()
            options = SubscribeOptions(
                initial_interval=0.01, max_interval=0.01, attempts_max=3, dead_letter="orders-dead"
            )
            await broker.subscribe("orders", "g", take, options)
            await broker.subscribe("orders-dead", "g", desk.take)
            await broker.publish([a_message("tired", data=b"[7]", key="k"), a_message("dropped")])
            await until(lambda: len(desk.got) == 2)
            assert tries == {"tired": 3, "dropped": 1}
            by_id = {message.id: message for message in desk.got}
            assert by_id["tired"] == a_message("tired", "orders-dead", data=b"[7]", key="k")

        told(address, story)

    def test_without_a_dead_letter_topic_it_is_gone(self, address: str) -> None:
        async def story(desk: Desk) -> None:
            async def take(message: Message) -> Verdict:
                await desk.take(message)
                return Verdict.DROP if message.id == "dropped" else Verdict.SUCCESS

            broker = desk.node()
            one = await broker.subscribe("orders", "g", take)
            await broker.publish([a_message("dropped", key="k"), a_message("next", key="k")])
            await until(lambda: len(desk.got) == 2)
            await one.close()
            await broker.subscribe("orders", "g", desk.take)
            await broker.publish([a_message("last")])
            await until(lambda: "last" in desk.ids)
            assert desk.ids == ["dropped", "next", "last"]

        told(address, story)

    def test_the_same_source_and_id_is_published_once(self, address: str) -> None:
        async def story(desk: Desk) -> None:
            broker = desk.node()
            await broker.publish([a_message("1"), a_message("1"), a_message("2")])
            await broker.publish([a_message("2"), a_message("3")])
            await broker.subscribe("orders", "g", desk.take)
            await until(lambda: "3" in desk.ids)
            await asyncio.sleep(0.1)
            assert sorted(desk.ids) == ["1", "2", "3"]

        told(address, story)

    def test_a_new_group_begins_where_it_says(self, address: str) -> None:
        async def story(desk: Desk) -> None:
            broker = desk.node()
            await broker.publish([a_message("old")])
            newest: list[str] = []

            async def take(message: Message) -> Verdict:
                newest.append(message.id)
                return Verdict.SUCCESS

            await broker.subscribe("orders", "late", take, SubscribeOptions(begin=Begin.NEWEST))
            await broker.subscribe("orders", "early", desk.take)
            await broker.publish([a_message("new")])
            await until(lambda: len(desk.got) == 2 and bool(newest))
            assert (desk.ids, newest) == (["old", "new"], ["new"])

        told(address, story)

    def test_what_has_expired_is_not_handled(self, address: str) -> None:
        async def story(desk: Desk) -> None:
            broker = desk.node()
            past = SystemClock().now() - 1_000_000
            await broker.publish([a_message("late", expires=past, key="k"), a_message("fresh", key="k")])
            await broker.subscribe("orders", "g", desk.take)
            await until(lambda: "fresh" in desk.ids)
            assert desk.ids == ["fresh"]

        told(address, story)

    def test_a_handler_that_takes_too_long_has_failed(self, address: str) -> None:
        async def story(desk: Desk) -> None:
            async def take(message: Message) -> Verdict:
                await desk.take(message)
                if len(desk.got) == 1:
                    await asyncio.sleep(60)
                return Verdict.SUCCESS

            broker = desk.node()
            options = SubscribeOptions(timeout=0.1, initial_interval=0.01)
            await broker.subscribe("orders", "g", take, options)
            await broker.publish([a_message("1")])
            await until(lambda: desk.ids == ["1", "1"])

        told(address, story)

    def test_no_more_are_in_hand_than_the_bound(self, address: str) -> None:
        async def story(desk: Desk) -> None:
            running = most = 0

            async def take(message: Message) -> Verdict:
                nonlocal running, most
                running += 1
                most = max(most, running)
                await asyncio.sleep(0.01)
                running -= 1
                return await desk.take(message)

            broker = desk.node("lease=30&parts=2")
            await broker.publish([a_message(str(number)) for number in range(50)])
            await broker.subscribe("orders", "g", take, SubscribeOptions(in_hand_max=5))
            await until(lambda: len(desk.got) == 50)
            assert most == 5

        told(address, story)

    def test_who_closes_finishes_what_is_being_handled_and_the_next_goes_on(self, address: str) -> None:
        async def story(desk: Desk) -> None:
            begun = asyncio.Event()

            async def slow(message: Message) -> Verdict:
                begun.set()
                await asyncio.sleep(0.3)
                return await desk.take(message)

            first, second = desk.node("lease=30"), desk.node("lease=30")
            one = await first.subscribe("orders", "g", slow)
            await first.publish([a_message(str(number), key="k") for number in range(4)])
            await begun.wait()
            await one.close()
            assert desk.ids == ["0"]
            await second.subscribe("orders", "g", desk.take)
            await until(lambda: len(desk.got) == 4)
            assert desk.ids == ["0", "1", "2", "3"], desk.ids

        told(address, story)

    def test_who_is_cancelled_while_closing_leaves_all_the_same(self, address: str) -> None:
        async def story(desk: Desk) -> None:
            begun = asyncio.Event()

            async def slow(message: Message) -> Verdict:
                begun.set()
                await asyncio.sleep(0.2)
                return await desk.take(message)

            first, second = desk.node("lease=30"), desk.node("lease=30")
            one = await first.subscribe("orders", "g", slow)
            await first.publish([a_message("0", key="k"), a_message("1", key="k")])
            await begun.wait()
            closing = asyncio.ensure_future(one.close())
            await asyncio.sleep(0.05)
            closing.cancel()
            await until(lambda: desk.ids == ["0"])
            await one.close()
            await second.subscribe("orders", "g", desk.take)
            await until(lambda: desk.ids == ["0", "1"])

        told(address, story)

    def test_what_a_reader_had_in_hand_that_lost_its_lease_comes_to_another(self, address: str) -> None:
        """As it is for one that stood still for longer than its lease."""

        async def story(desk: Desk) -> None:
            stuck = asyncio.Event()

            async def never(message: Message) -> Verdict:
                stuck.set()
                await asyncio.sleep(60)
                raise AssertionError("it is broken off")

            first, second = desk.node("lease=1"), desk.node("lease=1")
            subscriber = await first.subscribe("orders", "g", never)
            await first.publish([a_message(str(number), key="k") for number in range(3)])
            await stuck.wait()
            stop(subscriber)
            await second.subscribe("orders", "g", desk.take, FAST)
            await until(lambda: len(desk.got) == 3)
            assert desk.ids == ["0", "1", "2"]

        told(address, story)

    @pytest.mark.long
    @pytest.mark.timeout(150)
    def test_a_message_that_kills_its_readers_is_given_up_and_those_beside_it_are_not(self, address: str) -> None:
        """All are in hand at every death. None of the others is ever done before one, but for those that are alone."""
        others = [str(number) for number in range(6)]
        options = SubscribeOptions(attempts_max=2, dead_letter="orders-dead")

        async def story() -> None:
            async with AsyncExitStack() as stack:
                desk, graves = Desk(address, stack), Desk(address, stack)
                await graves.node().subscribe("orders-dead", "g", graves.take)
                await graves.node().publish([a_message(id) for id in (*others[:3], "killer", *others[3:])])
                deaths = 0
                while graves.ids != ["killer"] or set(desk.ids) != set(others):
                    assert graves.ids in ([], ["killer"])
                    subscriber, has_died = await life(desk)
                    while not has_died.is_set() and (not graves.got or set(desk.ids) != set(others)):
                        await asyncio.sleep(0.01)
                    if has_died.is_set():
                        deaths += 1
                        die(subscriber)
                assert deaths >= 2 + 1, "so many alone, and before them beside the others"

        async def life(desk: Desk) -> tuple[Any, asyncio.Event]:
            has_died = asyncio.Event()

            async def take(message: Message) -> Verdict:
                if message.id == "killer":
                    has_died.set()
                    await asyncio.Event().wait()
                await asyncio.sleep(0.3)
                return await desk.take(message)

            return await desk.node("lease=1").subscribe("orders", "g", take, options), has_died

        asyncio.run(asyncio.wait_for(story(), 100))

    @pytest.mark.long
    def test_a_server_that_starts_again_is_used_again(self, address: str, server: Server) -> None:
        """What was published before is there; what is published meanwhile is refused, or there as well."""

        async def story(desk: Desk) -> None:
            broker = desk.node()
            await broker.subscribe("orders", "g", desk.take)
            await broker.publish([a_message("before")])
            await until(lambda: "before" in desk.ids)
            await asyncio.to_thread(server.kill)
            with pytest.raises((StoreUnavailable, TimeoutError)):
                await broker.publish([a_message("meanwhile")])
            await asyncio.to_thread(server.restart)
            await published(broker, a_message("after"))
            await until(lambda: "after" in desk.ids)
            assert set(desk.ids) <= {"before", "meanwhile", "after"}

        told(address, story)

    @pytest.mark.long
    @pytest.mark.timeout(180)
    def test_consumers_that_are_killed_lose_nothing_and_keep_the_order(self, address: str, tmp_path: Path) -> None:
        """Three processes share a topic, and one of them is killed with -9 again and again."""

        async def story() -> None:
            broker = open_broker(f"{address}?lease=1&parts=4")
            keys, count = [f"k{number}" for number in range(20)], 50
            consumers = [start(address, tmp_path, number) for number in range(3)]
            try:
                for number in range(count):
                    await broker.publish([a_message(f"{key}:{number}", key=key) for key in keys])
                    if number % 10 == 9:
                        victim = number // 10 % len(consumers)
                        consumers[victim].send_signal(signal.SIGKILL)
                        consumers[victim].wait()
                        consumers[victim] = start(address, tmp_path, len(consumers) + number)
                    await asyncio.sleep(0.1)
                sent = {f"{key}:{number}" for key in keys for number in range(count)}
                async with asyncio.timeout(90):
                    while set(handled(tmp_path)) != sent:
                        await asyncio.sleep(0.2)
            finally:
                for consumer in consumers:
                    consumer.kill()
                    consumer.wait()
                await broker.close()
            for key in keys:
                first = list(dict.fromkeys(id for id in handled(tmp_path) if id.startswith(f"{key}:")))
                assert first == [f"{key}:{number}" for number in range(count)]
            assert max(Counter(handled(tmp_path)).values()) <= 6  # once more for each kill at most

        asyncio.run(story())


async def published(broker: Broker, message: Message) -> None:
    """As soon as the server takes it."""
    while True:
        try:
            return await broker.publish([message])
        except StoreUnavailable:
            await asyncio.sleep(0.05)


def reads(subscriber: Any) -> int:
    """Of how many parts it is the reader."""
    return len(subscriber._reading)


def stop(subscriber: Any) -> None:
    """Have it renew and read nothing any more."""
    subscriber._task.cancel()
    subscriber._task = None
    for reading in subscriber._reading.values():
        reading._is_over = True  # because the client may swallow a cancellation
        reading._task.cancel()


def die(subscriber: Any) -> None:
    """Have it do nothing any more, as after kill -9."""
    subscriber._task.cancel()
    subscriber._task = None
    for reading in subscriber._reading.values():
        reading.abandon()
    subscriber._reading.clear()


def start(address: str, folder: Path, number: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(PROGRAM), f"{address}?lease=1&parts=4", str(folder / "handled")])


def handled(folder: Path) -> list[str]:
    """The ids in the order in which they were handled, by whomever."""
    file = folder / "handled"
    return file.read_text().splitlines() if file.exists() else []
