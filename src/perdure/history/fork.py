"""A new instance from the history of another one: which turns are kept, and what is open after them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Any

import msgspec

from perdure.codec import Payload
from perdure.history.actions import CallEntity, CreateChild
from perdure.history.child_actions import create_child
from perdure.history.delivery import turns, version_of
from perdure.history.draft import Draft
from perdure.history.entity_actions import call_entity, open_locks
from perdure.history.events import (
    CONFIRMATIONS,
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ChildCancelled,
    ChildCompleted,
    ChildCreated,
    ChildFailed,
    EntityCalled,
    EntityCompleted,
    EntityFailed,
    RunCompleted,
    RunForked,
    RunStarted,
    RunSuspended,
    TimerCancelled,
    TimerCreated,
    TimerFired,
    TurnStarted,
    UpdateAnswered,
)
from perdure.history.settle import bound_run, open_call
from perdure.stores.contract import ANSWERED, FINISHED, Status, Wait

RERUNNABLE = (ActivityScheduled, TimerCreated, ChildCreated)
_OPENING = (*RERUNNABLE, EntityCalled)
_CLOSING = (
    EntityCompleted,
    EntityFailed,
    ActivityCompleted,
    ActivityFailed,
    ActivityCancelled,
    ChildCompleted,
    ChildFailed,
    ChildCancelled,
    TimerFired,
    TimerCancelled,
)
_OWN = (TurnStarted, RunCompleted, RunSuspended, ActivityCancelled, ChildCancelled, TimerCancelled, UpdateAnswered)
"""Events that a turn wrote by itself, or that a fork begins without. It does begin with a resume, because the history
that it keeps may end suspended."""


def fork(
    source: str, events: Iterable[Any], number: int, execution: str, at: int, input: Payload | None, replace_input: bool
) -> RunForked | None:
    """The fork of a history before action `number`; None if there is no such action that can be run again.

    The turn that asked for the action is run again as a whole, so that its code asks for it afresh.
    """
    kept: list[Any] = []
    for turn in turns(events):
        if any(isinstance(event, RERUNNABLE) and event.number == number for event in turn):
            arrivals = [event for event in turn if not isinstance(event, (*CONFIRMATIONS, *_OWN))]
            changed = [adopted(event, execution, input, replace_input) for event in (*kept, *arrivals)]
            return RunForked(
                at=at, source=source, number=number, history=changed[: len(kept)], arrivals=changed[len(kept) :]
            )
        kept.extend(turn)
    return None


def revise(
    source: str, events: Iterable[Any], number: int, execution: str, at: int, result: Payload | None
) -> RunForked | None:
    """The fork of a history before the turn that took the answer to call `number`, with `result` for that answer.

    None if no such call was answered. Calls that were open then have the answers that they got later, so that none of
    them is made again; what their code asks for from there on it asks for afresh.
    """
    told = list(turns(events))
    place = next((at for at, turn in enumerate(told) if any(_answers(event, {number}) for event in turn)), None)
    if place is None:
        return None
    kept = [event for turn in told[:place] for event in turn]
    came = [event for event in told[place] if not isinstance(event, (*CONFIRMATIONS, *_OWN))]
    waiting = {event.number for event in still_open(kept)}
    later = [event for turn in told[place + 1 :] for event in turn if _answers(event, waiting)]
    arrivals = [_revised(event, number, result) for event in (*came, *later)]
    changed = [adopted(event, execution, None, False) for event in (*kept, *arrivals)]
    return RunForked(at=at, source=source, number=number, history=changed[: len(kept)], arrivals=changed[len(kept) :])


def _answers(event: Any, numbers: Container[int]) -> bool:
    """Whether an event is the answer to one of these calls."""
    return isinstance(event, _ANSWERS) and event.number in numbers


_ANSWERS = (ActivityCompleted, ActivityFailed, ChildCompleted, ChildFailed)


def _revised(event: Any, number: int, result: Payload | None) -> Any:
    if not _answers(event, {number}):
        return event
    if isinstance(event, (ActivityCompleted, ActivityFailed)):
        return ActivityCompleted(at=event.at, number=number, result=result, attempt=event.attempt)
    return ChildCompleted(at=event.at, number=number, result=result)


class Reissue(msgspec.Struct, frozen=True):
    """What of a finished instance is to be run again, and where. `child`: the id of the child, if it is one.

    With `replaces_input` the activity or child of action `number` gets `input`.
    """

    source: str
    number: int
    instance: str
    input: Payload | None = None
    replaces_input: bool = False
    child: str | None = None


def reissue(asked: Reissue, events: Iterable[Any], execution: str, at: int) -> RunForked | None:
    """The fork of a history just after action `number`, which is made again with what else was open then; None if there
    is no such action. Its code is asked for nothing before one of them is answered.

    So the action may have another input than its code gave it. Children get ids of the new instance's.
    """
    kept: list[Any] = []
    for event in events:
        is_it = isinstance(event, RERUNNABLE) and event.number == asked.number
        kept.append(_retargeted(event, asked) if is_it else event)
        if is_it:
            break
    else:
        return None
    are_open = {id(event) for event in still_open(kept)}
    history = [_again(e, asked) if id(e) in are_open else adopted(e, execution, None, False) for e in kept]
    return RunForked(at=at, source=asked.source, number=asked.number, history=history, arrivals=[])


def _retargeted(event: Any, asked: Reissue) -> Any:
    return msgspec.structs.replace(event, input=asked.input) if asked.replaces_input else event


def _again(event: Any, asked: Reissue) -> Any:
    if not isinstance(event, RERUNNABLE):
        return event
    changes: dict[str, Any] = {"rerun_of": asked.source}
    if isinstance(event, ChildCreated):
        named = asked.child if event.number == asked.number else None
        changes["instance"] = named or f"{asked.instance}:{event.number:04x}"
    return msgspec.structs.replace(event, **changes)


def adopted(event: Any, execution: str, input: Payload | None, replace_input: bool) -> Any:
    """An event of another run's history, as the new one has it."""
    if isinstance(event, RERUNNABLE) and event.rerun_of is not None:
        return msgspec.structs.replace(event, rerun_of=None)  # because that was another rerun
    if not isinstance(event, RunStarted):
        return event
    changes: dict[str, Any] = {"execution": execution, "generation": 1, "parent": None}
    if replace_input:
        changes["input"] = input
    return msgspec.structs.replace(event, **changes)


