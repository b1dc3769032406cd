"""What must follow from a turn: state, accepted events and actions in; everything to commit out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from perdure.clock import LATEST
from perdure.codec import Payload, encode
from perdure.history.actions import (
    QUEUE_WAIT,
    START_WAIT,
    TIMEOUT_WAIT,
    Action,
    AnswerUpdate,
    CancelActivity,
    CancelChild,
    CancelInstance,
    CancelTimer,
    CompleteRun,
    ContinueRun,
    CreateChild,
    CreateDetached,
    CreateTimer,
    PublishState,
    RecordCode,
    RecordPatch,
    ScheduleActivity,
    SendEvent,
    SetStatus,
    StopWaiting,
    TerminateInstance,
    WaitForEvent,
)
from perdure.history.creation import (
    Watcher,
    child_id,
    creation,
    execution_of,
    parent_call,
    parent_of,
    pending_head,
    watcher_of,
)
from perdure.history.draft import Draft
from perdure.history.events import (
    ActivityCancelled,
    ActivityScheduled,
    ChildCancelled,
    ChildCompleted,
    ChildCreated,
    ChildFailed,
    DetachedCreated,
    EventRaised,
    EventSent,
    Failure,
    InstanceEnded,
    Parent,
    RunCancelRequested,
    RunCompleted,
    RunResumed,
    RunStarted,
    RunSuspended,
    RunTerminated,
    TimerCancelled,
    TimerCreated,
    UpdateAnswered,
    UpdateRequested,
    encode_event,
)
from perdure.history.options import NO_OPTIONS, encode_options
from perdure.history.published import answer_name, encode_payload, state_name
from perdure.stores.contract import ADMITTED, HELD, QUEUED, Halt, Head, Mail, Permit, Published, Status, Wait, WaitKind


def settle(head: Head, waits: Mapping[int, Wait], at: int, events: Iterable[Any], actions: Iterable[Action]) -> Draft:
    """Fold accepted `events` and the code's `actions` into what the turn commits."""
    draft = Draft(head, waits, at)
    for event in events:
        record(draft, event)
    for action in actions:
        _SETTLE[type(action)](draft, action)
    return draft


def record(draft: Draft, event: Any) -> None:
    """Fold one accepted event."""
    draft.events.append(event)
    number = getattr(event, "number", None)
    if number is not None:
        draft.closed.append(number)
        draft.answered.add(number)
        return
    fold = _RECORD.get(type(event))
    if fold is not None:
        fold(draft, event)


def finish(
    draft: Draft, status: str, output: Payload | None = None, failure: Failure | None = None, keep_calls: bool = False
) -> None:
    """End the run: everything still open goes, and the parent hears of it."""
    draft.completed = RunCompleted(at=draft.at, status=status, output=output, failure=failure)
    draft.events.append(draft.completed)
    draft.fields.update(status=status, finished=draft.at, stalled=None, suspended=None)
    _close_all(draft, keep_calls)
    parent = parent_of(draft.head)
    if parent is not None:
        _tell_parent(draft, parent, status, output, failure)
    watcher = watcher_of(draft.head)
    if watcher is not None:
        draft.send(watcher.instance, _ended(watcher, draft.head.id, draft.at, status))


def start_head(draft: Draft, event: RunStarted) -> None:
    """The run's first turn: it is running from now on."""
    draft.fields["status"] = Status.RUNNING
    if START_WAIT in draft.waits:
        draft.closed.append(START_WAIT)
    if event.timeout is not None:
        due = min(draft.at + event.timeout, LATEST)
        draft.opened[TIMEOUT_WAIT] = Wait(TIMEOUT_WAIT, WaitKind.TIMEOUT, "run timeout", draft.at, due)


def admit(draft: Draft, number: int, permit: Permit | None) -> None:
    """A wait takes the slot of its queue that was given to it, unless the turn closes it or suspends the run."""
    wait = draft.waits[number]
    if permit is not None:
        draft.permits = (*draft.permits, permit)
    if wait.kind == WaitKind.START:
        _begin_in_queue(draft, wait)
    elif number not in draft.closed and draft.fields.get("suspended") is None:
        draft.changed.append(msgspec.structs.replace(wait, state=ADMITTED, due=None))


