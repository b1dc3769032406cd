"""What must follow from a turn: state, accepted events and actions in; everything to commit out."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from perdure.clock import LATEST
from perdure.codec import Payload
from perdure.history import traced
from perdure.history.actions import (
    QUEUE_WAIT,
    START_WAIT,
    TIMEOUT_WAIT,
    Action,
    AnswerUpdate,
    BeginTurn,
    CallEntity,
    CancelActivity,
    CancelChild,
    CancelInstance,
    CancelTimer,
    CompleteRun,
    ContinueRun,
    CreateChild,
    CreateDetached,
    CreateTimer,
    PublishMessage,
    PublishState,
    RecordCode,
    RecordPatch,
    RecordTrace,
    RequestEntityLock,
    ScheduleActivity,
    SendEvent,
    SetStatus,
    SignalEntity,
    StopWaiting,
    TerminateInstance,
    UnlockEntity,
    WaitForEvent,
)
from perdure.history.child_actions import cancel_child, create_child, create_detached, tell_of_end
from perdure.history.creation import (
    parent_of,
)
from perdure.history.draft import Draft
from perdure.history.entity_actions import (
    call_entity,
    grant,
    release_locks,
    request_lock,
    signal_entity,
    unlock_entity,
)
from perdure.history.events import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    EntityLockGranted,
    EventRaised,
    EventSent,
    Failure,
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
from perdure.history.options import (
    NO_OPTIONS,
    Label,
    encode_example,
    encode_options,
    labelled,
    place_of,
)
from perdure.history.published import answer_name, encode_payload, state_name
from perdure.history.topics import publish, publish_message
from perdure.stores.contract import (
    ANSWERED,
    HELD,
    QUEUED,
    Halt,
    Head,
    Published,
    Status,
    Wait,
    WaitKind,
)

TRACE = "trace"
"""Where a head keeps what the worker of the next turn is told of the run's trace."""


def settle(head: Head, waits: Mapping[int, Wait], at: int, events: Iterable[Any], actions: Iterable[Action]) -> Draft:
    """Fold accepted `events` and the code's `actions` into what the turn commits."""
    draft = Draft(head, waits, at)
    for event in events:
        record(draft, event)
    for action in actions:
        _SETTLE[type(action)](draft, action)
    if draft.hastens:
        _hasten(draft)
    return draft


def record(draft: Draft, event: Any) -> None:
    """Fold one accepted event."""
    draft.events.append(event)
    if type(event) is EntityLockGranted:
        grant(draft, event)
        return
    number = getattr(event, "number", None)
    if number is not None:
        draft.closed.append(number)
        draft.answered.add(number)
        if type(event) is ActivityCompleted:
            for message in event.messages:
                publish(draft, message)
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
    release_locks(draft)
    _close_all(draft, keep_calls)
    tell_of_end(draft, draft.completed)


def _start(draft: Draft, event: RunStarted) -> None:
    """The run's first turn: it is running from now on."""
    draft.fields["status"] = Status.RUNNING
    if event.trace is not None:
        draft.fields["more"] = traced.begun(event, draft.head)
    if START_WAIT in draft.waits:
        draft.closed.append(START_WAIT)
    bound_run(draft, event)


def bound_run(draft: Draft, started: RunStarted) -> None:
    """The run's timeout, if it has one, counts from now on."""
    if started.timeout is not None:
        due = min(draft.at + started.timeout, LATEST)
        draft.opened[TIMEOUT_WAIT] = Wait(TIMEOUT_WAIT, WaitKind.TIMEOUT, "run timeout", draft.at, due)


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
    draft.hastens |= event.now


def _hasten(draft: Draft) -> None:
    """What waits for its next attempt is due now, unless the turn closes it."""
    for wait in draft.waits.values():
        is_retried = wait.kind == WaitKind.ACTIVITY and wait.failure is not None and wait.number not in draft.closed
        if is_retried and wait.due is not None and wait.due > draft.at:
            draft.changed.append(msgspec.structs.replace(wait, due=draft.at))


_RECORD: dict[type, Callable[[Draft, Any], None]] = {
    RunStarted: _start,
    RunSuspended: _suspend,
    RunResumed: _resume,
}


# -- actions ------------------------------------------------------------------------------------------------------


def _schedule_activity(draft: Draft, action: ScheduleActivity) -> None:
    more = draft.fields.get("more") or draft.head.more
    if more and action.trace is None and traced.TRACEPARENT in more:
        action = msgspec.structs.replace(action, trace=traced.call_trace(draft.head, more, action.number))
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
            run_version=action.run_version,
        )
    )
    if action.denied is not None:
        draft.opened[action.number] = Wait(action.number, "activity", action.name, draft.at, state=ANSWERED)
        draft.tell_itself(ActivityFailed(at=draft.at, number=action.number, failure=action.denied))
        return
    draft.opened[action.number] = open_call(draft.at, action, action.line)


