"""An entity in memory: the same call may reach it as mail of another node and from a client of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure.actors.message import Message
from perdure.clock import SystemClock
from perdure.codec import encode
from perdure.engine.entity import Entity
from perdure.history.entities import entity_head
from perdure.history.events import EntityCalled
from perdure.history.work import Batch, BatchResult, Operated
from perdure.stores.contract import Loaded, Outcome

ID, REQUEST = "@counter@a", "once"


class Shard:
    """What an entity asks of its shard: batches and turns lie here until the test answers them."""

    shard = 0
    commands_only = False
    lacks_code = False

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.executor = self
        self.batches: list[tuple[Batch, Any]] = []
        self.turns: list[tuple[Any, Any]] = []
        self.untaken: list[str] | None = None
        """The mail that an entity has left for another when it was dropped."""

    def operate(self, batch: Batch, done: Any) -> object:
        self.batches.append((batch, done))
        return object()

    def submit(self, turn: Any, settled: Any) -> None:
        self.turns.append((turn, settled))

    def drop(self, entity: Entity) -> None:
        self.untaken = entity.untaken()

    def __getattr__(self, name: str) -> Any:
        return lambda *args: None


def entity_of(shard: Shard) -> Entity:
    return Entity(shard, Loaded(entity_head("app", ID, "1", 0), [], [], [], []))


def call(*, stored: bool) -> Message:
    event = EntityCalled(at=0, number=0, request=REQUEST, operation="add", target=ID)
    answer = None if stored else asyncio.get_running_loop().create_future()
    return Message(event, f"call.{REQUEST}", stored=stored, answer=answer)


async def rest() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def answer(shard: Shard) -> None:
    """The code is done with the last batch."""
    batch, done = shard.batches[-1]
    done(BatchResult([Operated(encode(1)) for _ in batch.operations], state=encode(1)))


def settle(shard: Shard, outcome: Outcome = Outcome.COMMITTED) -> None:
    """The last turn is durable, or not."""
    _, settled = shard.turns[-1]
    settled(outcome)


MOMENTS = ("it has just come", "it is under way", "its turn is being written", "it is done")


@pytest.mark.parametrize("when", MOMENTS)
def test_a_call_that_came_as_mail_is_not_done_again_for_a_client_of_this_node(run, when):
    async def main() -> None:
        shard = Shard()
        entity, again = entity_of(shard), call(stored=False)
        entity.tell(call(stored=True))
        if when != MOMENTS[0]:
            await rest()
        if when in MOMENTS[2:]:
            answer(shard)
        if when == MOMENTS[3]:
            settle(shard)
        entity.tell(again)
        await rest()
        if when in MOMENTS[:2]:
            answer(shard)
        if when != MOMENTS[3]:
            settle(shard)
        await rest()
        assert [len(batch.operations) for batch, _ in shard.batches] == [1]
        assert again.answer.done()

    run(main)


def test_a_call_of_a_client_of_this_node_is_not_done_again_when_its_mail_comes(run):
    async def main() -> None:
        shard = Shard()
        entity, first = entity_of(shard), call(stored=False)
        entity.tell(first)
        await rest()
        entity.tell(call(stored=True))
        answer(shard)
        entity.tell(call(stored=True))
        settle(shard)
        await rest()
        assert [len(batch.operations) for batch, _ in shard.batches] == [1]
        assert first.answer.done()

    run(main)


@pytest.mark.parametrize("outcome", [Outcome.EXISTS, Outcome.CONFLICT])
def test_the_mail_of_a_turn_that_is_refused_is_left_for_whoever_is_loaded_then(run, outcome):
    """As when a client's call begins an entity that mail brings about at the same moment."""

    async def main() -> None:
        shard = Shard()
        entity = Entity(shard, Loaded(entity_head("app", ID, "1", 0), [], [], [], []), is_new=True)
        entity.tell(call(stored=True))
        await rest()
        answer(shard)
        settle(shard, outcome)
        assert shard.untaken == [f"call.{REQUEST}"]

    run(main)
