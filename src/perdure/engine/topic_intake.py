"""What comes to a partition: messages, groups that join and leave. Which of it is new, and what it makes of the log."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import msgspec

from perdure.actors.message import Message
from perdure.errors import InvalidArgument
from perdure.history.events import ActivityCompleted, ActivityFailed, GroupJoined, GroupLeft, MessagePublished
from perdure.history.topic_log import GROUPS_MAX, Log, join, leave, size_of
from perdure.stores.contract import SEEN_MAX

ARRIVALS_MAX = 500
"""Messages that one turn takes in; more wait for the next."""
ARRIVALS_BYTES_MAX = 4 * 1024 * 1024
"""Likewise of their data; one is taken in however large it is."""


def batch_size(arrivals: Sequence[Message]) -> int:
    """How many of these the next turn takes in."""
    size = 0
    for count, message in enumerate(arrivals[:ARRIVALS_MAX]):
        size += size_of(message.event) if type(message.event) is MessagePublished else 0
        if count and size > ARRIVALS_BYTES_MAX:
            return count
    return min(len(arrivals), ARRIVALS_MAX)


class Bases(Protocol):
    """Who knows how many messages were appended before the first page that is kept."""

    def base_of(self, log: Log) -> int | None:
        """None if it has to be read first; then the topic is woken when it is."""


class Intake(msgspec.Struct):
    """A batch, sorted: `messages` to append, keys of mail that is dealt with, keys to remember, what waits for a read,
    why some of it was dropped, what other nodes report of what is lent to them, and the groups that have left, which
    may have joined again since."""

    log: Log
    messages: list[MessagePublished] = []
    consumed: list[str] = []
    seen: list[str] = []
    aside: list[Message] = []
    dropped: list[str] = []
    reports: list[Message] = []
    left: set[str] = set()
    is_changed: bool = False


class Memory:
    """The ids of the last messages, as many as the store remembers."""

    __slots__ = ("_keys",)

    def __init__(self, seen: Sequence[str]) -> None:
        self._keys = OrderedDict.fromkeys(reversed(seen))

    def take_in(self, log: Log, batch: Sequence[Message], bases: Bases) -> Intake:
        """Sort a batch; the log has its groups then, and not yet the messages."""
        intake = Intake(log)
        for message in batch:
            event = message.event
            if type(event) is GroupJoined:
                if not _join(intake, message, event, bases):
                    intake.aside.append(message)
                    continue
            elif type(event) is GroupLeft:
                _leave(intake, event.group)
            elif type(event) is MessagePublished:
                self._publish(intake, event, message.key)
            elif isinstance(event, (ActivityCompleted, ActivityFailed)):
                intake.reports.append(message)
                continue
            else:
                intake.dropped.append("not for a topic")
                message.settle(InvalidArgument("a topic takes messages and groups; publish to it, or subscribe"))
            if message.stored and message.key is not None:
                intake.consumed.append(message.key)
        return intake

    def _publish(self, intake: Intake, event: MessagePublished, key: str | None) -> None:
        if key is not None:
            if key in self._keys:
                intake.dropped.append("duplicate")
                return
            self._keys[key] = None
            intake.seen.append(key)
            if len(self._keys) > SEEN_MAX:
                self._keys.popitem(last=False)
        intake.messages.append(event)


def _leave(intake: Intake, group: str) -> None:
    if group in intake.log.groups:
        intake.is_changed = True
        intake.left.add(group)
        intake.log = leave(intake.log, group)


def _join(intake: Intake, message: Message, event: GroupJoined, bases: Bases) -> bool:
    """Whether that is done; else a page has to be read before."""
    log = intake.log
    known = log.groups.get(event.group)
    if known is not None and known.options == event.options:
        return True
    if known is None and len(log.groups) >= GROUPS_MAX:
        text = f"the topic {event.topic!r} has {GROUPS_MAX} groups already; remove one with `perdure topics --forget`"
        message.settle(InvalidArgument(text))
        intake.dropped.append("too many groups")
        return True
    base = bases.base_of(log) if known is None else 0
    if base is None:
        return False
    intake.log = join(log, event.group, event.options, base)
    intake.is_changed = True
    return True
