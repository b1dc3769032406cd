"""A door alone: what its turns write, and what it makes of its rows after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from perdure.actors.message import Message
from perdure.clock import SECOND
from perdure.engine.door import WAKE_WAIT, Door
from perdure.history.entities import entity_head
from perdure.history.events import EventRaised, SlotGranted, SlotLeft, SlotWanted, decode_event
from perdure.history.options import Limits, Place
from perdure.history.slots import door_of
from perdure.stores.contract import HELD, LOCKED, Loaded, Outcome, Turn, Wait

ONE = Limits(concurrency=1)
RATED = Limits(rate=1, per=10 * SECOND)


class Shard:
    """Commits every turn as soon as the loop comes round, or refuses it."""

    shard = 1
    commands_only = False

    def __init__(self, declared: Mapping[str, Limits] | None = None, starts: list[int] | None = None) -> None:
        self.declared = declared or {}
        self.time = 100 * SECOND
        self.clock: Any = self
        self.turns: list[Turn] = []
        self.scheduled: list[tuple[int, int]] = []
        self.dropped: list[Any] = []
        self.retried: list[str] = []
        self.outcome = Outcome.COMMITTED
        self.checks = 0
        self.knows_starts = True
        self._starts = [] if starts is None else starts

    def now(self) -> int:
        return self.time

    def starts_of(self, queue: str) -> list[int]:
        return self._starts

    def submit(self, turn: Turn, settled: Callable[[Outcome], None]) -> None:
        self.turns.append(turn)
        asyncio.get_running_loop().call_soon(settled, self.outcome)

    def released(self, turn: Turn) -> None: ...
    def consumed(self, id: str, keys: list[str]) -> None: ...

    def schedule(self, due: int, id: str, number: int) -> None:
        self.scheduled.append((due, number))

    def drop(self, actor: Any) -> None:
        self.dropped.append(actor)

    def retry(self, id: str) -> None:
        self.retried.append(id)

    def count(self, what: str) -> None: ...

    def is_ready(self, door: Door) -> bool:
        return self.knows_starts

    def check(self, door: Door) -> None:
        self.checks += 1

    @property
    def grants(self) -> list[tuple[str, int]]:
        """(instance, number) of each slot that was sent."""
        return [
            (mail.instance, event.number)
            for turn in self.turns
            for mail in turn.mail
            if isinstance(event := decode_event(mail.event), SlotGranted)
        ]


def opened(shard: Shard, waits: list[Wait] | None = None) -> Door:
    head = entity_head("shop", door_of("mails"), "e", 1)
    return Door(shard, shard, Loaded(head, [], [], waits or [], []))


def wanted(instance: str, number: int = 1, limits: Limits = ONE, since: int = 5, priority: int = 0) -> Message:
    place = Place("mails", limits, priority=priority)
    event = SlotWanted(number=number, instance=instance, execution="x", generation=1, since=since, place=place)
    return Message(event, f"{instance}.{number}", stored=True)


def left(instance: str, number: int = 1) -> Message:
    event = SlotLeft(number=number, instance=instance, execution="x", generation=1)
    return Message(event, f"{instance}.{number}.left", stored=True)


async def told(door: Door, *messages: Message) -> None:
    for message in messages:
        door.tell(message)
    for _ in range(5):
        await asyncio.sleep(0)


def rows(shard: Shard) -> list[Wait]:
    """What the store has after all turns."""
    waits: dict[int, Wait] = {}
    for turn in shard.turns:
        for number in turn.closed:
            waits.pop(number, None)
        waits.update((wait.number, wait) for wait in (*turn.changed, *turn.opened))
    return [wait for number, wait in waits.items() if number != WAKE_WAIT]


def every_row(shard: Shard) -> list[Wait]:
    """With the one that wakes the door."""
    woken = [wait for turn in shard.turns for wait in (*turn.changed, *turn.opened) if wait.number == WAKE_WAIT]
    return [*rows(shard), *woken[-1:]]


def test_a_slot_goes_to_the_next_one_when_it_is_left() -> None:
    async def scenario() -> None:
        shard = Shard()
        door = opened(shard)
        await told(door, wanted("a"), wanted("b"))
        assert shard.grants == [("a", 1)]
        assert [wait.state for wait in rows(shard)] == [LOCKED, HELD]
        assert not door.is_idle
        await told(door, left("a"))
        assert shard.grants == [("a", 1), ("b", 1)]
        await told(door, left("b"))
        assert rows(shard) == []
        assert door.is_idle

    asyncio.run(scenario())


def test_who_asks_twice_stands_in_the_line_once_and_who_leaves_twice_frees_one_slot() -> None:
    async def scenario() -> None:
        shard = Shard()
        door = opened(shard)
        await told(door, wanted("a"), wanted("a"), wanted("b"))
        await told(door, wanted("a"), wanted("b"), wanted("c"))
        assert len(rows(shard)) == 3
        await told(door, left("a"), left("a"))
        assert shard.grants == [("a", 1), ("b", 1)]

    asyncio.run(scenario())


def test_that_a_slot_was_left_is_remembered_because_the_same_wait_may_have_the_next_one() -> None:
    async def scenario() -> None:
        shard = Shard()
        door = opened(shard)
        await told(door, wanted("a"), wanted("b"))
        await told(door, left("a"), wanted("a"))
        assert [list(turn.seen) for turn in shard.turns] == [[], ["a.1.left"]]

    asyncio.run(scenario())


def test_no_two_slots_are_sent_under_one_key_although_numbers_come_again() -> None:
    async def scenario() -> None:
        shard = Shard()
        door = opened(shard)
        await told(door, wanted("a"))
        await told(door, left("a"))
        again = opened(shard)
        again.head = door.head
        await told(again, wanted("a"))
        assert len({mail.key for turn in shard.turns for mail in turn.mail}) == len(shard.grants) == 2

    asyncio.run(scenario())


def test_who_leaves_before_the_turn_that_lets_it_join_is_nobody() -> None:
    async def scenario() -> None:
        shard = Shard()
        door = opened(shard)
        await told(door, wanted("a"), left("a"), wanted("b"))
        assert shard.grants == [("b", 1)]
        assert len(rows(shard)) == 1

    asyncio.run(scenario())


def test_the_next_owner_of_a_door_knows_who_has_slots_and_who_waits() -> None:
    async def scenario() -> None:
        first = Shard()
        await told(opened(first), wanted("a"), wanted("b", since=3), wanted("c", priority=9))
        assert first.grants == [("c", 1)]
        second = Shard()
        door = opened(second, rows(first))
        await told(door, wanted("d"))
        assert second.grants == []
        await told(door, left("c"))
        assert len(second.grants) == 1
        await told(door, left("a"), left("b"))
        assert [name for name, _ in second.grants][-1] == "d"

    asyncio.run(scenario())


def test_a_rate_wakes_the_door_also_under_the_next_owner_which_counts_the_starts_before() -> None:
    async def scenario() -> None:
        first = Shard()
        await told(opened(first), wanted("a", limits=RATED), wanted("b", limits=RATED))
        assert first.grants == [("a", 1)]
        assert [permit.until for permit in first.turns[0].permits] == [110 * SECOND]
        assert (110 * SECOND, WAKE_WAIT) in first.scheduled
        second = Shard(starts=[100 * SECOND])
        second.time = 105 * SECOND
        door = opened(second, every_row(first))
        assert second.scheduled == [(110 * SECOND, WAKE_WAIT)]
        door.due(WAKE_WAIT)
        await told(door)
        assert second.grants == []
        second.time = 110 * SECOND
        door.due(WAKE_WAIT)
        await told(door)
        assert second.grants == [("b", 1)]
        await told(door, left("a"), left("b"))
        assert WAKE_WAIT in second.turns[-1].closed

    asyncio.run(scenario())


def test_a_door_with_members_looks_at_them_from_time_to_time_whoever_owns_it() -> None:
    async def scenario() -> None:
        first = Shard()
        await told(opened(first), wanted("a"))
        assert first.scheduled == [(110 * SECOND, WAKE_WAIT)]
        second = Shard()
        second.time = 111 * SECOND
        door = opened(second, every_row(first))
        door.due(WAKE_WAIT)
        await told(door)
        assert second.checks == 1
        assert door.holders() == [("a", "x", 1, 1)]
        assert second.scheduled[-1] == (121 * SECOND, WAKE_WAIT)
        door.due(WAKE_WAIT)
        await told(door)
        assert second.checks == 1

    asyncio.run(scenario())


def test_a_door_that_is_loaded_before_the_starts_are_known_waits_for_them() -> None:
    async def scenario() -> None:
        shard = Shard(starts=[])
        shard.knows_starts = False
        door = opened(shard)
        await told(door, wanted("a", limits=RATED))
        assert shard.turns == []
        shard.knows_starts = True
        shard.starts_of("mails").append(95 * SECOND)
        door.unstall()
        await told(door)
        assert len(shard.turns) == 1
        assert shard.grants == []

    asyncio.run(scenario())


def test_a_turn_that_the_store_refuses_counts_for_nothing() -> None:
    async def scenario() -> None:
        shard = Shard()
        shard.outcome = Outcome.CONFLICT
        door = opened(shard)
        await told(door, wanted("a"))
        assert shard.dropped == [door]
        assert shard.retried == [door.id]
        assert door.untaken() == ["a.1"]
        assert door.head.sequence == 0

    asyncio.run(scenario())


def test_limits_in_the_code_count_before_those_that_came_with_a_call() -> None:
    async def scenario() -> None:
        shard = Shard({"mails": Limits(concurrency=2)})
        await told(opened(shard), *(wanted(name) for name in "abc"))
        assert len(shard.grants) == 2

    asyncio.run(scenario())


def test_mail_that_is_not_for_a_door_is_taken_out() -> None:
    async def scenario() -> None:
        shard = Shard()
        await told(opened(shard), Message(EventRaised(name="hello"), "k", stored=True))
        assert [turn.consumed for turn in shard.turns] == [["k"]]

    asyncio.run(scenario())
