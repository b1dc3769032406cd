"""Whether the wait rows of a run are those that its history leaves open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from perdure.history.draft import Draft
from perdure.history.entity_actions import locks_of, open_locks
from perdure.history.events import ActivityScheduled, AnyEvent, ChildCreated, EntityCalled, TimerCreated
from perdure.history.fork import still_open
from perdure.history.options import decode_options
from perdure.stores.contract import Wait, WaitKind, is_endless

_KINDS: dict[type, str] = {
    ActivityScheduled: "activity",
    TimerCreated: "timer",
    ChildCreated: "child",
    EntityCalled: "entity",
}


def discrepancy(events: Iterable[AnyEvent], waits: Mapping[int, Wait], has_mail: bool) -> str | None:
    """The first call, by number, whose wait is not there, can never end, or is none that the history knows.

    Waits for events are left out: code that is replayed says itself what it listens to.
    """
    known = list(events)
    calls = {event.number: (_KINDS[type(event)], _name(event)) for event in still_open(known)}
    calls |= {number: ("entity", name) for number, name in open_locks(known).items()}
    for number in sorted(calls.keys() | {number for number in waits if number > 0}):
        expected, wait = calls.get(number), waits.get(number)
        found = None if wait is None else (wait.kind, _name(wait))
        if expected != found or (wait is not None and is_endless(wait, has_mail)):
            return f"wait {number}: history leaves open {_called(expected)}, the store holds {_told(wait)}"
        if wait is not None and not _has_options(wait):
            return f"wait {number}: the options of {_told(wait)} cannot be read"
    return None


def _has_options(wait: Wait) -> bool:
    try:
        if wait.kind == WaitKind.ENTITY:
            locks_of(wait)
        else:
            decode_options(wait.options)
    except ValueError:
        return False
    return True


def relist(draft: Draft, listening: Mapping[int, str]) -> None:
    """Put right the rows of waits for events, for which the code that was replayed is enough."""
    for number, name in listening.items():
        wait = draft.waits.get(number)
        if wait is None:
            draft.opened[number] = Wait(number, WaitKind.EVENT, name, draft.at)
        elif (wait.kind, wait.name.casefold()) != (WaitKind.EVENT, name):
            draft.changed.append(Wait(number, WaitKind.EVENT, name, wait.since))


def _name(record: ActivityScheduled | TimerCreated | ChildCreated | EntityCalled | Wait) -> str:
    if isinstance(record, EntityCalled):
        return record.operation
    if isinstance(record, TimerCreated) or (isinstance(record, Wait) and record.kind == "timer"):
        return ""  # because a timer's name is a note for people
    return record.name


def _called(call: tuple[str, str] | None) -> str:
    return "nothing" if call is None else f"{call[0]} {call[1]}".strip()


def _told(wait: Wait | None) -> str:
    return "nothing" if wait is None else f"{wait.kind} {wait.name} ({wait.state}, due {wait.due}, on {wait.on})"
