"""Who on this node handles the messages of which group, and how many of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from perdure.cancellation import is_for_task
from perdure.engine.topic_lane import Lane
from perdure.history.events import MessagePublished
from perdure.history.handling import Handled
from perdure.history.subscribing import Verdict

REASON_CHARACTERS_MAX = 1_000


class Consumer(Protocol):
    """The receiver of a group's messages."""

    @property
    def in_hand_max(self) -> int:
        """How many it handles at the same time."""

    @property
    def is_remote(self) -> bool:
        """Whether its code runs in another process, which may die without this one."""

    def decide(self, message: MessagePublished) -> Handled | None:
        """What follows from a message, if that is known at once; None: `handle` has to be asked."""

    async def handle(self, message: MessagePublished, attempt: int) -> Handled:
        """Handle a message. What it raises means that the message comes again."""


async def made_of(consumer: Consumer, message: MessagePublished, attempt: int, timeout: float) -> Handled:
    """What follows from a message: what is known at once, else what its receiver makes of it, as `handled_by`."""
    try:
        decided = consumer.decide(message)
    except Exception as error:  # noqa: BLE001 because it is the user's expression that does not fit the message
        return again(error)
    return decided or await handled_by(consumer, message, attempt, timeout)


async def handled_by(consumer: Consumer, message: MessagePublished, attempt: int, timeout: float) -> Handled:
    """What a receiver makes of a message within so many seconds; whatever it raises, the message comes again.

    Raises CancelledError if the caller is cancelled, and what ends the process.
    """
    task = asyncio.current_task()
    assert task is not None
    try:
        async with asyncio.timeout(timeout):
            return await consumer.handle(message, attempt)
    except BaseException as error:
        if is_for_task(error, task):
            raise
        return again(error)


def again(error: BaseException) -> Handled:
    """The message is to come again, because of this."""
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001 because code that cannot say why it failed has failed all the same
        text = f"its __str__ raised {type(broken).__name__}"
    reason = f"{type(error).__name__}: {text}"[:REASON_CHARACTERS_MAX]
    return Handled(Verdict.RETRY, reason.encode("utf-8", "backslashreplace").decode())


class Seat(NamedTuple):
    """A place at a desk for one message, with who handles it and the lane of the process that does."""

    consumer: Consumer
    lane: Lane
    is_suspect: bool


class Desk:
    """The receivers of one group on this node, and how many messages they have in hand, of all partitions."""

    __slots__ = ("_consumers", "_next", "_waiting", "in_hand")

    def __init__(self) -> None:
        self.in_hand = 0
        self._consumers: list[tuple[Consumer, Lane]] = []
        self._next = 0
        self._waiting: dict[int, Callable[[], None]] = {}

    @property
    def is_open(self) -> bool:
        return bool(self._consumers)

    @property
    def is_remote(self) -> bool:
        """Whether none of them runs code in this process."""
        return all(each.is_remote for each, _ in self._consumers)

    def add(self, consumer: Consumer, lane: Lane) -> None:
        """`lane` is that of the process which runs its code."""
        self._consumers.append((consumer, lane))

    def remove(self, consumer: Consumer) -> None:
        self._consumers = [each for each in self._consumers if each[0] is not consumer]

    def decide(self, message: MessagePublished) -> Handled | None:
        """What follows from a message, if that is known at once."""
        return self._consumers[0][0].decide(message)

    def enter(self, again: Callable[[], None], *, is_suspect: bool) -> Seat | None:
        """Whose turn it is to handle one more message. None if there is no room: `again` is called when there may be.

        A suspect is handled with no other one in its process, and others may have to wait for that.
        """
        if not self._consumers or self.in_hand >= sum(each.in_hand_max for each, _ in self._consumers):
            self._waiting[id(getattr(again, "__self__", again))] = again
            return None
        for _ in self._consumers:
            self._next = (self._next + 1) % len(self._consumers)
            consumer, lane = self._consumers[self._next]
            if lane.enter(is_suspect, again):
                self.in_hand += 1
                return Seat(consumer, lane, is_suspect)
        return None

    def leave(self, seat: Seat) -> None:
        """A message is no more in hand."""
        self.in_hand -= 1
        if seat.is_suspect:
            seat.lane.leave()
        waiting, self._waiting = self._waiting, {}
        for again in waiting.values():
            again()


class Consumers:
    """The desks of one node. `changed` is called with a topic that has one more receiver.

    `quarantines_workers`: whether processes behind this node are taken to have died when they are gone.
    """

    def __init__(self, *, quarantines_workers: bool = False) -> None:
        self.quarantines_workers = quarantines_workers
        self.changed: Callable[[str], None] = lambda topic: None
        self._lane = Lane()
        self._desks: dict[str, dict[str, Desk]] = {}

    def add(self, topic: str, group: str, consumer: Consumer, lane: Lane | None = None) -> None:
        """From now on it is given messages of the group. `lane`: of the process that runs its code, None for all that
        have none of their own, as this process."""
        self._desks.setdefault(topic, {}).setdefault(group, Desk()).add(consumer, lane or self._lane)
        self.changed(topic)

    def remove(self, topic: str, group: str, consumer: Consumer) -> None:
        """It is given no more messages."""
        self._desks[topic][group].remove(consumer)

    def topics(self) -> Iterable[str]:
        """Those that somebody here has subscribed to."""
        return tuple(self._desks)

    def groups(self) -> list[tuple[str, str]]:
        """Topic and group of each desk that is open."""
        return [(topic, group) for topic, desks in self._desks.items() for group, desk in desks.items() if desk.is_open]

    def desk(self, topic: str, group: str) -> Desk | None:
        """Where the messages of a group are handled; None if nobody here does."""
        desk = self._desks.get(topic, {}).get(group)
        return desk if desk is not None and desk.is_open else None

    def __repr__(self) -> str:
        return f"<Consumers of {len(self._desks)} topics>"
