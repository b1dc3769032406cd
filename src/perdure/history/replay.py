"""Whether code asks again for what history holds: the comparison that makes a replay trustworthy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from perdure.history.actions import (
    TIMEOUT_WAIT,
    Action,
    AnswerUpdate,
    CallEntity,
    CancelActivity,
    CancelChild,
    CancelTimer,
    CompleteRun,
    ContinueRun,
    CreateChild,
    CreateDetached,
    CreateTimer,
    PublishMessage,
    RequestEntityLock,
    ScheduleActivity,
    SendEvent,
    SignalEntity,
    UnlockEntity,
)
from perdure.history.events import (
    CANCELLATIONS,
    CONFIRMATIONS,
    ActivityCancelled,
    ActivityScheduled,
    ChildCancelled,
    ChildCreated,
    DetachedCreated,
    EntityCalled,
    EntityLockRequested,
    EntitySignaled,
    EntityUnlocked,
    EventSent,
    MessagePublished,
    RunCompleted,
    RunTerminated,
    TimerCancelled,
    TimerCreated,
    TimerFired,
    UpdateAnswered,
    UpdateRequested,
)

CONFIRMED_BY: dict[type, type] = {
    ScheduleActivity: ActivityScheduled,
    CreateChild: ChildCreated,
    CreateDetached: DetachedCreated,
    CreateTimer: TimerCreated,
    SendEvent: EventSent,
    PublishMessage: MessagePublished,
    SignalEntity: EntitySignaled,
    CallEntity: EntityCalled,
    RequestEntityLock: EntityLockRequested,
    UnlockEntity: EntityUnlocked,
}
"""Which event records which action."""


CANCELED_BY: dict[type, type] = {
    CancelActivity: ActivityCancelled,
    CancelChild: ChildCancelled,
    CancelTimer: TimerCancelled,
}
"""Which event records which taking back."""


class Difference(msgspec.Struct, frozen=True):
    """The first place where code and history part.

    `held` and `asked` are for people; `line` is the code's place; `number` is that of the action, 0 where it has none:
    `place` says then what it is about. `step` names what the code does otherwise, for the name of a patch.
    """

    number: int
    held: str
    asked: str
    line: str | None = None
    step: str = ""
    place: str = "the end"

    def __str__(self) -> str:
        where = f" at {self.line}" if self.line else ""
        event = f"event {self.number}" if self.number else self.place
        return f"{event}: history holds {self.held}, the code asked for {self.asked}{where}"

    @property
    def remedy(self) -> str:
        """The line to put before what is new, with what was there before under its `else`."""
        return f'if perdure.patched("{self.step}"):'


def compare(held: Sequence[Any], actions: Sequence[Action], finished: bool) -> Difference | None:
    """The first difference between the recorded events of a turn and the actions of its replay, None if they agree.

    Compared are number, kind, name and app of what was asked for, number and kind of what was taken back, which updates
    were answered, and whether and how the run ended. Inputs and due times are not: other data is not another path.
    """
    return (
        _compare_requests([event for event in held if isinstance(event, CONFIRMATIONS)], actions, finished)
        or _compare_cancellations(held, actions)
        or _compare_ends(held, actions, finished)
        or _compare_answers(held, actions, finished)
    )


def _compare_requests(held: Sequence[Any], actions: Sequence[Action], finished: bool) -> Difference | None:
    asked = [action for action in actions if type(action) in CONFIRMED_BY]
    for event, action in zip(held, asked, strict=False):
        if _key_of_event(event) != _key_of_action(action):
            told = _describe_event(event), _describe_action(action)
            return Difference(event.number, *told, action.line, f"{_step(action)}-before-{_step(event)}")
    if len(held) > len(asked):
        event = held[len(asked)]
        told = _describe_event(event), _describe_end(actions) if finished else "nothing"
        return Difference(event.number, *told, step=f"without-{_step(event)}")
    if len(asked) > len(held):
        action = asked[len(held)]
        return Difference(action.number, "nothing here", _describe_action(action), action.line, _step(action))
    return None


def _compare_cancellations(held: Sequence[Any], actions: Sequence[Action]) -> Difference | None:
    """What one side took back and the other did not, because nobody would answer it, or somebody still work on it."""
    recorded = {(type(event), event.number) for event in held if isinstance(event, CANCELLATIONS)}
    # because history does not say that something was taken back whose answer came in the same turn
    answered = {getattr(event, "number", None) for event in held if not isinstance(event, _OF_CODE)}
    asked = {
        (CANCELED_BY[type(action)], action.number)
        for action in actions
        if type(action) in CANCELED_BY and action.number not in answered
    }
    for kind, number in sorted(recorded ^ asked, key=lambda each: each[1]):
        told = (kind.__name__, "that it goes on") if (kind, number) in recorded else ("that it goes on", kind.__name__)
        return Difference(number, *told, step=f"cancel-{number}")
    return None


def _compare_answers(held: Sequence[Any], actions: Sequence[Action], finished: bool) -> Difference | None:
    """An update that was done, and that the code does not do again: what it changed would be missing from here on."""
    if finished:
        return None  # because nothing comes after it
    answered = {action.key for action in actions if type(action) is AnswerUpdate}
    for event in held:
        if type(event) is UpdateAnswered and not event.refused and event.key not in answered:
            asked = (each.name for each in held if type(each) is UpdateRequested and each.key == event.key)
            name = next(asked, event.key)
            told = "its answer", "nothing: no handler takes it now"
            return Difference(0, *told, step=f"without-{name}", place=f"update {name}")
    return None


def _compare_ends(held: Sequence[Any], actions: Sequence[Action], finished: bool) -> Difference | None:
    recorded = next((event for event in held if isinstance(event, RunCompleted)), None)
    if recorded is None:
        return Difference(0, "that it goes on", _describe_end(actions), step="end") if finished else None
    if not _ended_by_code(held):
        return None
    ends = {action.status for action in actions if isinstance(action, CompleteRun)}
    if recorded.status not in ends:
        told = f"RunCompleted({recorded.status})", _describe_end(actions) if finished else "nothing"
        return Difference(0, *told, step="end" if finished else "go-on")
    return None


def _ended_by_code(held: Sequence[Any]) -> bool:
    """Whether no termination, timeout or cancellation before the start has ended the run."""
    return not any(
        isinstance(event, RunTerminated) or (isinstance(event, TimerFired) and event.number == TIMEOUT_WAIT)
        for event in held
    )


_OF_CODE = (*CONFIRMATIONS, *CANCELLATIONS)


def _key_of_event(event: Any) -> tuple[Any, ...]:
    return (event.number, type(event), _name(event), _app(event))


def _key_of_action(action: Action) -> tuple[Any, ...]:
    return (action.number, CONFIRMED_BY[type(action)], _name(action), _app(action))


def _app(record: Any) -> str | None:
    if isinstance(record, CreateDetached):
        return None  # because history keeps only the instance of a detached workflow
    return getattr(record, "app", None)


def _name(record: Any) -> str | None:
    if isinstance(record, (TimerCreated, CreateTimer)):
        return None  # because a timer's name is a note for people
    if isinstance(record, (CreateDetached, DetachedCreated)):
        return None  # because remote histories keep only the instance of a detached workflow
    if isinstance(record, (PublishMessage, MessagePublished)):
        return record.topic
    return getattr(record, "name", None) or getattr(record, "operation", None) or getattr(record, "section", None)


def _describe_event(event: Any) -> str:
    return f"{type(event).__name__}{_named(event)}"


def _describe_action(action: Action) -> str:
    return f"{type(action).__name__}{_named(action)}"


def _describe_end(actions: Sequence[Action]) -> str:
    end = next((action for action in actions if isinstance(action, (CompleteRun, ContinueRun))), None)
    if isinstance(end, ContinueRun):
        return "the next generation"
    if end is not None and end.failure is not None:
        return f"the end of the workflow by {end.failure.type}: {end.failure.message}"
    return "the end of the workflow"


def _named(record: Any) -> str:
    name = _name(record)
    return f"({name})" if name else ""


def _step(record: Any) -> str:
    """What a patch may be called after: the name of what is asked for, else its kind."""
    return _name(record) or _KIND[type(record)]


_KIND: dict[type, str] = {
    kind: name
    for names, name in (
        ((CreateTimer, TimerCreated), "timer"),
        ((CreateDetached, DetachedCreated), "detached"),
        ((RequestEntityLock, EntityLockRequested), "lock"),
        ((UnlockEntity, EntityUnlocked), "unlock"),
    )
    for kind in names
}
