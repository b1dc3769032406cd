"""What runs ask of entities: signals, calls, locks; and what becomes of locks when the run ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from perdure.history.actions import CallEntity, RequestEntityLock, SignalEntity, UnlockEntity
from perdure.history.draft import Draft
from perdure.history.entities import answer_failure, fault_of, operate
from perdure.history.events import (
    EntityCalled,
    EntityLockGranted,
    EntityLockRequested,
    EntityLocksReleased,
    EntitySignaled,
    EntityUnlocked,
    Failure,
)
from perdure.stores.contract import LOCKED, Wait, WaitKind

LOCKS_MAX = 100
"""Entities of one request for a lock."""
NAMES_SHOWN = 3
"""Entities that the name of a wait for a lock tells."""

_locks = msgspec.json.Decoder(list[str])


def signal_entity(draft: Draft, action: SignalEntity) -> None:
    event = EntitySignaled(
        at=draft.at,
        number=action.number,
        request=action.request,
        operation=action.operation,
        target=action.target,
        input=action.input,
        scheduled=action.scheduled,
        scheduled_nanos=action.scheduled_nanos,
        app=action.app,
    )
    draft.events.append(event)
    if fault_of(action.target) is None:
        operate(draft, action.target, event, draft.head.execution, draft.head.generation, action.app)


def call_entity(draft: Draft, action: CallEntity) -> None:
    head = draft.head
    event = EntityCalled(
        at=draft.at,
        number=action.number,
        request=action.request,
        operation=action.operation,
        target=action.target,
        input=action.input,
        scheduled=action.scheduled,
        scheduled_nanos=action.scheduled_nanos,
        parent_instance=action.parent_instance,
        parent_execution=action.parent_execution,
        app=action.app,
    )
    draft.events.append(event)
    draft.opened[action.number] = Wait(
        number=action.number,
        kind=WaitKind.ENTITY,
        name=action.operation,
        since=draft.at,
        on=action.target,
        line=action.line,
    )
    is_elsewhere = action.app not in (None, head.app)
    # because the answer goes where the call is from
    call = msgspec.structs.replace(event, parent_instance=head.id, parent_app=head.app if is_elsewhere else None)
    fault = fault_of(action.target)
    if fault is None:
        operate(draft, action.target, call, head.execution, head.generation, action.app)
    else:
        answer_failure(draft, call, _refusal(fault), head.execution, head.generation)


def request_lock(draft: Draft, action: RequestEntityLock) -> None:
    """Ask the first of the entities, which asks the next: all in one order, so that no two requests wait in a ring."""
    head = draft.head
    event = EntityLockRequested(
        at=draft.at,
        number=action.number,
        section=action.section,
        locks=action.locks,
        position=action.position,
        parent_instance=action.parent_instance,
    )
    draft.events.append(event)
    locks = sorted(set(action.locks))
    draft.opened[action.number] = Wait(
        number=action.number,
        kind=WaitKind.ENTITY,
        name=_lock_name(locks),
        since=draft.at,
        line=action.line,
        token=action.section,
        options=msgspec.json.encode(locks),
    )
    if not locks:
        grant = EntityLockGranted(at=draft.at, section=action.section, number=action.number)
        draft.tell_itself(grant)
    elif fault_of_locks(locks) is None:
        request = msgspec.structs.replace(event, locks=locks, position=0, parent_instance=head.id)
        operate(draft, locks[0], request, head.execution, head.generation)


def unlock_entity(draft: Draft, action: UnlockEntity) -> None:
    event = EntityUnlocked(
        at=draft.at,
        number=action.number,
        section=action.section,
        target=action.target,
        parent_instance=action.parent_instance,
    )
    draft.events.append(event)
    wait = next((wait for wait in _lock_waits(draft) if wait.token == action.section), None)
    locks = locks_of(wait) if wait is not None else []
    if wait is None or action.target not in locks:
        return
    if wait.state != LOCKED:
        _release(draft, wait, locks)  # because the request is still on its way, and the unlock must stay behind it
        _close(draft, wait)
        return
    draft.send(action.target, event, draft.head.execution, draft.head.generation)
    locks.remove(action.target)
    if locks:
        _replace(draft, msgspec.structs.replace(wait, options=msgspec.json.encode(locks)))
    else:
        _close(draft, wait)


def grant(draft: Draft, event: EntityLockGranted) -> None:
    """A request is granted: its wait stays, for as long as the run has the lock."""
    number = event.number
    wait = draft.waits.get(number) if number is not None else None
    if number is not None and wait is not None:
        draft.answered.add(number)
        _replace(draft, msgspec.structs.replace(wait, state=LOCKED))


def release_locks(draft: Draft) -> None:
    """The run ends: what it has locked, or asked for, is free again."""
    for wait in list(_lock_waits(draft)):
        _release(draft, wait, locks_of(wait))


def _release(draft: Draft, wait: Wait, locks: list[str]) -> None:
    """One message goes the way that the request has gone, and behind it, so that it misses no entity on it."""
    if wait.token is not None and locks and fault_of_locks(locks) is None:
        event = EntityLocksReleased(at=draft.at, section=wait.token, locks=locks)
        draft.send(locks[0], event, draft.head.execution, draft.head.generation)


def fault_of_locks(locks: Sequence[str]) -> str | None:
    """What is wrong with a request to lock these, as a sentence; None for nothing."""
    if len(locks) > LOCKS_MAX:
        return f"a lock over {len(locks):,} entities is asked for; lock {LOCKS_MAX} at most"
    return next((fault for id in locks if (fault := fault_of(id)) is not None), None)


def open_locks(events: Iterable[Any]) -> dict[int, str]:
    """The locks that a history leaves asked for or held: the names of their waits, by number."""
    locks: dict[int, _Lock] = {}
    for event in events:
        match event:
            case EntityLockRequested():
                locks[event.number] = _Lock(event.section, sorted(set(event.locks)))
            case EntityLockGranted() if event.number in locks:
                locks[event.number].is_granted = True
            case EntityUnlocked():
                for number in [n for n, lock in locks.items() if lock.ends_with(event)]:
                    del locks[number]
    return {number: lock.name for number, lock in locks.items()}


class _Lock:
    """A request for a lock, as far as a history has been read."""

    def __init__(self, section: str, left: list[str]) -> None:
        self.section = section
        self.left = left
        self.name = _lock_name(left)
        self.is_granted = False

    def ends_with(self, event: EntityUnlocked) -> bool:
        """Whether nothing of the lock is left after this unlock."""
        if event.section != self.section or event.target not in self.left:
            return False
        self.left.remove(event.target)
        return not (self.is_granted and self.left)


def _lock_name(locks: Sequence[str]) -> str:
    more = len(locks) - NAMES_SHOWN
    return ", ".join(locks[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def locks_of(wait: Wait) -> list[str]:
    """The entities of a wait for a lock, in the order in which they are asked; none of another wait."""
    return _locks.decode(wait.options) if wait.kind == WaitKind.ENTITY and wait.options is not None else []


def _lock_waits(draft: Draft) -> Iterator[Wait]:
    """Waits for locks that are open now, as this turn leaves them."""
    changed = {wait.number: wait for wait in draft.changed}
    closed = set(draft.closed)
    for wait in (*draft.waits.values(), *draft.opened.values()):
        if wait.kind == WaitKind.ENTITY and wait.options is not None and wait.number not in closed:
            yield changed.get(wait.number, wait)


def _replace(draft: Draft, wait: Wait) -> None:
    if wait.number in draft.opened:
        draft.opened[wait.number] = wait
    else:
        draft.changed = [other for other in draft.changed if other.number != wait.number]
        draft.changed.append(wait)


def _close(draft: Draft, wait: Wait) -> None:
    if draft.opened.pop(wait.number, None) is None:
        draft.changed = [other for other in draft.changed if other.number != wait.number]
        draft.closed.append(wait.number)


def _refusal(fault: str) -> Failure:
    return Failure(type="InvalidEntityId", message=fault, non_retryable=True)