def open_call(at: int, asked: ScheduleActivity | ActivityScheduled, line: str | None = None) -> Wait:
    """The wait of an activity that is to run: at once, or as soon as it has a slot of its queue."""
    options = None if asked.options is NO_OPTIONS else asked.options
    return Wait(
        number=asked.number,
        kind="activity",
        name=asked.name,
        since=at,
        on=asked.app,
        line=line,
        attempt=1,
        state=HELD if options is None or options.place is None else QUEUED,
        input=asked.input,
        options=encode_options(labelled(options, _label_of(asked))),
    )


def _label_of(call: ScheduleActivity | ActivityScheduled) -> Label:
    """What came with a call and is handed on with its attempts."""
    return Label(call.version, call.tags, call.key, call.trace, call.run_version, call.propagation or None)


def _cancel_activity(draft: Draft, action: CancelActivity) -> None:
    if action.number in draft.answered:
        return  # because its answer came in the same turn, after the code gave it up
    draft.events.append(ActivityCancelled(at=draft.at, number=action.number))
    draft.closed.append(action.number)


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
    wait = Wait(
        number=action.number,
        kind="event",
        name=action.name,
        since=draft.at,
        line=action.line,
        options=encode_example(action.example),
    )
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
    if action.denied is None:
        draft.send(action.instance, EventRaised(at=draft.at, name=action.name, data=action.data), app=action.app)


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


def _begin_turn(draft: Draft, action: BeginTurn) -> None:
    if action.at > draft.at:
        draft.at = action.at
        draft.events[0] = msgspec.structs.replace(draft.events[0], at=action.at)


def _record_trace(draft: Draft, action: RecordTrace) -> None:
    trace = base64.b64encode(action.trace).decode()
    if draft.more.get(TRACE) != trace:
        draft.fields["more"] = {**draft.more, TRACE: trace}


def _complete(draft: Draft, action: CompleteRun) -> None:
    if "finished" not in draft.fields:  # because the first completion wins
        finish(draft, action.status, action.output, action.failure, action.keep_calls)


def _continue(draft: Draft, action: ContinueRun) -> None:
    """The next generation: a fresh history, its start and the carried events as mail to itself."""
    head = draft.head
    generation = head.generation + 1
    slot = draft.waits.get(QUEUE_WAIT)
    started = RunStarted(
        at=draft.at,
        name=action.name or head.name,
        input=action.input,
        version=action.version,  # because nothing binds a fresh history to old code: naming none takes the latest
        execution=head.execution,
        generation=generation,
        parent=parent_of(head),
        trace=traced.run_trace(draft.more),
        tags=head.tags,
        timeout=_remaining_timeout(draft),
        place=place_of(slot.options) if slot is not None else None,
    )
    release_locks(draft)
    _close_all(draft, keep_calls=False)
    if slot is not None:
        draft.opened[QUEUE_WAIT] = slot  # because the next generation goes on in the slot of this one
    draft.erase = True
    draft.events.clear()
    draft.fields.update(status=Status.RUNNING, generation=generation, version=started.version)
    if TRACE in draft.more or traced.TRACEPARENT in draft.more:
        draft.fields["more"] = traced.ended(draft.more, (TRACE,))
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


_SETTLE: dict[type, Callable[[Draft, Any], None]] = {
    ScheduleActivity: _schedule_activity,
    CancelActivity: _cancel_activity,
    CreateChild: create_child,
    CancelChild: cancel_child,
    CreateDetached: create_detached,
    CreateTimer: _create_timer,
    CancelTimer: _cancel_timer,
    WaitForEvent: _wait_for_event,
    StopWaiting: _stop_waiting,
    SendEvent: _send_event,
    PublishMessage: publish_message,
    CancelInstance: _cancel_instance,
    TerminateInstance: _terminate_instance,
    SetStatus: _set_status,
    PublishState: _publish_state,
    AnswerUpdate: _answer_update,
    RecordCode: _record_code,
    RecordPatch: _record_patch,
    RecordTrace: _record_trace,
    BeginTurn: _begin_turn,
    CompleteRun: _complete,
    ContinueRun: _continue,
    SignalEntity: signal_entity,
    CallEntity: call_entity,
    RequestEntityLock: request_lock,
    UnlockEntity: unlock_entity,
}


def can_settle(action: Action) -> bool:
    """Whether it is known what follows from an action of this type."""
    return type(action) in _SETTLE
