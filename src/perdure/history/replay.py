"""Whether code asks again for what history holds: the comparison that makes a replay trustworthy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from perdure.history.actions import (
    Action,
    CallEntity,
    CreateChild,
    CreateDetached,
    CreateTimer,
    RequestEntityLock,
    ScheduleActivity,
    SendEvent,
    SignalEntity,
    UnlockEntity,
)
from perdure.history.events import (
    ActivityScheduled,
    ChildCreated,
    DetachedCreated,
    EntityCalled,
    EntityLockRequested,
    EntitySignaled,
    EntityUnlocked,
    EventSent,
    TimerCreated,
)

CONFIRMED_BY: dict[type, type] = {
    ScheduleActivity: ActivityScheduled,
    CreateChild: ChildCreated,
    CreateDetached: DetachedCreated,
    CreateTimer: TimerCreated,
    SendEvent: EventSent,
    SignalEntity: EntitySignaled,
    CallEntity: EntityCalled,
    RequestEntityLock: EntityLockRequested,
    UnlockEntity: EntityUnlocked,
}
"""Which event records which action."""


class Difference(msgspec.Struct, frozen=True):
    """The first place where code and history part. `held` and `asked` are for people; `line` is the code's place."""

    number: int
    held: str
    asked: str
    line: str | None = None

    def __str__(self) -> str:
        where = f" at {self.line}" if self.line else ""
        return f"event {self.number}: history holds {self.held}, the code asked for {self.asked}{where}"


def compare(held: Sequence[Any], actions: Sequence[Action], finished: bool) -> Difference | None:
    """The first difference between the recorded events of a turn and the actions of its replay, None if they agree.

    Compared are number, kind, name and app. Inputs are not: other inputs are other data, not another path.
    """
    asked = [action for action in actions if type(action) in CONFIRMED_BY]
    for event, action in zip(held, asked, strict=False):
        if _key_of_event(event) != _key_of_action(action):
            return Difference(event.number, _describe_event(event), _describe_action(action), action.line)
    if len(held) > len(asked):
        event = held[len(asked)]
        return Difference(event.number, _describe_event(event), "the end of the workflow" if finished else "nothing")
    if len(asked) > len(held):
        action = asked[len(held)]
        return Difference(action.number, "nothing here", _describe_action(action), action.line)
    return None


def _key_of_event(event: Any) -> tuple[Any, ...]:
    return (event.number, type(event), _name(event), getattr(event, "app", None))


def _key_of_action(action: Action) -> tuple[Any, ...]:
    return (action.number, CONFIRMED_BY[type(action)], _name(action), getattr(action, "app", None))


def _name(record: Any) -> str | None:
    if isinstance(record, (TimerCreated, CreateTimer)):
        return None  # because a timer's name is a note for people
    if isinstance(record, (CreateDetached, DetachedCreated)):
        return None  # because remote histories keep only the instance of a detached workflow
    return getattr(record, "name", None) or getattr(record, "operation", None) or getattr(record, "section", None)


def _describe_event(event: Any) -> str:
    return f"{type(event).__name__}{_named(event)}"


def _describe_action(action: Action) -> str:
    return f"{type(action).__name__}{_named(action)}"


def _named(record: Any) -> str:
    name = _name(record)
    return f"({name})" if name else ""
