"""Messages reach a node that has the code of their group, whoever owns their partition, and whoever dies meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter

from perdure import App
from perdure.codec import PLAIN, encode
from perdure.engine.surroundings import Surroundings
from perdure.history.events import MessagePublished
from perdure.history.subscribing import SubscribeOptions
from perdure.sdk.subscriptions import handling
from tests.engine.cluster import LEASE_SECONDS, Node, World, in_world

QUICK = SubscribeOptions(initial_interval=0.1, max_interval=0.1, attempts_max=5)
LETTERS = SubscribeOptions(initial_interval=0.1, max_interval=0.1, dead_letter="letters")
KEYS = 40
"""So many that every partition has some."""


class Desk:
    """What the nodes of a test handle, and how often it fails first."""

    def __init__(self, fails: int = 0) -> None:
        self.got: list[tuple[str, str, int]] = []
        self.fails = fails
        self.gate: asyncio.Event | None = None

    async def subscribe(self, node: Node) -> None:
        async def handle(number: int, event) -> None:
            if self.gate is not None:
                await self.gate.wait()
            if self.fails:
                self.fails -= 1
                raise RuntimeError("not yet")
            self.got.append((node.name, event.key, number))

        declared = handling("orders", "desk", QUICK, handle)

        async def begin() -> None:
            around = Surroundings(node.engine, PLAIN, node.engine._executor.in_thread)
            await node.engine.operations.join("orders", "desk", QUICK)
            node.engine.consumers.add("orders", "desk", declared.receiver(around))

        await node.run(begin())

    def check(self, rounds: int) -> None:
        """Everything was handled, each key in order."""
        handled = Counter((key, number) for _, key, number in self.got)
        assert set(handled) == {(f"k{key}", number) for key in range(KEYS) for number in range(rounds)}
        for key in range(KEYS):
            first = list(dict.fromkeys(number for _, each, number in self.got if each == f"k{key}"))
            assert first == list(range(rounds))


async def publish(node: Node, number: int) -> None:
    messages = [
        MessagePublished(topic="orders", id=f"{key}.{number}", key=f"k{key}", data=encode(number))
        for key in range(KEYS)
    ]
    await node.run(node.engine.operations.publish(messages))


async def done(world: World, node: Node, desk: Desk, rounds: int) -> None:
    async def is_done() -> bool:
        if len({(key, number) for _, key, number in desk.got}) < KEYS * rounds:
            return False
        states = await node.run(node.engine.operations.topics())
        return all(group.left == 0 for topic in states for group in topic.groups)

    await world.until(is_done, 600.0)


def test_a_node_handles_messages_of_partitions_that_another_owns():
    desk = Desk(fails=7)

    async def scenario(world: World) -> None:
        owner = await world.node("owner", App("shop", store="memory:"))
        await publish(owner, 0)
        helper = await world.node("helper", App("shop", store="memory:"))
        await desk.subscribe(helper)
        for number in range(1, 4):
            await publish(owner, number)
        await done(world, owner, desk, 4)
        assert owner.engine.owned
        assert helper.engine._courier is not None
        assert helper.engine._courier.counts["reported"] > KEYS / 2

    in_world(scenario)
    assert {name for name, _, _ in desk.got} == {"helper"}
    assert len(desk.got) == 4 * KEYS
    desk.check(4)


def test_what_a_node_has_on_loan_is_handled_by_another_when_it_dies():
    desk, other = Desk(), Desk()

    async def scenario(world: World) -> None:
        owner = await world.node("owner", App("shop", store="memory:"))
        helper = await world.node("helper", App("shop", store="memory:"))
        desk.gate = asyncio.Event()
        await desk.subscribe(helper)
        for number in range(3):
            await publish(owner, number)
        await asyncio.sleep(2.0)
        helper.process.kill()
        third = await world.node("third", App("shop", store="memory:"))
        await other.subscribe(third)
        await done(world, owner, other, 3)

    in_world(scenario)
    assert desk.got == []
    other.check(3)


def test_an_owner_that_dies_leaves_its_loans_to_the_next():
    desk = Desk()

    async def scenario(world: World) -> None:
        owner = await world.node("owner", App("shop", store="memory:"))
        helper = await world.node("helper", App("shop", store="memory:"))
        desk.gate = asyncio.Event()
        await desk.subscribe(helper)
        for number in range(3):
            await publish(owner, number)
        await asyncio.sleep(2.0)
        owner.process.kill()
        await asyncio.sleep(2 * LEASE_SECONDS)
        desk.gate.set()
        await done(world, helper, desk, 3)

    in_world(scenario)
    desk.check(3)


def test_what_lies_in_a_shard_is_lent_by_an_owner_that_has_no_code_for_it():
    """It was there when the owner took the shard, and nothing comes that would have it loaded."""
    desk, other = Desk(), Desk()

    async def scenario(world: World) -> None:
        first = await world.node("first", App("shop", store="memory:"))
        desk.gate = asyncio.Event()
        await desk.subscribe(first)
        await publish(first, 0)
        await asyncio.sleep(1.0)
        helper = await world.node("helper", App("shop", store="memory:"))
        await other.subscribe(helper)
        await asyncio.sleep(1.0)
        owner = await world.node("owner", App("shop", store="memory:"))
        await asyncio.sleep(1.0)
        first.process.kill()
        await asyncio.sleep(3 * LEASE_SECONDS)
        assert owner.engine.owned
        await done(world, owner, other, 1)

    in_world(scenario)
    other.check(1)


class Poison:
    """Nodes that messages kill, one node after the other; the rest is in hand for so long that it dies with them."""

    def __init__(self, *killers: str) -> None:
        self.deaths: list[str] = []
        self.got: list[str] = []
        self._killers = killers

    async def play(self, world: World, ids: list[str], *, lives: int, quarantine_deaths: int | None = 3) -> list[int]:
        """So many nodes live at most; how many messages are left and dead in the end."""
        owner = await world.node("owner", App("shop", store="memory:"))
        await owner.run(owner.engine.operations.join("orders", "desk", LETTERS))
        messages = [MessagePublished(topic="orders", id=id, key=id, data=encode(0)) for id in ids]
        await owner.run(owner.engine.operations.publish(messages))

        async def counts() -> list[int]:
            states = await owner.run(owner.engine.operations.topics())
            (group,) = next(each.groups for each in states if each.name == "orders")
            return [group.left, group.dead]

        for life in range(lives):
            await self._begin(world, f"helper {life}", quarantine_deaths)

            while len(self.deaths) == life and (await counts())[0]:
                await asyncio.sleep(0.5)
            if len(self.deaths) == life:
                break
        return await counts()

    async def _begin(self, world: World, name: str, quarantine_deaths: int | None) -> None:
        node = await world.node(name, App("shop", store="memory:"), quarantine_deaths=quarantine_deaths)

        async def handle(number: int, event) -> None:
            await asyncio.sleep(0.1)
            if event.id in self._killers:
                self.deaths.append(event.id)
                node.process.kill()
            await asyncio.sleep(0.4)
            self.got.append(event.id)

        declared = handling("orders", "desk", LETTERS, handle)

        async def begin() -> None:
            around = Surroundings(node.engine, PLAIN, node.engine._executor.in_thread)
            node.engine.consumers.add("orders", "desk", declared.receiver(around))

        await node.run(begin())


HEALTHY = [f"healthy-{number}" for number in range(12)]


def test_a_message_on_loan_that_kills_its_nodes_is_a_dead_letter_and_no_other_is():
    poison = Poison("killer")
    left = in_world(lambda world: poison.play(world, [*HEALTHY, "killer"], lives=8))
    assert left == [0, 1]
    assert poison.deaths == ["killer"] * 3
    assert sorted(poison.got) == sorted(HEALTHY)


def test_two_on_loan_that_kill_are_both_dead_letters():
    poison = Poison("one", "two")
    left = in_world(lambda world: poison.play(world, [*HEALTHY, "one", "two"], lives=12))
    assert left == [0, 2]
    assert set(poison.got) == set(HEALTHY)


def test_nobody_on_loan_is_given_up_where_that_is_off():
    poison = Poison("killer")
    left = in_world(lambda world: poison.play(world, ["killer"], lives=6, quarantine_deaths=None))
    assert left == [1, 0]
    assert poison.deaths == ["killer"] * 6
