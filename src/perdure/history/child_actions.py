"""What runs ask of instances that they begin, children and detached ones, and who hears of the end of one."""

from __future__ import annotations

import msgspec

from perdure.codec import encode
from perdure.history import traced
from perdure.history.actions import CancelChild, CreateChild, CreateDetached
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
from perdure.history.entities import is_entity
from perdure.history.events import (
    ChildCancelled,
    ChildCompleted,
    ChildCreated,
    ChildFailed,
    DetachedCreated,
    EventRaised,
    Failure,
    InstanceEnded,
    Parent,
    RunCancelRequested,
    RunCompleted,
    RunStarted,
    encode_event,
)
from perdure.history.options import CallOptions, app_of, encode_options
from perdure.stores.contract import Creation, Head, Mail, Status, Wait


def create_child(draft: Draft, action: CreateChild) -> None:
    """History has the child in any case; one that may not be is refused by mail to the run itself."""
    instance = action.instance or child_id(draft.head, action.number)
    draft.events.append(_created(draft, action, instance))
    refused = _no_instance(instance) if is_entity(instance) else action.denied
    if refused is None:
        draft.opened[action.number] = _wait(draft, action, instance)
        draft.created.append(_child(draft, action, instance))
    else:
        # on nothing, because a termination would go to whatever has the id
        draft.opened[action.number] = Wait(action.number, "child", action.name, draft.at, line=action.line)
        draft.tell_itself(ChildFailed(at=draft.at, number=action.number, failure=refused))


def _created(draft: Draft, action: CreateChild, instance: str) -> ChildCreated:
    return ChildCreated(
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
        timeout=action.timeout,
        place=action.place,
        router=action.router,
    )


def _wait(draft: Draft, action: CreateChild, instance: str) -> Wait:
    """The parent waits for the child to end."""
    return Wait(
        number=action.number,
        kind="child",
        name=action.name,
        since=draft.at,
        on=instance,
        line=action.line,
        options=encode_options(CallOptions(app=action.app)) if _is_elsewhere(draft, action) else None,
    )


def _child(draft: Draft, action: CreateChild, instance: str) -> Creation:
    """The child, which tells its parent of its end."""
    head = draft.head
    parent = Parent(
        instance=head.id,
        execution=head.execution,
        generation=head.generation,
        number=action.number,
        name=head.name,
        app=head.app if _is_elsewhere(draft, action) else None,
        turn=head.sequence,
    )
    started = RunStarted(
        at=draft.at,
        name=action.name,
        input=action.input,
        version=action.version,
        execution=execution_of(head, action.number),
        parent=parent,
        trace=action.trace or traced.run_trace(draft.more),
        tags=action.tags,
        timeout=action.timeout,
        place=action.place,
        propagation=action.propagation or None,
    )
    new = pending_head(action.app or head.app, instance, started, draft.at)
    refusal = _taken(draft, parent, instance)
    return creation(new, started, f"{parent_call(parent)}.start", draft.at, refusal=refusal)


def _is_elsewhere(draft: Draft, action: CreateChild) -> bool:
    """Whether the child is of another app than its parent."""
    return action.app not in (None, draft.head.app)


def _taken(draft: Draft, parent: Parent, instance: str) -> Mail:
    """What the parent hears if another run has the id of its child."""
    failure = Failure(
        type="InstanceExists",
        message=f"instance {instance!r} exists and is not finished; give the child another id",
        non_retryable=True,
    )
    event = ChildFailed(at=draft.at, number=parent.number, failure=failure)
    key = f"{parent_call(parent)}.refused"
    return Mail(parent.instance, key, encode_event(event), draft.at, parent.execution, parent.generation)


def _no_instance(id: str) -> Failure:
    message = f"the id {id!r} is an entity's; give the child one without @ in front"
    return Failure(type="InvalidInstanceId", message=message, non_retryable=True)


def cancel_child(draft: Draft, action: CancelChild) -> None:
    if action.number in draft.answered:
        return  # because its answer came in the same turn, after the code gave it up
    wait = draft.waits.get(action.number)
    draft.events.append(ChildCancelled(at=draft.at, number=action.number))
    draft.closed.append(action.number)
    if wait is not None and wait.on is not None:
        event = RunCancelRequested(at=draft.at, reason=action.reason or "the parent no longer waits")
        draft.send(wait.on, event, app=app_of(wait.options))


def create_detached(draft: Draft, action: CreateDetached) -> None:
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
    if not is_entity(instance) and action.denied is None:
        draft.created.append(detached(draft, msgspec.structs.replace(action, instance=instance)))


def detached(draft: Draft, action: CreateDetached) -> Creation:
    """The instance that the action asks for, under the id that it names."""
    head, instance = draft.head, action.instance
    started = RunStarted(
        at=draft.at,
        name=action.name,
        input=action.input,
        version=action.version,
        execution=action.execution or execution_of(head, action.number),
        scheduled=action.scheduled,
        scheduled_nanos=action.scheduled_nanos,
        trace=action.trace or traced.run_trace(draft.more),
        tags=action.tags,
        timeout=action.timeout,
        place=action.place,
    )
    watcher = Watcher(head.id, action.watch) if action.watch is not None else None
    new = pending_head(action.app or head.app, instance, started, draft.at, watcher=watcher)
    refusal = _refusal(watcher, new, draft.at) if watcher is not None else None
    key, unique = f"{started.execution}.start", action.watch is not None
    return creation(new, started, key, draft.at, refusal=refusal, unique=unique)


def _refusal(watcher: Watcher, head: Head, at: int) -> Mail:
    event = _ended(watcher, head.id, at, None)
    return Mail(watcher.instance, f"{head.execution}.refused", encode_event(event), at)


def _ended(watcher: Watcher, instance: str, at: int, status: str | None) -> EventRaised:
    data = encode(InstanceEnded(at=at, instance=instance, status=status))
    return EventRaised(at=at, name=watcher.event, data=data)


def tell_of_end(draft: Draft, end: RunCompleted) -> None:
    """Whoever waits for the run hears that it ended, and how: its parent, and who watches it."""
    if not draft.head.more:
        return  # because who waits for it is written there
    parent = parent_of(draft.head)
    if parent is not None:
        _tell_parent(draft, parent, end)
    watcher = watcher_of(draft.head)
    if watcher is not None:
        draft.send(watcher.instance, _ended(watcher, draft.head.id, draft.at, end.status))


def _tell_parent(draft: Draft, parent: Parent, end: RunCompleted) -> None:
    event: ChildCompleted | ChildFailed
    if end.status == Status.COMPLETED:
        event = ChildCompleted(at=draft.at, number=parent.number, result=end.output)
    else:
        type, ended = _ENDED[end.status]
        fallback = Failure(type=type, message=f"child workflow {draft.head.id!r} {ended}")
        event = ChildFailed(at=draft.at, number=parent.number, failure=end.failure or fallback)
    draft.send(parent.instance, event, parent.execution, parent.generation, app=parent.app)


_ENDED: dict[str, tuple[str, str]] = {
    Status.FAILED: ("WorkflowFailed", "failed"),
    Status.CANCELED: ("WorkflowCancelled", "was cancelled"),
    Status.TERMINATED: ("WorkflowTerminated", "was terminated"),
}
"""What a parent is told of a child that left no failure: the error's class as its type, and the end in words."""
