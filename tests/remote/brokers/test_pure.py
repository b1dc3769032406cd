"""What brokers decide: parts, outcomes, settings, and the opening by address."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from perdure.blocks.pubsub import Begin, Message, ReceiverDied, SubscribeOptions, Verdict
from perdure.clock import SystemClock
from perdure.engine.topic_lane import Lane, lane_here
from perdure.errors import InvalidArgument, UnknownConfiguration
from perdure.remote.brokers import open_broker
from perdure.remote.brokers.handling import Handling
from perdure.remote.brokers.jetstream import names
from perdure.remote.brokers.jetstream.group import NatsGroup
from perdure.remote.brokers.outcome import Fate, outcome_of, pause_after
from perdure.remote.brokers.parts import part_of, parts_of
from perdure.remote.brokers.port import Delivery
from perdure.remote.brokers.settings import read_settings
from perdure.remote.brokers.streams.group import RedisGroup
from perdure.remote.brokers.subscriber import Subscriber
from perdure.stores.options import shown

OPTIONS = SubscribeOptions(attempts_max=3, initial_interval=1.0, backoff=3.0, max_interval=5.0)


def test_every_part_has_one_reader_whoever_comes_or_goes():
    for count in (1, 2, 3, 7):
        members = [f"m{number}" for number in range(count)]
        read = [part for member in members for part in parts_of(member, members, 5, "g")]
        assert sorted(read) == [0, 1, 2, 3, 4]


def test_one_part_of_many_groups_is_not_read_by_the_same_member():
    readers = {
        member for group in map(str, range(50)) for member in ("a", "b") if parts_of(member, ["a", "b"], 1, group)
    }
    assert readers == {"a", "b"}


def test_who_is_not_listed_yet_counts_as_well():
    assert parts_of("b", [], 2, "g") == [0, 1]


def test_a_key_stays_in_its_part_and_what_has_none_goes_round():
    assert len({part_of("k", 8, place) for place in range(20)}) == 1
    assert [part_of(None, 3, place) for place in range(4)] == [0, 1, 2, 0]


@pytest.mark.parametrize(
    "verdict, attempts, fate",
    [
        (Verdict.SUCCESS, 1, Fate.DONE),
        (Verdict.SUCCESS, 9, Fate.DONE),
        (Verdict.DROP, 1, Fate.BURIED),
        (Verdict.RETRY, 2, Fate.AGAIN),
        (Verdict.RETRY, 3, Fate.BURIED),
    ],
)
def test_an_outcome_follows_from_verdict_and_attempts(verdict, attempts, fate):
    assert outcome_of(verdict, attempts, OPTIONS).fate is fate


def test_pauses_grow_up_to_their_bound():
    assert [pause_after(attempts, OPTIONS) for attempts in (1, 2, 3, 4, 5_000)] == [1.0, 3.0, 5.0, 5.0, 5.0]


def test_settings_are_read_from_an_address_and_the_rest_of_it_is_the_clients():
    found = read_settings("redis://me:secret@host:7000/2?parts=8&lease=2.5&keep=60&dedup=5&keep_messages=100")
    assert (found.url, found.parts, found.lease) == ("redis://me:secret@host:7000/2", 8, 2.5)
    assert (found.keep, found.dedup, found.keep_messages) == (60.0, 5.0, 100)


@pytest.mark.parametrize(
    "address, error",
    [
        ("redis://host?part=1", UnknownConfiguration),
        ("redis://host?parts=0", InvalidArgument),
        ("redis://host?parts=65", InvalidArgument),
        ("redis://host?lease=soon", InvalidArgument),
        ("kafka://host", InvalidArgument),
        ("redis:", InvalidArgument),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(address, error):
    with pytest.raises(error):
        open_broker(address)


def test_what_is_shown_of_an_address_has_no_password():
    assert shown("redis://me:secret@host:7000/2") == "redis://...@host:7000/2"
    assert "secret" not in repr(open_broker("redis://me:secret@host:7000/2"))
    assert "secret" not in repr(open_broker("nats://me:secret@host:7000"))


@pytest.mark.parametrize("topic", ["", "a b", "a.*", "a.>", ".a", "a..b"])
def test_a_topic_that_is_no_subject_is_refused(topic):
    with pytest.raises(InvalidArgument, match="no subject"):
        names.subject(topic, 1, 0)


def test_names_that_nats_does_not_take_stay_apart():
    assert names.stream("a.b") != names.stream("a_b") != names.stream("a/b")
    assert names.consumer("g", "t", 1, 0) == "g-" + names.consumer("g", "t", 1, 0)[2:]
    assert "." not in names.consumer("g.h", "t.u", 4, 1)


class Brittle:
    """A group of one part, whose first reader has a defect."""

    parts = 1

    def __init__(self) -> None:
        self.taken = 0
        self.fails = ValueError("a defect")

    async def beat(self) -> list[str]:
        if self.taken == 1 and self.fails is not None:
            self.fails, failed = None, self.fails  # type: ignore[assignment]
            raise failed
        return ["me"]

    async def take(self, part: int) -> Brittle:
        self.taken += 1
        return self

    async def keep(self, part: int) -> bool:
        return True

    async def give_back(self, part: int) -> None: ...

    async def leave(self) -> None: ...

    async def fetch(self, most: int) -> list[Delivery]:
        if self.taken == 1:
            raise RuntimeError("another one")
        await asyncio.sleep(0.01)
        message = Message(id="1", topic="t", data=b"", source="s")
        return [Delivery(mark=1, message=message, attempts=1)]

    async def done(self, delivery: Delivery) -> None: ...

    async def close(self) -> None: ...


class Deaf(Brittle):
    """A part whose client swallows a cancellation, and gives an answer instead."""

    async def beat(self) -> list[str]:
        return ["me"]

    async def fetch(self, most: int) -> list[Delivery]:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return [Delivery(mark=1, message=Message(id="1", topic="t", data=b"", source="s"), attempts=1)]
        raise AssertionError("it is told to end")


def test_a_reader_whose_client_swallows_its_end_ends_all_the_same_and_leaves_the_answer_to_the_next():
    got = []

    async def take(message: Message) -> Verdict:
        got.append(message)
        return Verdict.SUCCESS

    async def play() -> None:
        group: Any = Deaf()
        subscriber = Subscriber("t for g", "me", group, take, OPTIONS, SystemClock(), 0.1, Lane())
        await subscriber.start()
        await asyncio.sleep(0)  # so that it reads
        async with asyncio.timeout(30):
            await subscriber.close()

    asyncio.run(play())
    assert got == []


class Counting:
    """A part that remembers how often each message was handled with no other suspect, and what came of it."""

    def __init__(self, **lives: int) -> None:
        self.lives = lives
        self.done_with: list[str] = []
        self.buried: list[str] = []

    async def accuse(self, delivery: Delivery, attempts: int) -> int:
        self.lives[delivery.mark] = self.lives.get(delivery.mark, 0) + 1
        return self.lives[delivery.mark]

    async def again(self, delivery: Delivery, attempts: int) -> None:
        """Nothing is counted here."""

    async def done(self, delivery: Delivery) -> None:
        self.done_with.append(delivery.mark)

    async def bury(self, delivery: Delivery, topic: str) -> None:
        self.buried.append(delivery.mark)


def test_suspects_are_handled_one_at_a_time_and_given_up_when_two_lives_have_ended_with_them():
    part, at_once = Counting(twice=2, once=1), 0

    async def take(message: Message) -> Verdict:
        nonlocal at_once
        at_once += 1
        assert at_once == 1
        await asyncio.sleep(0.01)
        at_once -= 1
        return Verdict.RETRY if message.id == "fails" else Verdict.SUCCESS

    async def play() -> None:
        handling = suspecting(part, take)
        for id in ("never", "once", "twice", "fails"):
            handling.put(suspect(id))
        while len(part.done_with) + len(part.buried) < 4:
            await asyncio.sleep(0.01)
        await handling.finish()

    asyncio.run(asyncio.wait_for(play(), 30))
    assert (sorted(part.done_with), sorted(part.buried)) == (["never", "once"], ["fails", "twice"])


def test_all_brokers_of_a_program_have_one_lane():
    async def lanes() -> list[Lane]:
        return [lane_here(), lane_here()]

    first, second = asyncio.run(lanes())
    assert first is second
    assert asyncio.run(lanes())[0] is not first


def test_suspects_that_wait_are_left_to_the_next_reader_when_theirs_ends():
    part, has_begun, may_end = Counting(), asyncio.Event(), asyncio.Event()

    async def take(message: Message) -> Verdict:
        has_begun.set()
        await may_end.wait()
        return Verdict.SUCCESS

    async def play() -> None:
        handling = suspecting(part, take)
        handling.put(suspect("first"))
        await has_begun.wait()
        handling.put(suspect("second"))
        finishing = asyncio.create_task(handling.finish())
        await asyncio.sleep(0)
        may_end.set()
        await finishing

    asyncio.run(asyncio.wait_for(play(), 30))
    assert (part.done_with, part.lives) == (["first"], {"first": 1})


@pytest.mark.parametrize("dead_letter, deaths", [("dead", 5), (None, 1_000_000)], ids=["buried", "never"])
def test_a_message_that_kills_the_program_that_receives_it_is_given_up_and_no_other_is(dead_letter, deaths):
    """Whoever is in hand when the program dies dies with it; the one that kills would do so a thousand times."""
    part, killed, has_died = Counting(), 0, asyncio.Event()

    async def take(message: Message) -> Verdict:
        nonlocal killed, has_died
        if message.id == "killer" and killed < min(deaths, 30):
            await asyncio.sleep(0.01)
            killed += 1
            has_died.set()
            has_died = asyncio.Event()
            raise ReceiverDied("it is gone")
        try:
            async with asyncio.timeout(0.03):
                await has_died.wait()
        except TimeoutError:
            return Verdict.SUCCESS
        raise ReceiverDied("it is gone")

    async def play() -> None:
        options = SubscribeOptions(attempts_max=3, dead_letter="dead", initial_interval=0.001, max_interval=0.001)
        if dead_letter is None:
            options = msgspec.structs.replace(options, attempts_max=deaths, dead_letter=None)
        handling = Handling(part, take, options, asyncio.Semaphore(10), SystemClock(), Lane())
        for id in ("a", "b", "killer", "c"):
            handling.put(msgspec.structs.replace(suspect(id), attempts=1))
        while len(part.done_with) + len(part.buried) < 4:
            await asyncio.sleep(0.01)
        await handling.finish()

    asyncio.run(asyncio.wait_for(play(), 30))
    if dead_letter is None:
        assert sorted(part.done_with) == ["a", "b", "c", "killer"]  # in the end, because it kills no more
    else:
        assert (sorted(part.done_with), part.buried, killed) == (["a", "b", "c"], ["killer"], deaths)


def suspect(id: str) -> Delivery:
    return Delivery(mark=id, message=Message(id=id, topic="t", data=b"", source="s"), attempts=4)


def suspecting(part: Any, take: Any) -> Handling:
    options = SubscribeOptions(attempts_max=3, dead_letter="dead")
    return Handling(part, take, options, asyncio.Semaphore(10), SystemClock(), Lane())


def test_a_part_that_is_being_given_back_is_not_kept():
    nothing: Any = None
    group = RedisGroup(nothing, nothing, nothing, "t", "g", "me", 1, Begin.EARLIEST)
    assert asyncio.run(group.keep(0)) is False
    other = NatsGroup(nothing, nothing, nothing, "t", "g", "me", "stream", 1, Begin.EARLIEST)
    assert asyncio.run(other.keep(0)) is False


def test_a_defect_ends_no_subscription(caplog):
    async def play() -> None:
        got = asyncio.Event()

        async def take(message: Message) -> Verdict:
            got.set()
            return Verdict.SUCCESS

        group: Any = Brittle()
        subscriber = Subscriber("t for g", "me", group, take, OPTIONS, SystemClock(), 0.1, Lane())
        await subscriber.start()
        async with asyncio.timeout(30):
            await got.wait()
        await subscriber.close()

    asyncio.run(play())
    assert "had a defect" in caplog.text
    assert "begun again" in caplog.text