def _begin_in_queue(draft: Draft, start: Wait) -> None:
    """The start waits no longer; the run has the slot until it ends."""
    if start.number not in draft.closed:
        draft.closed.append(start.number)
    if draft.completed is None:
        name = draft.head.name
        draft.opened[QUEUE_WAIT] = Wait(
            QUEUE_WAIT, WaitKind.QUEUE, name, start.since, state=ADMITTED, options=start.options
        )


# -- events that the engine itself obeys --------------------------------------------------------------------------


def _suspend(draft: Draft, event: RunSuspended) -> None:
    draft.fields["suspended"] = Halt(reason=_words(event.reason), since=draft.at, by=event.by)


def _words(payload: Payload | None) -> str:
    """What a payload tells people: text as itself, anything else as it is stored."""
    if payload is None:
        return ""
    stored = bytes(payload.data)
    try:
        return msgspec.json.decode(stored, type=str)
    except ValueError:
        return stored.decode()


def _resume(draft: Draft, event: RunResumed) -> None:
    draft.fields["suspended"] = None
    draft.fields["stalled"] = None


_RECORD: dict[type, Callable[[Draft, Any], None]] = {
    RunStarted: start_head,
    RunSuspended: _suspend,
    RunResumed: _resume,
}


# -- actions ------------------------------------------------------------------------------------------------------


def _schedule_activity(draft: Draft, action: ScheduleActivity) -> None:
    options = None if action.options is NO_OPTIONS else action.options
    draft.events.append(
        ActivityScheduled(
            at=draft.at,
            number=action.number,
            name=action.name,
            input=action.input,
            version=action.version,
            app=action.app,
            key=action.key,
            tags=action.tags,
            trace=action.trace,
            propagation=action.propagation,
            router=action.router,
            options=options,
        )
    )
    draft.opened[action.number] = Wait(
        number=action.number,
        kind="activity",
        name=action.name,
        since=draft.at,
        on=action.app,
        line=action.line,
        attempt=1,
        state=HELD if options is None or options.place is None else QUEUED,
        input=action.input,
        options=encode_options(options),
    )


def _cancel_activity(draft: Draft, action: CancelActivity) -> None:
    if action.number in draft.answered:
        return  # because its answer came in the same turn, after the code gave it up
    draft.events.append(ActivityCancelled(at=draft.at, number=action.number))
    draft.closed.append(action.number)


def create_child(draft: Draft, action: CreateChild) -> None:
    head = draft.head
    instance = action.instance or child_id(head, action.number)
    draft.events.append(
        ChildCreated(
            at=draft.at,
            number=action.number,
            instance=instance,
            name=action.name,
            input=action.input,
            version=action.version,
            app=action.app,
            tags=action.tags,
            trace=action.trace,
            retry_of=action.retry_of,
            propagation=action.propagation,
            router=action.router,
        )
    )
    draft.opened[action.number] = Wait(
        number=action.number, kind="child", name=action.name, since=draft.at, on=instance, line=action.line
    )
    parent = Parent(
        instance=head.id, execution=head.execution, generation=head.generation, number=action.number, name=head.name
    )
    started = RunStarted(
        at=draft.at,
        name=action.name,
        input=action.input,
        version=action.version,
        execution=execution_of(head, action.number),
        parent=parent,
        trace=action.trace,
        tags=action.tags,
        timeout=action.timeout,
    )
    taken = Failure(
        type="InstanceExists",
        message=f"instance {instance!r} exists and is not finished; give the child another id",
        non_retryable=True,
    )
    refusal = Mail(
        head.id,
        f"{parent_call(parent)}.refused",
        encode_event(ChildFailed(at=draft.at, number=action.number, failure=taken)),
        draft.at,
        head.execution,
        head.generation,
    )
    new = pending_head(action.app or head.app, instance, started, draft.at)
    draft.created.append(
        creation(new, started, f"{parent_call(parent)}.start", draft.at, refusal=refusal, place=action.place)
    )


def _cancel_child(draft: Draft, action: CancelChild) -> None:
    if action.number in draft.answered:
        return  # because its answer came in the same turn, after the code gave it up
    wait = draft.waits.get(action.number)
    draft.events.append(ChildCancelled(at=draft.at, number=action.number))
    draft.closed.append(action.number)
    if wait is not None and wait.on is not None:
        draft.send(wait.on, RunCancelRequested(at=draft.at, reason=action.reason or "the parent no longer waits"))


