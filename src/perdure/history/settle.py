"""What must follow from a turn: state, accepted events and actions in; everything to commit out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from perdure.codec import Payload
from perdure.history.actions import (
    NO_OPTIONS,
    START_WAIT,
    TIMEOUT_WAIT,
    Action,
    CancelActivity,
    CancelChild,
    CancelTimer,
    CompleteRun,
    ContinueRun,
    CreateChild,
    CreateDetached,
    CreateTimer,
    ScheduleActivity,
    SendEvent,
    SetStatus,
    StopWaiting,
    TerminateInstance,
    WaitForEvent,
)
from perdure.history.events import (
    ActivityCanceled,
    ActivityScheduled,
    ChildCanceled,
    ChildCompleted,
    ChildCreated,
    ChildFailed,
    DetachedCreated,
    EventRaised,
    EventSent,
    Failure,
    Parent,
    RunCancelRequested,
    RunCompleted,
    RunForked,
    RunResumed,
    RunStarted,
    RunSuspended,
    RunTerminated,
    TimerCanceled,
    TimerCreated,
    TurnStarted,
    encode_event,
)
from perdure.history.fork import still_open
from perdure.stores.contract import ANSWERED, Creation, Halt, Head, Mail, Status, Wait, WaitKind

_options_encoder = msgspec.json.Encoder()


class Draft:
    """What a turn will commit, while it is being decided."""

    __slots__ = (
        "at",
        "changed",
        "closed",
        "completed",
        "created",
        "erase",
        "events",
        "fields",
        "head",
        "index",
        "mail",
        "opened",
        "waits",
    )

    def __init__(self, head: Head, waits: Mapping[int, Wait], at: int) -> None:
        self.head = head
        self.waits = waits
        self.at = at
        self.events: list[Any] = [TurnStarted(at=at)]
        self.opened: dict[int, Wait] = {}
        self.changed: list[Wait] = []
        self.closed: list[int] = []
        self.mail: list[Mail] = []
        self.created: list[Creation] = []
        self.fields: dict[str, Any] = {}
        self.erase = False
        self.completed: RunCompleted | None = None
        self.index = 0

    def new_head(self) -> Head | None:
        """The head to store, None if only its sequence and time advance."""
        if not self.fields:
            return None
        changes = {**self.fields, "sequence": self.head.sequence + 1, "updated": self.at}
        return msgspec.structs.replace(self.head, **changes)

    def send(self, instance: str, event: Any, execution: str | None = None, generation: int | None = None) -> None:
        """Queue mail; its id is (run, sequence, index), so that a repeated turn sends the same."""
        head = self.head
        self.index += 1
        key = f"{head.id}/{head.execution}.{head.generation}/{head.sequence + 1}.{self.index}"
        self.mail.append(Mail(instance, key, encode_event(event), self.at, execution, generation))


def settle(
    head: Head, waits: Mapping[int, Wait], at: int, events: Iterable[Any], actions: Iterable[Action]
) -> Draft:
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
        return
    fold = _RECORD.get(type(event))
    if fold is not None:
        fold(draft, event)


def finish(draft: Draft, status: str, output: Payload | None = None, failure: Failure | None = None, keep_calls: bool = False) -> None:
    """End the run: everything still open goes, and the parent hears of it."""
    draft.completed = RunCompleted(at=draft.at, status=status, output=output, failure=failure)
    draft.events.append(draft.completed)
    draft.fields.update(status=status, finished=draft.at, stalled=None, suspended=None)
    _close_all(draft, keep_calls)
    parent = parent_of(draft.head)
    if parent is not None:
        _tell_parent(draft, parent, status, output, failure)


def start_head(draft: Draft, event: RunStarted) -> None:
    """The run's first turn: it is running from now on."""
    draft.fields["status"] = Status.RUNNING
    if START_WAIT in draft.waits:
        draft.closed.append(START_WAIT)
    if event.timeout is not None:
        due = draft.at + event.timeout
        draft.opened[TIMEOUT_WAIT] = Wait(TIMEOUT_WAIT, WaitKind.TIMEOUT, "run timeout", draft.at, due)


def parent_of(head: Head) -> Parent | None:
    """Who waits for this run, if it is a child."""
    found = head.more.get("parent")
    return msgspec.convert(found, Parent) if found else None


def parent_call(parent: Parent) -> str:
    """The identity of a child's creation: the same call creates the same child."""
    return f"{parent.execution}.{parent.generation}.{parent.number}"


def child_id(head: Head, number: int) -> str:
    """The id of a child that was given none: the parent's, generation if not the first, and the number in hex."""
    generation = "" if head.generation == 1 else f"{head.generation:x}."
    return f"{head.id}:{generation}{number:04x}"


def creation(
    head: Head, started: RunStarted, key: str, at: int, *, refusal: Mail | None = None, unique: bool = False
) -> Creation:
    """A new instance with its start mail; delayed if `started.scheduled` lies ahead."""
    waits: tuple[Wait, ...] = ()
    if started.scheduled is not None and started.scheduled > at:
        waits = (Wait(START_WAIT, WaitKind.START, "start", at, started.scheduled),)
    mail = Mail(head.id, key, encode_event(started), at, head.execution, head.generation)
    parent = parent_of(head)
    return Creation(head, mail, waits, parent_call(parent) if parent else None, refusal, unique)


def pending_head(app: str, instance: str, started: RunStarted, at: int) -> Head:
    """The head of an instance that no turn has run yet."""
    more: dict[str, Any] = {}
    if started.parent is not None:
        more["parent"] = msgspec.to_builtins(started.parent)
    return Head(
        id=instance,
        app=app,
        name=started.name,
        status=Status.PENDING,
        execution=started.execution,
        generation=started.generation,
        sequence=0,
        created=at,
        updated=at,
        parent=started.parent.instance if started.parent else None,
        tags=started.tags,
        version=started.version,
        more=more,
    )


