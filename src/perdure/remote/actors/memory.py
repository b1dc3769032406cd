"""What an actor of Dapr's keeps: its keys and its reminders, all in the state of one entity. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw

from perdure.clock import SECOND
from perdure.codec import JSON, Payload
from perdure.errors import InvalidArgument
from perdure.remote.actors.times import due_of, ends_of, period_of

KEYS_MAX = 10_000
"""Keys of one actor."""
KEY_CHARACTERS_MAX = 1_024
REMINDERS_MAX = 1_000
"""Reminders of one actor, as its entity has rows for."""
OPERATIONS_MAX = 1_000
"""Operations of one transaction."""


class Value(msgspec.Struct, frozen=True, omit_defaults=True):
    """The bytes under a key, and until when they are there, microseconds since 1970 UTC."""

    data: bytes
    expires: int | None = None


class Reminder(msgspec.Struct, frozen=True, omit_defaults=True):
    """A reminder as it was asked for, times as text; `data` is JSON.

    `ends`: until when it comes; `left`: how many times more; `drops`: a time that fails is not tried again.
    """

    due_time: str = ""
    period: str = ""
    ttl: str = ""
    data: Raw = Raw(b"null")
    ends: int | None = None
    left: int | None = None
    drops: bool = False


class Put(msgspec.Struct, frozen=True, tag="put"):
    key: str
    data: bytes
    ttl: int | None = None


class Remove(msgspec.Struct, frozen=True, tag="remove"):
    key: str


Change = Put | Remove


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A reminder or timer that somebody registers. `is_new`: one of this name must not be there."""

    name: str
    due_time: str = ""
    period: str = ""
    ttl: str = ""
    data: Raw = Raw(b"null")
    callback: str = ""
    drops: bool = False
    is_new: bool = False


class Memory(msgspec.Struct):
    """All that one actor keeps."""

    keys: dict[str, Value] = {}
    reminders: dict[str, Reminder] = {}

    def copy(self) -> Memory:
        return Memory(dict(self.keys), dict(self.reminders))

    def get(self, key: str, now: int) -> Value | None:
        """What is under the key, unless it has expired."""
        found = self.keys.get(key)
        return None if found is None or (found.expires is not None and found.expires <= now) else found

    def apply(self, changes: Sequence[Change], now: int) -> None:
        """All of the changes, which `check` has found nothing wrong with."""
        for change in changes:
            match change:
                case Put(key, data, ttl):
                    self.keys[key] = Value(data, None if ttl is None else now + ttl * SECOND)
                case Remove(key):
                    self.keys.pop(key, None)

    def remind(self, asked: Asked, now: int) -> tuple[int, int | None]:
        """Keep a reminder; when it comes first, and how often after that. Raises InvalidArgument."""
        if asked.is_new and asked.name in self.reminders:
            raise InvalidArgument(f"there is a reminder {asked.name!r} already, and it is not to be overwritten")
        if len(self.reminders) >= REMINDERS_MAX and asked.name not in self.reminders:
            raise InvalidArgument(f"the actor has {REMINDERS_MAX:,} reminders already; unregister some")
        due, period = due_of(asked.due_time, now), period_of(asked.period)
        self.reminders[asked.name] = Reminder(
            due_time=asked.due_time,
            period=asked.period,
            ttl=asked.ttl,
            data=asked.data,
            ends=ends_of(asked.ttl, due),
            left=period.repeats,
            drops=asked.drops,
        )
        return due, period.every

    def payload(self, now: int) -> Payload | None:
        """As the entity keeps it, without what has expired; None for nothing, so that the entity can be cleaned up."""
        keys = {key: value for key, value in self.keys.items() if value.expires is None or value.expires > now}
        if not keys and not self.reminders:
            return None
        return Payload(JSON, None, Raw(_encode(Memory(keys, self.reminders))))


_encode = msgspec.json.Encoder(order="deterministic").encode


def memory_of(state: Payload | None) -> Memory:
    """What an entity keeps. Raises InvalidArgument if something else has written it."""
    if state is None:
        return Memory({}, {})
    try:
        return msgspec.json.decode(state.data, type=Memory)
    except msgspec.MsgspecError as error:
        raise InvalidArgument(f"the state of the actor was not written as one of Dapr's: {error}") from error


def check(changes: Sequence[Change], memory: Memory) -> None:
    """Raises InvalidArgument for changes that cannot be made."""
    if len(changes) > OPERATIONS_MAX:
        raise InvalidArgument(f"a transaction has {len(changes):,} operations; at most {OPERATIONS_MAX:,}")
    for change in changes:
        if not 1 <= len(change.key) <= KEY_CHARACTERS_MAX:
            raise InvalidArgument(f"a key of an actor's state has 1 to {KEY_CHARACTERS_MAX:,} characters")
    new = sum(type(change) is Put and change.key not in memory.keys for change in changes)
    if len(memory.keys) + new > KEYS_MAX:
        raise InvalidArgument(f"an actor keeps at most {KEYS_MAX:,} keys; remove some, or use more actors")