def _create_detached(draft: Draft, action: CreateDetached) -> None:
    head = draft.head
    instance = action.instance or child_id(head, action.number)
    draft.events.append(
        DetachedCreated(
            at=draft.at,
            number=action.number,
            instance=instance,
            name=action.name,
            input=action.input,
            router=action.router,
        )
    )
    started = RunStarted(
        at=draft.at,
        name=action.name,
        input=action.input,
        version=action.version,
        execution=action.execution or execution_of(head, action.number),
        scheduled=action.scheduled,
        scheduled_nanos=action.scheduled_nanos,
        trace=action.trace,
        tags=action.tags,
        timeout=action.timeout,
    )
    watcher = Watcher(head.id, action.watch) if action.watch is not None else None
    new = pending_head(action.app or head.app, instance, started, draft.at, watcher=watcher)
    refusal = _refusal(watcher, new, draft.at) if watcher is not None else None
    key, unique = f"{started.execution}.start", action.watch is not None
    draft.created.append(creation(new, started, key, draft.at, refusal=refusal, unique=unique, place=action.place))


def _refusal(watcher: Watcher, head: Head, at: int) -> Mail:
    event = _ended(watcher, head.id, at, None)
    return Mail(watcher.instance, f"{head.execution}.refused", encode_event(event), at)


def _ended(watcher: Watcher, instance: str, at: int, status: str | None) -> EventRaised:
    data = encode(InstanceEnded(at=at, instance=instance, status=status))
    return EventRaised(at=at, name=watcher.event, data=data)


def _create_timer(draft: Draft, action: CreateTimer) -> None:
    draft.events.append(
        TimerCreated(
            at=draft.at,
            number=action.number,
            due=action.due,
            due_nanos=action.due_nanos,
            name=action.name,
            origin=action.origin,
            router=action.router,
        )
    )
    draft.opened[action.number] = Wait(
        number=action.number,
        kind="timer",
        name=action.name or "timer",
        since=draft.at,
        due=action.due,
        line=action.line,
    )


def _cancel_timer(draft: Draft, action: CancelTimer) -> None:
    if action.number in draft.answered:
        return  # because its answer came in the same turn, after the code gave it up
    draft.events.append(TimerCancelled(at=draft.at, number=action.number))
    draft.closed.append(action.number)


def _wait_for_event(draft: Draft, action: WaitForEvent) -> None:
    wait = Wait(number=action.number, kind="event", name=action.name, since=draft.at, line=action.line)
    if action.number in draft.waits:
        draft.changed.append(wait)  # because code that was changed meanwhile may listen for the first time only now
    else:
        draft.opened[action.number] = wait


def _stop_waiting(draft: Draft, action: StopWaiting) -> None:
    draft.closed.append(action.number)


def _send_event(draft: Draft, action: SendEvent) -> None:
    draft.events.append(
        EventSent(
            at=draft.at,
            number=action.number,
            instance=action.instance,
            name=action.name,
            data=action.data,
            app=action.app,
            router=action.router,
        )
    )
    draft.send(action.instance, EventRaised(at=draft.at, name=action.name, data=action.data))


def _cancel_instance(draft: Draft, action: CancelInstance) -> None:
    draft.send(action.instance, RunCancelRequested(at=draft.at, reason=action.reason))


def _terminate_instance(draft: Draft, action: TerminateInstance) -> None:
    draft.send(action.instance, RunTerminated(at=draft.at, output=action.output, recursive=action.recursive))


def _set_status(draft: Draft, action: SetStatus) -> None:
    draft.fields["custom_status"] = action.status


def _publish_state(draft: Draft, action: PublishState) -> None:
    draft.published.append(Published(state_name(action.name), encode_payload(action.state)))


def _answer_update(draft: Draft, action: AnswerUpdate) -> None:
    """A refusal of what has just come leaves no trace in history; who asked hears it, from the store if need be."""
    answer = UpdateAnswered(
        at=draft.at, key=action.key, result=action.result, failure=action.failure, refused=action.refused
    )
    draft.answers.append(answer)
    published = Published(answer_name(action.key), encode_event(answer), answer=True)
    request = next((e for e in draft.events if type(e) is UpdateRequested and e.key == action.key), None)
    if action.refused and request is not None:
        draft.events.remove(request)
        draft.refused.append(published)
    else:
        draft.events.append(answer)
        draft.published.append(published)


