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