def still_open(events: Iterable[Any]) -> list[Any]:
    """The activities, timers, children and calls of entities in a history that nothing has closed."""
    found: dict[int, Any] = {}
    for event in events:
        if isinstance(event, _OPENING):
            found[event.number] = event
        elif isinstance(event, _CLOSING):
            found.pop(event.number or 0, None)
    return list(found.values())


def has_locks(events: Iterable[Any]) -> bool:
    """Whether a history ends with entities locked, or asked to be, which no other run can take over."""
    return bool(open_locks(events))


def adopt(draft: Draft, forked: RunForked) -> None:
    """The first turn of a fork: history as it was, open calls again, and the next arrivals as mail to itself."""
    head = draft.head
    draft.events = list(forked.history)
    draft.fields["status"] = Status.RUNNING
    draft.fields["version"] = version_of(forked.history) or head.version
    for event in forked.history:
        if isinstance(event, RunStarted):
            bound_run(draft, event)
    answered = {event.number for event in forked.arrivals if hasattr(event, "number")}
    for event in still_open(forked.history):
        reopen(draft, event, is_answered=event.number in answered)
    for event in forked.arrivals:
        draft.tell_itself(event)


def reopen(draft: Draft, event: Any, *, is_answered: bool) -> None:
    """Open what a history leaves open: a call is made, a timer set, unless the answer is on its way."""
    if is_answered:
        draft.opened[event.number] = _answered(draft, event)
    else:
        _REOPEN[type(event)](draft, event)


def _answered(draft: Draft, event: ActivityScheduled | TimerCreated | ChildCreated | EntityCalled) -> Wait:
    """A wait that is there to take its reply, and that nobody shall run again."""
    kind = _KINDS[type(event)]
    if isinstance(event, EntityCalled):
        return Wait(event.number, kind, event.operation, draft.at, on=event.target, state=ANSWERED)
    return Wait(event.number, kind, event.name or kind, draft.at, state=ANSWERED)


def _reopen_activity(draft: Draft, event: ActivityScheduled) -> None:
    draft.opened[event.number] = open_call(draft.at, event)


def _reopen_timer(draft: Draft, event: TimerCreated) -> None:
    draft.opened[event.number] = Wait(event.number, "timer", event.name or "timer", draft.at, event.due)


def _reopen_child(draft: Draft, event: ChildCreated) -> None:
    kept = draft.events
    draft.events = []
    # because a run that is rewound has its children, and one that is reissued has named them; a fork has others
    is_own = draft.head.status in FINISHED or event.rerun_of is not None
    action = CreateChild(
        number=event.number,
        name=event.name,
        instance=event.instance if is_own else "",
        input=event.input,
        app=event.app,
        tags=event.tags,
        timeout=event.timeout,
        place=event.place,
    )
    create_child(draft, action)
    draft.events = kept


def _reopen_call(draft: Draft, event: EntityCalled) -> None:
    kept = draft.events
    draft.events = []
    action = CallEntity(
        number=event.number,
        target=event.target or "",
        operation=event.operation,
        request=event.request,
        input=event.input,
        scheduled=event.scheduled,
        scheduled_nanos=event.scheduled_nanos,
        app=event.app,
    )
    call_entity(draft, action)
    draft.events = kept


_KINDS: dict[type, str] = {
    ActivityScheduled: "activity",
    TimerCreated: "timer",
    ChildCreated: "child",
    EntityCalled: "entity",
}
_REOPEN: dict[type, Callable[[Draft, Any], None]] = {
    ActivityScheduled: _reopen_activity,
    TimerCreated: _reopen_timer,
    ChildCreated: _reopen_child,
    EntityCalled: _reopen_call,
}