# -- events that the engine itself obeys --------------------------------------------------------------------------


def _suspend(draft: Draft, event: RunSuspended) -> None:
    reason = bytes(event.reason.data).decode() if event.reason else ""
    draft.fields["suspended"] = Halt(reason=reason, since=draft.at, by=event.by)


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
        input=action.input,
        options=None if action.options is NO_OPTIONS else _options_encoder.encode(action.options),
    )


def _cancel_activity(draft: Draft, action: CancelActivity) -> None:
    draft.events.append(ActivityCanceled(at=draft.at, number=action.number))
    draft.closed.append(action.number)


def _create_child(draft: Draft, action: CreateChild) -> None:
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
    parent = Parent(instance=head.id, execution=head.execution, generation=head.generation, number=action.number, name=head.name)
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
    draft.created.append(creation(new, started, f"{parent_call(parent)}.start", draft.at, refusal=refusal))


def execution_of(head: Head, number: int) -> str:
    """A child's execution id: derived, so that a repeated turn creates the same run, and as unique as the parent's."""
    text = f"{head.execution}.{head.generation}.{number}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _cancel_child(draft: Draft, action: CancelChild) -> None:
    wait = draft.waits.get(action.number)
    draft.events.append(ChildCanceled(at=draft.at, number=action.number))
    draft.closed.append(action.number)
    if wait is not None and wait.on is not None:
        draft.send(wait.on, RunCancelRequested(at=draft.at, reason=action.reason or "the parent no longer waits"))


def _create_detached(draft: Draft, action: CreateDetached) -> None:
    head = draft.head
    instance = action.instance or child_id(head, action.number)
    draft.events.append(
        DetachedCreated(
            at=draft.at, number=action.number, instance=instance, name=action.name, input=action.input, router=action.router
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
    new = pending_head(action.app or head.app, instance, started, draft.at)
    draft.created.append(creation(new, started, f"{started.execution}.start", draft.at))


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
    draft.events.append(TimerCanceled(at=draft.at, number=action.number))
    draft.closed.append(action.number)


def _wait_for_event(draft: Draft, action: WaitForEvent) -> None:
    draft.opened[action.number] = Wait(
        number=action.number, kind="event", name=action.name, since=draft.at, line=action.line
    )


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


def _terminate_instance(draft: Draft, action: TerminateInstance) -> None:
    draft.send(action.instance, RunTerminated(at=draft.at, output=action.output, recursive=action.recursive))


def _set_status(draft: Draft, action: SetStatus) -> None:
    draft.fields["custom_status"] = action.status


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
        version=action.version or head.version,
        execution=head.execution,
        generation=generation,
        parent=parent_of(head),
        tags=head.tags,
        timeout=_remaining_timeout(draft),
    )
    _close_all(draft, keep_calls=False)
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
        fallback = Failure(type=f"Workflow{status.capitalize()}", message=f"child workflow {draft.head.id!r} was {status}")
        event = ChildFailed(at=draft.at, number=parent.number, failure=failure or fallback)
    draft.send(parent.instance, event, parent.execution, parent.generation)


_SETTLE: dict[type, Callable[[Draft, Any], None]] = {
    ScheduleActivity: _schedule_activity,
    CancelActivity: _cancel_activity,
    CreateChild: _create_child,
    CancelChild: _cancel_child,
    CreateDetached: _create_detached,
    CreateTimer: _create_timer,
    CancelTimer: _cancel_timer,
    WaitForEvent: _wait_for_event,
    StopWaiting: _stop_waiting,
    SendEvent: _send_event,
    TerminateInstance: _terminate_instance,
    SetStatus: _set_status,
    CompleteRun: _complete,
    ContinueRun: _continue,
}


def adopt(draft: Draft, forked: RunForked) -> None:
    """The first turn of a fork: history as it was, open calls again, and the next arrivals as mail to itself."""
    head = draft.head
    draft.events = list(forked.history)
    draft.fields["status"] = Status.RUNNING
    answered = {event.number for event in forked.arrivals if hasattr(event, "number")}
    for event in still_open(forked.history):
        if event.number in answered:
            draft.opened[event.number] = _answered(draft, event)
        else:
            _REOPEN[type(event)](draft, event)
    for event in forked.arrivals:
        draft.send(head.id, event, head.execution, head.generation)


def _answered(draft: Draft, event: ActivityScheduled | TimerCreated | ChildCreated) -> Wait:
    """A wait that is there to take its reply, and that nobody shall run again."""
    kind = _KINDS[type(event)]
    return Wait(event.number, kind, event.name or kind, draft.at, state=ANSWERED)


def _reopen_activity(draft: Draft, event: ActivityScheduled) -> None:
    draft.opened[event.number] = Wait(
        number=event.number, kind="activity", name=event.name, since=draft.at, on=event.app, attempt=1, input=event.input
    )


def _reopen_timer(draft: Draft, event: TimerCreated) -> None:
    draft.opened[event.number] = Wait(event.number, "timer", event.name or "timer", draft.at, event.due)


def _reopen_child(draft: Draft, event: ChildCreated) -> None:
    kept = draft.events
    draft.events = []
    action = CreateChild(number=event.number, name=event.name, input=event.input, app=event.app, tags=event.tags)
    _create_child(draft, action)
    draft.events = kept


_KINDS: dict[type, str] = {ActivityScheduled: "activity", TimerCreated: "timer", ChildCreated: "child"}
_REOPEN: dict[type, Callable[[Draft, Any], None]] = {
    ActivityScheduled: _reopen_activity,
    TimerCreated: _reopen_timer,
    ChildCreated: _reopen_child,
}
