"""A partition of a topic in memory: whoever comes to handle its messages is given them, whatever is under way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure.actors.message import Message
from perdure.clock import SystemClock
from perdure.codec import encode
from perdure.engine.consumers import Consumers
from perdure.engine.handlers import Handlers
from perdure.engine.topic import Topic
from perdure.history.events import GroupJoined, MessagePublished
from perdure.history.handling import Handled
from perdure.history.subscribing import DEFAULTS
from perdure.history.topics import partition_ids, topic_head
from perdure.stores.contract import Loaded, Outcome


class Receiver:
    """Says at once, or only when asked, that a message is done."""

    in_hand_max = 1
    is_remote = False

    def __init__(self, *, decides: bool) -> None:
        self.given: list[str] = []
        self._decides = decides

    def decide(self, message: MessagePublished) -> Handled | None:
        if self._decides:
            self.given.append(message.id)
        return Handled() if self._decides else None

    async def handle(self, message: MessagePublished, attempt: int) -> Handled:
        self.given.append(message.id)
        return Handled()


class Shard:
    """What a topic asks of its shard: turns lie here until the test settles them."""

    shard = 0
    commands_only = False
    lends = False
    quarantine_deaths = None
    metrics = None

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.handlers = Handlers()
        self.consumers = Consumers()
        self.store = self
        self.rows: dict[str, bytes] = {}
        self.turns: list[tuple[Any, Any]] = []

    def submit(self, turn: Any, settled: Any) -> None:
        self.turns.append((turn, settled))

    def settle(self) -> None:
        """The oldest turn is durable."""
        turn, settled = self.turns.pop(0)
        self.rows.update({row.name: row.value for row in turn.published})
        settled(Outcome.COMMITTED)

    async def published(self, shard: int, id: str, names: list[str]) -> dict[str, bytes]:
        return {name: self.rows[name] for name in names}

    def __getattr__(self, name: str) -> Any:
        return lambda *args: None


async def rest() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("decides", [False, True], ids=["handler", "starter"])
@pytest.mark.parametrize("is_written", [False, True], ids=["while a turn is being written", "at rest"])
def test_a_receiver_is_given_what_was_there_before_it(run, decides, is_written):
    async def main() -> None:
        shard, receiver = Shard(), Receiver(decides=decides)
        topic = Topic(shard, Loaded(topic_head("app", partition_ids("orders")[0], "1", 0), [], [], [], []))
        topic.tell(Message(GroupJoined(at=0, topic="orders", group="g", options=DEFAULTS), "join"))
        topic.tell(Message(MessagePublished(at=0, topic="orders", id="1", data=encode(1), key="a"), "publish"))
        await rest()
        if is_written:
            shard.settle()
        shard.consumers.add("orders", "g", receiver)
        topic.rouse()
        await rest()
        while shard.turns:
            shard.settle()
            await rest()
        assert receiver.given == ["1"]
        assert topic.is_idle
        assert topic.log.groups["g"].left == 0

    run(main)
