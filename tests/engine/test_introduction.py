"""Nodes of a cluster tell of themselves: once, when they have other code, and again after they were forgotten."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from perdure import App
from perdure.history.nodes import NodeState
from perdure.stores.memory import MemoryStore


class Counting(MemoryStore):
    """A store with leases that counts what it is told."""

    def __init__(self) -> None:
        super().__init__(shard_count=6, lease_seconds=0.6)
        self.tellings = 0

    async def tell(self, app: str, owner: str, about: bytes) -> None:
        self.tellings += 1
        await super().tell(app, owner, about)


def shop(store: MemoryStore) -> App:
    app = App("shop", store=store, drain_seconds=0.0, slots=7)

    @app.activity
    async def pack() -> None:
        """Nothing."""

    @app.workflow
    async def checkout() -> None:
        await pack()

    return app


async def nodes(app: App, condition: Callable[[Sequence[NodeState]], bool]) -> Sequence[NodeState]:
    async with asyncio.timeout(30):
        while not condition(found := await app.client.nodes()):
            await asyncio.sleep(0.01)
    return found


def test_each_node_is_shown_with_its_shards_slots_and_code() -> None:
    def settled(found: Sequence[NodeState]) -> bool:
        return sorted(len(node.shards) for node in found) == [3, 3] and all(node.pid for node in found)

    async def play() -> None:
        store = Counting()
        async with shop(store) as one, shop(store):
            found = await nodes(one, settled)
            assert sorted(number for node in found for number in node.shards) == [0, 1, 2, 3, 4, 5]
            for node in found:
                assert (node.app, node.has_code, node.slots, node.busy) == ("shop", True, 7, 0)
                assert "checkout" in node.workflows
                assert node.activities == ["pack"]
                assert node.beat is not None
                assert node.started is not None
                assert node.beat >= node.started

    asyncio.run(play())


def test_a_node_that_was_forgotten_tells_again_and_seldom_else() -> None:
    async def play() -> None:
        store = Counting()
        async with shop(store) as app:
            await nodes(app, lambda found: bool(found) and found[0].pid > 0)
            before: Any = store.tellings
            store._abouts.clear()
            await nodes(app, lambda found: bool(found) and found[0].pid > 0)
            assert store.tellings - before <= 2

    asyncio.run(play())
