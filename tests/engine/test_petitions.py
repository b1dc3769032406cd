"""Petitions: how a shard asks doors of other shards for slots, again where it must, and looks after its own doors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from perdure.clock import SECOND
from perdure.engine import petitions as module
from perdure.engine.petitions import Petitions
from perdure.errors import StoreUnavailable
from perdure.history.events import SlotLeft, SlotWanted, decode_event
from perdure.history.options import CallOptions, Limits, Place, encode_options
from perdure.history.slots import door_of
from perdure.stores.contract import ADMITTED, HELD, QUEUED, Delivery, Mail, Wait, shard_number
from perdure.stores.memory import MemoryStore
from perdure.testing.conformance import APP, OWNER, Scene, a_call

SHARDS = 4
NOW = 1_000 * SECOND
ADDRESS = ("run", "e1", 1, 1)
PLACE = Place("mails", Limits(concurrency=1), key="ada")
WAIT = replace(a_call(1), state=QUEUED, options=encode_options(CallOptions(place=PLACE)))


class Clock:
    def now(self) -> int:
        return NOW

    def token(self) -> str:
        return "made"


class Host:
    """Notes what is to be due."""

    def __init__(self) -> None:
        self.dues: list[tuple[int, str, int]] = []

    def schedule(self, due: int, id: str, number: int) -> None:
        self.dues.append((due, id, number))


class Door:
    """One whose slots some have, and that notes what it is told."""

    id = door_of("mails")

    def __init__(self, *holders: tuple[str, str, int, int]) -> None:
        self._holders = list(holders)
        self.heard: list[Any] = []

    def holders(self) -> list[tuple[str, str, int, int]]:
        return self._holders

    def tell(self, message: Any) -> None:
        self.heard.append(message.event if hasattr(message, "event") else message)


class Desk:
    """The petitions of one shard, with what they have handed over."""

    def __init__(self, scene: Scene, shards: list[int]) -> None:
        self.scene = scene
        self.host = Host()
        self.handed: list[Mail] = []
        self.petitions = Petitions(
            scene.store,
            scene.lease("run"),
            Clock(),  # type: ignore[arg-type]
            self.host,  # type: ignore[arg-type]
            {},
            shard_of=lambda id: shards[shard_number(id, SHARDS)],
            hand_over=self.handed.append,
        )

    def told(self, wait: Wait) -> bool:
        return self.petitions.told(ADDRESS, wait)

    async def asked(self, times: int) -> list[SlotWanted]:
        """What the door has been asked, once it was so often."""
        while len(self.handed) < times:
            await asyncio.sleep(0.001)
        events = [decode_event(mail.event) for mail in self.handed]
        return [event for event in events if isinstance(event, SlotWanted)]


def desk(story: Callable[[Desk], Awaitable[None]]) -> None:
    async def play() -> None:
        store = MemoryStore(SHARDS, 60.0)
        scene = await Scene.of(store, OWNER)
        desk = Desk(scene, await store.shards(APP))
        try:
            async with asyncio.timeout(30):
                await story(desk)
        finally:
            await desk.petitions.stop()

    asyncio.run(play())


def test_who_waits_asks_the_door_which_the_first_question_makes() -> None:
    async def story(desk: Desk) -> None:
        assert not desk.told(WAIT)
        assert not desk.told(WAIT), "a question that was asked is not asked again"
        (asked,) = await desk.asked(1)
        assert (asked.instance, asked.number, asked.place) == ("run", 1, PLACE)
        head = await desk.scene.head(door_of("mails"))
        assert (head.kind, desk.petitions.members) == ("entity", {ADDRESS: "mails"})
        assert not desk.told(replace(WAIT, attempt=2))
        assert len(await desk.asked(2)) == 2
        assert len({mail.key for mail in desk.handed}) == 2, "the next attempt is a new question"

    desk(story)


def test_a_slot_is_the_waits_until_it_leaves() -> None:
    async def story(desk: Desk) -> None:
        assert desk.petitions.offers(ADDRESS), "one may come that an owner before has asked for"
        desk.told(WAIT)
        await desk.asked(1)
        assert desk.petitions.offers(ADDRESS)
        assert desk.told(replace(WAIT, state=ADMITTED))
        assert not desk.petitions.offers(ADDRESS)
        assert not desk.told(replace(WAIT, state=HELD))
        assert desk.petitions.members == {}

    desk(story)


def test_one_whose_time_has_not_come_asks_when_it_has() -> None:
    async def story(desk: Desk) -> None:
        assert not desk.told(replace(WAIT, due=NOW + 5))
        assert (desk.host.dues, desk.petitions.members) == ([(NOW + 5, "run", 1)], {})
        desk.told(replace(WAIT, due=NOW))
        assert len(await desk.asked(1)) == 1

    desk(story)


@pytest.mark.parametrize("trouble", [StoreUnavailable("away"), Delivery.FULL])
def test_a_door_that_cannot_be_asked_is_asked_again(
    trouble: Exception | Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ASK_AGAIN_SECONDS", 0.001)

    async def story(desk: Desk) -> None:
        deliver, tries = desk.scene.store.deliver, []

        async def troubled(shard: int, mail: list[Mail]) -> list[Delivery]:
            tries.append(shard)
            if len(tries) > 2:
                return await deliver(shard, mail)
            if isinstance(trouble, Exception):
                raise trouble
            return [trouble for _ in mail]

        monkeypatch.setattr(desk.scene.store, "deliver", troubled)
        desk.told(WAIT)
        await desk.asked(1)
        assert len(tries) == 3

    desk(story)


def test_who_has_waited_for_long_reminds_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMIND_SECONDS", 0.01)

    async def story(desk: Desk) -> None:
        await desk.petitions.open(lambda call: None)
        desk.told(WAIT)
        await desk.asked(3)
        assert len({mail.key for mail in desk.handed}) == 1, "a reminder is a repetition, which changes nothing"
        desk.petitions.leave(ADDRESS)

    desk(story)


def test_slots_of_runs_that_are_gone_are_left() -> None:
    async def story(desk: Desk) -> None:
        await desk.scene.start("alive")
        door = Door(("alive", "e1", 1, 1), ("alive", "another run", 1, 1), ("removed", "e1", 1, 7))
        desk.petitions.check(door)  # type: ignore[arg-type]
        while len(door.heard) < 2:
            await asyncio.sleep(0.001)
        left = [(event.instance, event.execution, event.number) for event in door.heard if isinstance(event, SlotLeft)]
        assert left == [("alive", "another run", 1), ("removed", "e1", 7)]

    desk(story)
