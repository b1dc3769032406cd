"""An entity between its operations: who waits in its queue, who has its lock, and what follows from a batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from perdure.clock import LATEST
from perdure.codec import Payload
from perdure.history.accept import Arrival
from perdure.history.actions import ClearReminder, CreateDetached, PublishMessage, SetReminder, SignalEntity
from perdure.history.child_actions import detached
from perdure.history.delayed import LOCK, clear_reminder, come_again, delay, operation_of, set_reminder
from perdure.history.draft import Draft
from perdure.history.entities import MODIFIED, answer_failure, fault_of, hashed, is_entity, operate
from perdure.history.events import (
    EntityCalled,
    EntityCompleted,
    EntityLockGranted,
    EntityLockRequested,
    EntityLocksReleased,
    EntitySignaled,
    EntityUnlocked,
    Failure,
    ReminderCleared,
    ReminderSet,
    RunResumed,
    RunTerminated,
    UpdateAnswered,
    encode_event,
)
from perdure.history.published import answer_name
from perdure.history.topics import message_of, publish
from perdure.history.work import BatchResult
from perdure.stores.contract import LOCKED, Published, Status, Wait, WaitKind

OPERATIONS_MAX = 10_000
"""Operations that wait for one entity, delayed ones with them; a call beyond it fails, a signal is dropped."""
BATCH_OPERATIONS_MAX = 100
"""Operations that a worker gets at once."""
BATCH_BYTES_MAX = 1024 * 1024
"""Likewise of their inputs; one operation goes out however large it is."""
FULL = Failure(
    type="EntityQueueFull",
    message=f"{OPERATIONS_MAX:,} operations wait for the entity already; call it again when some are done",
)


class Entry(msgspec.Struct, frozen=True):
    """Who waits in the queue. `key` is that of its mail; one whose time has come has the `number` of its wait instead.

    `execution` and `generation` are those of the run that hears the answer, None for a client's signal.
    """

    event: Any
    key: str | None
    execution: str | None = None
    generation: int | None = None
    number: int | None = None


class Arranged(NamedTuple):
    """The queue from now on, the keys of mail that is dealt with, and why some of it was dropped."""

    queue: list[Entry]
    consumed: list[str]
    dropped: list[str]


# -- what comes in ----------------------------------------------------------------------------------------------------


def arrange(draft: Draft, queue: Sequence[Entry], arrivals: Iterable[Arrival], due: Iterable[int] = ()) -> Arranged:
    """Put what has come where it belongs, and give the lock to whoever is first in the queue, as often as that goes.

    `due` are numbers of delayed operations whose time has come.
    """
    arranged = Arranged(list(queue), [], [])
    for number in due:
        wait = draft.waits.get(number)
        if wait is not None and wait.options is not None and number != LOCK:
            event, kept = operation_of(draft.head.id, wait)
            arranged.queue.append(Entry(event, None, kept.execution, kept.generation, wait.number))
    for arrival in arrivals:
        _take_in(draft, arranged, arrival)
    _grant(draft, arranged)
    return arranged


def _take_in(draft: Draft, arranged: Arranged, arrival: Arrival) -> None:
    event, entry = arrival.event, Entry(arrival.event, arrival.key, arrival.execution, arrival.generation)
    match event:
        case EntityLockRequested():
            arranged.queue.append(entry)
            return
        case EntitySignaled() | EntityCalled() if _is_full(draft, arranged):
            _refuse(draft, arranged, entry)
        case EntitySignaled() | EntityCalled() if event.scheduled is not None and event.scheduled > draft.at:
            delay(draft, event, min(event.scheduled, LATEST), entry.execution, entry.generation)
        case EntitySignaled() | EntityCalled():
            arranged.queue.append(entry)
            return
        case EntityUnlocked():
            _unlock(draft, entry)
        case EntityLocksReleased():
            _release(draft, arranged, event, entry)
        case ReminderSet():
            if not set_reminder(draft, event):
                arranged.dropped.append("reminders full")
        case ReminderCleared():
            clear_reminder(draft, event.name)
        case RunTerminated() | RunResumed():
            draft.fields["custom_status" if type(event) is RunTerminated else "stalled"] = None
        case _:
            arranged.dropped.append("mail unreadable" if isinstance(event, Exception) else "stale")
    if entry.key is not None:
        arranged.consumed.append(entry.key)


def _is_full(draft: Draft, arranged: Arranged) -> bool:
    return len(arranged.queue) + len(draft.waits) + len(draft.opened) >= OPERATIONS_MAX


def _refuse(draft: Draft, arranged: Arranged, entry: Entry) -> None:
    answer_entry(draft, entry, failure=FULL)
    arranged.dropped.append("entity queue full")


# -- the lock ---------------------------------------------------------------------------------------------------------


def lock_in(draft: Draft) -> Wait | None:
    """Who has the lock, as this turn leaves it: `token` is the request, `on` the instance, `claimed_by`
    its execution."""
    return draft.opened.get(LOCK) or (draft.waits.get(LOCK) if LOCK not in draft.closed else None)


def _grant(draft: Draft, arranged: Arranged) -> None:
    while arranged.queue and lock_in(draft) is None:
        entry = arranged.queue[0]
        if type(entry.event) is not EntityLockRequested:
            return
        del arranged.queue[0]
        if entry.key is not None:
            arranged.consumed.append(entry.key)
        _lock(draft, entry)


def _lock(draft: Draft, entry: Entry) -> None:
    """This entity is the run's; the next one is asked, or the run is told that it has them all."""
    request: EntityLockRequested = entry.event
    execution, generation, after = entry.execution or "", entry.generation or 1, request.position + 1
    draft.opened[LOCK] = Wait(
        number=LOCK,
        kind=WaitKind.ENTITY,
        name="lock",
        since=draft.at,
        on=request.parent_instance,
        state=LOCKED,
        token=request.section,
        claimed_by=execution,
    )
    if after < len(request.locks):
        passed = msgspec.structs.replace(request, position=after)
        operate(draft, request.locks[after], passed, execution, generation)
    elif request.parent_instance is not None:
        granted = EntityLockGranted(at=draft.at, section=request.section, number=request.number)
        draft.send(request.parent_instance, granted, execution, generation)


