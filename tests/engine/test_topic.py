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
from perdure.history.events import GroupJoined, GroupLeft, MessagePublished
from perdure.history.handling import Handled
from perdure.history.subscribing import DEFAULTS
from perdure.history.topics import partition_ids, topic_head
from perdure.stores.contract import OFFERED, Loaded, Outcome, Wait, Whole
from perdure.stores.moving import as_moved


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
    metrics = None

    def __init__(self, quarantine_deaths: int | None = None) -> None:
        self.quarantine_deaths = quarantine_deaths
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


class Slow(Receiver):
    """Handles messages until the gate is open, as many as come."""

    in_hand_max = 10

    def __init__(self) -> None:
        super().__init__(decides=False)
        self.gate = asyncio.Event()

    async def handle(self, message: MessagePublished, attempt: int) -> Handled:
        self.given.append(message.id)
        await self.gate.wait()
        return Handled()


def joined(key: str) -> Message:
    return Message(GroupJoined(at=0, topic="orders", group="g", options=DEFAULTS), key)


def left(key: str) -> Message:
    return Message(GroupLeft(at=0, topic="orders", group="g"), key)


def published(id: str) -> Message:
    return Message(MessagePublished(at=0, topic="orders", id=id, data=encode(1), key="a"), id)


async def settled(shard: Shard) -> None:
    await rest()
    while shard.turns:
        shard.settle()
        await rest()


@pytest.mark.parametrize("is_together", [False, True], ids=["in turns of their own", "in one turn"])
def test_a_group_that_leaves_while_a_message_is_in_hand_and_joins_again_begins_anew(run, is_together):
    async def main() -> None:
        shard, receiver = Shard(), Slow()
        topic = Topic(shard, Loaded(topic_head("app", partition_ids("orders")[0], "1", 0), [], [], [], []))
        topic.tell(joined("first"))
        topic.tell(published("1"))
        await settled(shard)
        shard.consumers.add("orders", "g", receiver)
        topic.rouse()
        await settled(shard)
        assert receiver.given == ["1"]
        topic.tell(left("left"))
        if not is_together:
            await settled(shard)
        topic.tell(joined("again"))
        await settled(shard)
        topic.tell(published("2"))
        await settled(shard)
        receiver.gate.set()
        await settled(shard)
        assert receiver.given == ["1", "1", "2"]
        assert topic.is_idle
        assert topic.log.groups["g"].left == 0
        assert topic.log.groups["g"].pending == ()

    run(main)


def test_a_group_that_leaves_before_a_suspect_is_handed_out_leaves_nothing_in_hand(run):
    async def main() -> None:
        shard, receiver = Shard(), Slow()
        earlier = Topic(shard, Loaded(topic_head("app", partition_ids("orders")[0], "1", 0), [], [], [], []))
        earlier.tell(joined("first"))
        earlier.tell(published("1"))
        await settled(shard)
        shard.quarantine_deaths = 3
        shard.consumers.add("orders", "g", receiver)
        topic = Topic(shard, Loaded(earlier.head, [], [], [], []))
        topic.rouse()
        while not shard.consumers.desk("orders", "g").in_hand:
            await asyncio.sleep(0)
        topic.tell(left("left"))
        await settled(shard)
        assert receiver.given == []
        assert shard.consumers.desk("orders", "g").in_hand == 0
        assert topic.is_idle

    run(main)


@pytest.mark.parametrize("is_here", [True, False], ids=["handled here", "lent again"])
def test_a_message_that_was_lent_by_a_store_from_which_it_was_moved_is_handled(run, is_here):
    async def main() -> None:
        shard, receiver = Shard(), Slow()
        receiver.gate.set()
        shard.lends = True
        earlier = Topic(shard, Loaded(topic_head("app", partition_ids("orders")[0], "1", 0), [], [], [], []))
        earlier.tell(joined("first"))
        earlier.tell(published("1"))
        lent: dict[int, Wait] = {}
        await rest()
        while shard.turns:
            lent |= {wait.number: wait for wait in shard.turns[0][0].opened}
            shard.settle()
            await rest()
        assert [wait.state for wait in lent.values()] == [OFFERED]
        moved, _ = as_moved(Whole(earlier.head, waits=list(lent.values())), 1)
        if is_here:
            shard.consumers.add("orders", "g", receiver)
        lent = {wait.number: wait for wait in moved.waits}
        topic = Topic(shard, Loaded(moved.head, [], [], moved.waits, []))
        topic.rouse()
        await rest()
        while shard.turns:
            turn = shard.turns[0][0]
            for number in turn.closed:
                del lent[number]
            lent |= {wait.number: wait for wait in turn.opened}
            shard.settle()
            await rest()
        assert receiver.given == (["1"] if is_here else [])
        assert [wait.state for wait in lent.values()] == ([] if is_here else [OFFERED])

    run(main)


@pytest.mark.parametrize("decides", [False, True], ids=["handler", "starter"])
def test_code_sees_what_the_last_owner_may_have_died_of_when_that_is_written(run, decides):
    async def main() -> None:
        shard, receiver = Shard(quarantine_deaths=3), Receiver(decides=decides)
        first = Topic(shard, Loaded(topic_head("app", partition_ids("orders")[0], "1", 0), [], [], [], []))
        first.tell(Message(GroupJoined(at=0, topic="orders", group="g", options=DEFAULTS), "join"))
        first.tell(Message(MessagePublished(at=0, topic="orders", id="1", data=encode(1)), "publish"))
        await rest()
        while shard.turns:
            shard.settle()
            await rest()
        shard.consumers.add("orders", "g", receiver)
        heir = Topic(shard, Loaded(first.head, [], [], [], []))
        heir.rouse()
        await rest()
        assert receiver.given == []
        assert [one.unheard for one in heir.log.groups["g"].pending] == [1]
        while shard.turns:
            shard.settle()
            await rest()
        assert receiver.given == ["1"]
        assert heir.log.groups["g"].left == 0

    run(main)