def _record_code(draft: Draft, action: RecordCode) -> None:
    started = draft.events[0]
    draft.events[0] = msgspec.structs.replace(started, fingerprint=action.fingerprint, version=action.version)
    if action.version not in (None, draft.head.version):
        draft.fields["version"] = action.version


def _record_patch(draft: Draft, action: RecordPatch) -> None:
    started = draft.events[0]
    draft.events[0] = msgspec.structs.replace(started, patches=[*(started.patches or ()), action.name])


def _complete(draft: Draft, action: CompleteRun) -> None:
    if "finished" not in draft.fields:  # because the first completion wins
        finish(draft, action.status, action.output, action.failure, action.keep_calls)


def _continue(draft: Draft, action: ContinueRun) -> None:
    """The next generation: a fresh history, its start and the carried events as mail to itself."""
    head = draft.head
    generation = head.generation + 1
    started = RunStarted(
        at=draft.at,
        name=action.name or head.name,
        input=action.input,
        version=action.version,  # because nothing binds a fresh history to old code: naming none takes the latest
        execution=head.execution,
        generation=generation,
        parent=parent_of(head),
        tags=head.tags,
        timeout=_remaining_timeout(draft),
    )
    slot = draft.waits.get(QUEUE_WAIT)
    _close_all(draft, keep_calls=False)
    if slot is not None:
        draft.opened[QUEUE_WAIT] = slot  # because the next generation goes on in the slot of this one
    draft.erase = True
    draft.events.clear()
    draft.fields.update(status=Status.RUNNING, generation=generation, version=started.version)
    draft.send(head.id, started, head.execution, generation)
    for event in action.events:
        draft.send(head.id, event)


def _remaining_timeout(draft: Draft) -> int | None:
    wait = draft.waits.get(TIMEOUT_WAIT)
    return max(0, wait.due - draft.at) if wait is not None and wait.due is not None else None


def _close_all(draft: Draft, keep_calls: bool) -> None:
    """Close what is open, before this turn or in it; `keep_calls` leaves activities to run."""
    kept = WaitKind.ACTIVITY if keep_calls else None
    for number in [number for number, wait in draft.opened.items() if wait.kind != kept]:
        del draft.opened[number]
    closed = set(draft.closed)
    for number, wait in draft.waits.items():
        if wait.kind != kept and number not in closed:
            draft.closed.append(number)


def _tell_parent(draft: Draft, parent: Parent, status: str, output: Payload | None, failure: Failure | None) -> None:
    event: ChildCompleted | ChildFailed
    if status == Status.COMPLETED:
        event = ChildCompleted(at=draft.at, number=parent.number, result=output)
    else:
        type, ended = _ENDED[status]
        fallback = Failure(type=type, message=f"child workflow {draft.head.id!r} {ended}")
        event = ChildFailed(at=draft.at, number=parent.number, failure=failure or fallback)
    draft.send(parent.instance, event, parent.execution, parent.generation)


_ENDED: dict[str, tuple[str, str]] = {
    Status.FAILED: ("WorkflowFailed", "failed"),
    Status.CANCELED: ("WorkflowCancelled", "was cancelled"),
    Status.TERMINATED: ("WorkflowTerminated", "was terminated"),
}
"""What a parent is told of a child that left no failure: the error's class as its type, and the end in words."""


_SETTLE: dict[type, Callable[[Draft, Any], None]] = {
    ScheduleActivity: _schedule_activity,
    CancelActivity: _cancel_activity,
    CreateChild: create_child,
    CancelChild: _cancel_child,
    CreateDetached: _create_detached,
    CreateTimer: _create_timer,
    CancelTimer: _cancel_timer,
    WaitForEvent: _wait_for_event,
    StopWaiting: _stop_waiting,
    SendEvent: _send_event,
    CancelInstance: _cancel_instance,
    TerminateInstance: _terminate_instance,
    SetStatus: _set_status,
    PublishState: _publish_state,
    AnswerUpdate: _answer_update,
    RecordCode: _record_code,
    RecordPatch: _record_patch,
    CompleteRun: _complete,
    ContinueRun: _continue,
}