def _unlock(draft: Draft, entry: Entry) -> None:
    """Free the lock, if it is that of the request and of the run that the message is about."""
    lock = lock_in(draft)
    if lock is None or (lock.token, lock.claimed_by) != (entry.event.section, entry.execution):
        return
    if draft.opened.pop(LOCK, None) is None:
        draft.closed.append(LOCK)


def _release(draft: Draft, arranged: Arranged, event: EntityLocksReleased, entry: Entry) -> None:
    """The run has ended. A request that still waits here has gone no further, and neither need this message."""
    waiting = next((other for other in arranged.queue if _is_request_of(other, entry)), None)
    if waiting is not None:
        arranged.queue.remove(waiting)
        if waiting.key is not None:
            arranged.consumed.append(waiting.key)
        return
    _unlock(draft, entry)
    if len(event.locks) > 1:
        passed = msgspec.structs.replace(event, locks=event.locks[1:])
        draft.send(passed.locks[0], passed, entry.execution, entry.generation)


def _is_request_of(entry: Entry, release: Entry) -> bool:
    is_request = type(entry.event) is EntityLockRequested
    return is_request and (entry.event.section, entry.execution) == (release.event.section, release.execution)


# -- operations -------------------------------------------------------------------------------------------------------


def batch_of(queue: Sequence[Entry], lock: Wait | None) -> list[Entry]:
    """The operations that may run now, in order: those before the first request for a lock; under a lock the calls of
    its owner."""
    batch: list[Entry] = []
    bytes = 0
    for entry in queue:
        if lock is None and type(entry.event) is EntityLockRequested:
            break
        if lock is not None and not _is_call_of(entry, lock):
            continue
        bytes += _size(entry.event.input)
        if batch and (len(batch) == BATCH_OPERATIONS_MAX or bytes > BATCH_BYTES_MAX):
            break
        batch.append(entry)
    return batch


def _is_call_of(entry: Entry, lock: Wait) -> bool:
    is_call = type(entry.event) is EntityCalled
    return is_call and (entry.event.parent_instance, entry.execution) == (lock.on, lock.claimed_by)


def _size(input: Payload | None) -> int:
    return memoryview(input.data).nbytes if input is not None else 0


def conclude(draft: Draft, batch: Sequence[Entry], result: BatchResult) -> list[Entry]:
    """What follows from the answer of a worker; the entries that are done, first of the batch first."""
    if result.failure is not None or not result.results:
        failure = result.failure or Failure(type="EntityUnanswered", message="the worker has answered no operation")
        for entry in batch:
            _close(draft, entry, failed=True)
            answer_entry(draft, entry, failure=failure)
        return list(batch)
    done = list(batch[: len(result.results)])
    for entry, operated in zip(done, result.results, strict=False):
        _close(draft, entry, failed=operated.failure is not None)
        answer_entry(draft, entry, operated.result, operated.failure)
    for action in result.actions:
        _act(draft, action)
    if result.state != draft.head.custom_status:
        draft.fields["custom_status"] = result.state
    draft.fields["more"] = {**draft.head.more, MODIFIED: draft.at}
    return done


def refuse_clients(draft: Draft, queue: Sequence[Entry], failure: Failure) -> list[Entry]:
    """Answer the calls of those who wait outside of any run, and hear best at once why nothing is done; these."""
    refused = [entry for entry in queue if type(entry.event) is EntityCalled and entry.event.parent_instance is None]
    for entry in refused:
        answer_entry(draft, entry, failure=failure)
    return refused


def answer_entry(draft: Draft, entry: Entry, result: Payload | None = None, failure: Failure | None = None) -> None:
    """Tell whoever has called; a signal has no answer."""
    call = entry.event
    if type(call) is not EntityCalled:
        return
    if call.parent_instance is None:
        _answer_client(draft, call, result, failure)
        return
    execution, generation = entry.execution or "", entry.generation or 1
    if failure is not None:
        answer_failure(draft, call, failure, execution, generation)
        return
    event = EntityCompleted(at=draft.at, request=call.request, output=result, number=call.number)
    draft.send(call.parent_instance, event, execution, generation, app=call.parent_app)


def _answer_client(draft: Draft, call: EntityCalled, result: Payload | None, failure: Failure | None) -> None:
    """Kept with the entity, because who asks may ask again, and of any node."""
    answer = UpdateAnswered(at=draft.at, key=call.request, result=result, failure=failure)
    draft.answers.append(answer)
    draft.published.append(Published(answer_name(call.request), encode_event(answer), answer=True))


def _close(draft: Draft, entry: Entry, *, failed: bool) -> None:
    if entry.number is not None:
        come_again(draft, entry.number, failed=failed)


def _act(draft: Draft, action: SignalEntity | CreateDetached | SetReminder | ClearReminder | PublishMessage) -> None:
    """What an entity asks for. Its numbers say nothing, because they begin anew with each batch."""
    head = draft.head
    if type(action) is PublishMessage:
        id = hashed(draft.next_key())
        publish(draft, message_of(action, draft.at, source=f"{head.app}/{head.id}", id=id))
        return
    if type(action) is SetReminder:
        set_reminder(draft, action)
        return
    if type(action) is ClearReminder:
        clear_reminder(draft, action.name)
        return
    if type(action) is SignalEntity:
        if fault_of(action.target) is None:
            event = EntitySignaled(
                at=draft.at,
                number=0,
                request=action.request or hashed(draft.next_key()),
                operation=action.operation,
                input=action.input,
                scheduled=action.scheduled,
                scheduled_nanos=action.scheduled_nanos,
            )
            operate(draft, action.target, event, head.execution, head.generation, action.app)
        return
    assert isinstance(action, CreateDetached)
    execution = hashed(draft.next_key())
    instance = action.instance or execution
    if not is_entity(instance):
        new = msgspec.structs.replace(action, instance=instance, execution=execution)
        draft.created.append(detached(draft, new))


# -- the whole --------------------------------------------------------------------------------------------------------


def begin(draft: Draft) -> None:
    """An entity that has not taken a turn before is running from now on."""
    if draft.head.status == Status.PENDING:
        draft.fields["status"] = Status.RUNNING
