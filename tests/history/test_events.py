"""Every event and action of both wire flavours has a lossless place: the table of fields, and its proof.

Each block is `event = our class`, then `wire field = our field` for each field, messages flattened to leaves.
A timestamp takes two fields of ours (microseconds and the rest of nanoseconds).
"""

from __future__ import annotations

import inspect
import types
import typing
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from perdure.clock import to_microseconds
from perdure.codec import JSON, TEXT, Payload
from perdure.history import actions, events, options
from perdure.history.events import Event, decode_event, decode_segment, encode_event, encode_segment

ENVELOPE = """
eventId = event_id
timestamp = at+at_nanos
router.sourceAppID = router.source_app
router.targetAppID = router.target_app
router.targetAppNamespace = router.target_namespace
"""

DAPR_EVENTS = """
executionStarted = RunStarted
    name = name
    version = version
    input = input
    workflowInstance.instanceId = instance
    workflowInstance.executionId = execution
    parentInstance.taskScheduledId = parent.number
    parentInstance.name = parent.name
    parentInstance.version = parent.version
    parentInstance.workflowInstance.instanceId = parent.instance
    parentInstance.workflowInstance.executionId = parent.execution
    parentInstance.appID = parent.app
    parentInstance.appNamespace = parent.namespace
    scheduledStartTimestamp = scheduled+scheduled_nanos
    parentTraceContext.traceParent = trace.parent
    parentTraceContext.spanID = trace.span
    parentTraceContext.traceState = trace.state
    workflowSpanID = span
    tags = tags
executionCompleted = RunCompleted
    workflowStatus = status
    result = output
    failureDetails.errorType = failure.type
    failureDetails.errorMessage = failure.message
    failureDetails.stackTrace = failure.stack
    failureDetails.innerFailure = failure.cause
    failureDetails.isNonRetriable = failure.non_retryable
executionTerminated = RunTerminated
    input = output
    recurse = recursive
taskScheduled = ActivityScheduled
    name = name
    version = version
    input = input
    parentTraceContext.traceParent = trace.parent
    parentTraceContext.spanID = trace.span
    parentTraceContext.traceState = trace.state
    taskExecutionId = key
    rerunParentInstanceInfo.instanceID = rerun_of
    historyPropagationScope = propagation
taskCompleted = ActivityCompleted
    taskScheduledId = number
    result = result
    taskExecutionId = key
    attestation = attestation
    signerCertificate = signer
taskFailed = ActivityFailed
    taskScheduledId = number
    failureDetails.errorType = failure.type
    failureDetails.errorMessage = failure.message
    failureDetails.stackTrace = failure.stack
    failureDetails.innerFailure = failure.cause
    failureDetails.isNonRetriable = failure.non_retryable
    taskExecutionId = key
    attestation = attestation
    signerCertificate = signer
childWorkflowInstanceCreated = ChildCreated
    instanceId = instance
    name = name
    version = version
    input = input
    parentTraceContext.traceParent = trace.parent
    parentTraceContext.spanID = trace.span
    parentTraceContext.traceState = trace.state
    rerunParentInstanceInfo.instanceID = rerun_of
    historyPropagationScope = propagation
    retryParentInstanceInfo.instanceID = retry_of
childWorkflowInstanceCompleted = ChildCompleted
    taskScheduledId = number
    result = result
    attestation = attestation
    signerCertificate = signer
childWorkflowInstanceFailed = ChildFailed
    taskScheduledId = number
    failureDetails.errorType = failure.type
    failureDetails.errorMessage = failure.message
    failureDetails.stackTrace = failure.stack
    failureDetails.innerFailure = failure.cause
    failureDetails.isNonRetriable = failure.non_retryable
    attestation = attestation
    signerCertificate = signer
timerCreated = TimerCreated
    fireAt = due+due_nanos
    name = name
    rerunParentInstanceInfo.instanceID = rerun_of
    createTimer = origin.kind
    externalEvent.name = origin.about
    activityRetry.taskExecutionId = origin.about
    childWorkflowRetry.instanceId = origin.about
timerFired = TimerFired
    fireAt = due+due_nanos
    timerId = number
workflowStarted = TurnStarted
    version.patches = patches
    version.name = version
workflowCompleted = TurnCompleted
eventSent = EventSent
    instanceId = instance
    name = name
    input = data
eventRaised = EventRaised
    name = name
    input = data
continueAsNew = RunContinued
    input = input
executionSuspended = RunSuspended
    input = reason
executionResumed = RunResumed
    input = reason
executionStalled = RunStalled
    reason = reason
    description = description
detachedWorkflowInstanceCreated = DetachedCreated
    instanceId = instance
"""

DAPR_ACTIONS = """
scheduleTask = ScheduleActivity
    name = name
    version = version
    input = input
    taskExecutionId = key
    historyPropagationScope = propagation
createChildWorkflow = CreateChild
    instanceId = instance
    name = name
    version = version
    input = input
    historyPropagationScope = propagation
    retryParentInstanceInfo.instanceID = retry_of
createTimer = CreateTimer
    fireAt = due+due_nanos
    name = name
    createTimer = origin.kind
    externalEvent.name = origin.about
    activityRetry.taskExecutionId = origin.about
    childWorkflowRetry.instanceId = origin.about
sendEvent = SendEvent
    instance.instanceId = instance
    instance.executionId = execution
    name = name
    data = data
completeWorkflow = CompleteRun
    workflowStatus = status
    result = output
    details = details
    newVersion = version
    carryoverEvents = events
    failureDetails.errorType = failure.type
    failureDetails.errorMessage = failure.message
    failureDetails.stackTrace = failure.stack
    failureDetails.innerFailure = failure.cause
    failureDetails.isNonRetriable = failure.non_retryable
terminateWorkflow = TerminateInstance
    instanceId = instance
    reason = output
    recurse = recursive
workflowVersionNotAvailable = ReportMissingVersion
createDetachedWorkflow = CreateDetached
    instanceId = instance
    name = name
    version = version
    input = input
    scheduledStartTimestamp = scheduled+scheduled_nanos
    executionId = execution
    tags = tags
    parentTraceContext.traceParent = trace.parent
    parentTraceContext.spanID = trace.span
    parentTraceContext.traceState = trace.state
"""

MICROSOFT_EVENTS = """
executionStarted = RunStarted
    name = name
    version = version
    input = input
    orchestrationInstance.instanceId = instance
    orchestrationInstance.executionId = execution
    parentInstance.taskScheduledId = parent.number
    parentInstance.name = parent.name
    parentInstance.version = parent.version
    parentInstance.orchestrationInstance.instanceId = parent.instance
    parentInstance.orchestrationInstance.executionId = parent.execution
    scheduledStartTimestamp = scheduled+scheduled_nanos
    parentTraceContext.traceParent = trace.parent
    parentTraceContext.spanID = trace.span
    parentTraceContext.traceState = trace.state
    orchestrationSpanID = span
    tags = tags
executionCompleted = RunCompleted
    orchestrationStatus = status
    result = output
    failureDetails.errorType = failure.type
    failureDetails.errorMessage = failure.message
    failureDetails.stackTrace = failure.stack
    failureDetails.innerFailure = failure.cause
    failureDetails.isNonRetriable = failure.non_retryable
    failureDetails.properties = failure.properties
executionTerminated = RunTerminated
    input = output
    recurse = recursive
taskScheduled = ActivityScheduled
    name = name
    version = version
    input = input
    parentTraceContext.traceParent = trace.parent
    parentTraceContext.spanID = trace.span
    parentTraceContext.traceState = trace.state
    tags = tags
taskCompleted = ActivityCompleted
    taskScheduledId = number
    result = result
taskFailed = ActivityFailed
    taskScheduledId = number
    failureDetails.errorType = failure.type
    failureDetails.errorMessage = failure.message
    failureDetails.stackTrace = failure.stack
    failureDetails.innerFailure = failure.cause
    failureDetails.isNonRetriable = failure.non_retryable
    failureDetails.properties = failure.properties
subOrchestrationInstanceCreated = ChildCreated
    instanceId = instance
    name = name
    version = version
    input = input
    parentTraceContext.traceParent = trace.parent
    parentTraceContext.spanID = trace.span
    parentTraceContext.traceState = trace.state
    tags = tags
subOrchestrationInstanceCompleted = ChildCompleted
    taskScheduledId = number
    result = result
subOrchestrationInstanceFailed = ChildFailed
    taskScheduledId = number
    failureDetails.errorType = failure.type
    failureDetails.errorMessage = failure.message
    failureDetails.stackTrace = failure.stack
    failureDetails.innerFailure = failure.cause
    failureDetails.isNonRetriable = failure.non_retryable
    failureDetails.properties = failure.properties
timerCreated = TimerCreated
    fireAt = due+due_nanos
timerFired = TimerFired
    fireAt = due+due_nanos
    timerId = number
orchestratorStarted = TurnStarted
orchestratorCompleted = TurnCompleted
eventSent = EventSent
    instanceId = instance
    name = name
    input = data
eventRaised = EventRaised
    name = name
    input = data
genericEvent = NoteRecorded
    data = data
historyState = StateRecorded
    orchestrationState = state
continueAsNew = RunContinued
    input = input
executionSuspended = RunSuspended
    input = reason
executionResumed = RunResumed
    input = reason
entityOperationSignaled = EntitySignaled
    requestId = request
    operation = operation
    scheduledTime = scheduled+scheduled_nanos
    input = input
    targetInstanceId = target
entityOperationCalled = EntityCalled
    requestId = request
    operation = operation
    scheduledTime = scheduled+scheduled_nanos
    input = input
    parentInstanceId = parent_instance
    parentExecutionId = parent_execution
    targetInstanceId = target
entityOperationCompleted = EntityCompleted
    requestId = request
    output = output
entityOperationFailed = EntityFailed
    requestId = request
    failureDetails.errorType = failure.type
    failureDetails.errorMessage = failure.message
    failureDetails.stackTrace = failure.stack
    failureDetails.innerFailure = failure.cause
    failureDetails.isNonRetriable = failure.non_retryable
    failureDetails.properties = failure.properties
entityLockRequested = EntityLockRequested
    criticalSectionId = section
    lockSet = locks
    position = position
    parentInstanceId = parent_instance
entityLockGranted = EntityLockGranted
    criticalSectionId = section
entityUnlockSent = EntityUnlocked
    criticalSectionId = section
    parentInstanceId = parent_instance
    targetInstanceId = target
executionRewound = RunRewound
    reason = reason
    parentExecutionId = execution
    instanceId = instance
    parentTraceContext.traceParent = trace.parent
    parentTraceContext.spanID = trace.span
    parentTraceContext.traceState = trace.state
    name = name
    version = version
    input = input
    parentInstance.taskScheduledId = parent.number
    parentInstance.name = parent.name
    parentInstance.version = parent.version
    parentInstance.orchestrationInstance.instanceId = parent.instance
    parentInstance.orchestrationInstance.executionId = parent.execution
    tags = tags
"""

MICROSOFT_ACTIONS = """
scheduleTask = ScheduleActivity
    name = name
    version = version
    input = input
    tags = tags
    parentTraceContext.traceParent = trace.parent
    parentTraceContext.spanID = trace.span
    parentTraceContext.traceState = trace.state
createSubOrchestration = CreateChild
    instanceId = instance
    name = name
    version = version
    input = input
    parentTraceContext.traceParent = trace.parent
    parentTraceContext.spanID = trace.span
    parentTraceContext.traceState = trace.state
    tags = tags
createTimer = CreateTimer
    fireAt = due+due_nanos
sendEvent = SendEvent
    instance.instanceId = instance
    instance.executionId = execution
    name = name
    data = data
completeOrchestration = CompleteRun
    orchestrationStatus = status
    result = output
    details = details
    newVersion = version
    carryoverEvents = events
    failureDetails.errorType = failure.type
    failureDetails.errorMessage = failure.message
    failureDetails.stackTrace = failure.stack
    failureDetails.innerFailure = failure.cause
    failureDetails.isNonRetriable = failure.non_retryable
    failureDetails.properties = failure.properties
    tags = tags
terminateOrchestration = TerminateInstance
    instanceId = instance
    reason = output
    recurse = recursive
sendEntityMessage.entityOperationSignaled = SignalEntity
    requestId = request
    operation = operation
    scheduledTime = scheduled+scheduled_nanos
    input = input
    targetInstanceId = target
sendEntityMessage.entityOperationCalled = CallEntity
    requestId = request
    operation = operation
    scheduledTime = scheduled+scheduled_nanos
    input = input
    parentInstanceId = parent_instance
    parentExecutionId = parent_execution
    targetInstanceId = target
sendEntityMessage.entityLockRequested = RequestEntityLock
    criticalSectionId = section
    lockSet = locks
    position = position
    parentInstanceId = parent_instance
sendEntityMessage.entityUnlockSent = UnlockEntity
    criticalSectionId = section
    parentInstanceId = parent_instance
    targetInstanceId = target
rewindOrchestration = RewindRun
    newHistory = history
"""

CONTINUED = {"output": "input"}

END_OF_TIME = to_microseconds(datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC))


def blocks(table: str, module: types.ModuleType) -> list[tuple[str, type, dict[str, str]]]:
    """(wire name, our class, {wire field: our field}) of each block."""
    found: list[tuple[str, type, dict[str, str]]] = []
    for line in table.strip().splitlines():
        left, right = (part.strip() for part in line.split(" = "))
        if line.startswith(" "):
            found[-1][2][left] = right
        else:
            found.append((left, getattr(module, right), {}))
    return found


EVENTS = [("dapr", *block) for block in blocks(DAPR_EVENTS, events)] + [
    ("microsoft", *block) for block in blocks(MICROSOFT_EVENTS, events)
]
ACTIONS = [("dapr", *block) for block in blocks(DAPR_ACTIONS, actions)] + [
    ("microsoft", *block) for block in blocks(MICROSOFT_ACTIONS, actions)
]


PLAIN: dict[Any, Any] = {
    str: "text ä 🚀",
    int: END_OF_TIME,
    bool: True,
    float: 1.5,
    bytes: b"\x00\xff",
    Raw: Raw(b'{"n":[1,null]}'),
    Any: {"deep": [1, None, "x"]},
}


def name_of(case: Any) -> str:
    return case if isinstance(case, str) else getattr(case, "__name__", "")


def filled(expected: Any, depth: int = 0) -> Any:
    """A value of a field's type that is not its default, with everything in it filled."""
    arms = [arm for arm in typing.get_args(expected) if arm is not type(None)]
    if isinstance(expected, types.UnionType):
        return filled(arms[0], depth)
    if isinstance(expected, type) and issubclass(expected, msgspec.Struct):
        return filled_struct(expected, depth)
    origin = typing.get_origin(expected)
    if origin is list:
        return [filled(arms[0], depth + 1)]
    if origin is dict:
        return {"key ä": filled(arms[1], depth + 1)}
    if origin is tuple:
        return (filled(arms[0], depth + 1),)
    return PLAIN[expected]


def filled_struct(kind: type, depth: int = 0) -> Any:
    if kind is Payload:
        return Payload(TEXT if depth % 2 else JSON, "key-7", Raw(b'"not {json\\u00e4"'))
    values = {}
    for name, expected in typing.get_type_hints(kind).items():
        if name.endswith("_nanos"):
            values[name] = 999
        elif expected == typing.Optional[kind] or name == "cause":  # noqa: UP045
            values[name] = filled_struct(kind, depth + 1) if depth < 3 else None
        elif name in ("history", "arrivals", "events"):
            values[name] = (
                [events.TurnStarted(at=5), events.EventRaised(at=6, name="n")] if expected is not Raw else Raw(b"[]")
            )
        elif name in kind.__struct_fields__:
            values[name] = filled(expected, depth + 1)
    return kind(**values)


def kind_at(kind: Any, path: str) -> Any:
    """The type of the field at a dotted path."""
    for step in path.split("."):
        arms = [
            arm
            for arm in (typing.get_args(kind) or (kind,))
            if isinstance(arm, type) and issubclass(arm, msgspec.Struct)
        ]
        kind = typing.get_type_hints(arms[0])[step]
    return kind


@pytest.mark.parametrize("flavour, wire, kind, fields", [*EVENTS, *ACTIONS], ids=name_of)
def test_every_field_of_the_wire_has_a_field_here(flavour, wire, kind, fields):
    for place in fields.values():
        for path in place.split("+"):
            assert kind_at(kind, path) is not None


@pytest.mark.parametrize("flavour, wire, kind, fields", [*EVENTS, *ACTIONS], ids=name_of)
def test_no_two_fields_share_a_place(flavour, wire, kind, fields):
    places = [place for place in fields.values() if not place.startswith("origin.")]
    assert len(places) == len(set(places))


def test_the_envelope_has_its_places():
    for line in ENVELOPE.strip().splitlines():
        for path in line.split(" = ")[1].split("+"):
            assert kind_at(Event, path) is not None


@pytest.mark.parametrize("flavour, wire, kind, fields", EVENTS, ids=name_of)
def test_a_filled_event_survives_json(flavour, wire, kind, fields):
    event = filled_struct(kind)
    for name in kind.__struct_fields__:
        assert getattr(event, name) not in (None, 0, "", False), name
    again = decode_event(encode_event(event))
    assert type(again) is kind
    assert again == event
    assert decode_segment(encode_segment([event, event])) == [event, event]


@pytest.mark.parametrize("flavour, wire, kind, fields", ACTIONS, ids=name_of)
def test_a_filled_action_survives_json(flavour, wire, kind, fields):
    action = filled_struct(kind)
    again = msgspec.json.decode(msgspec.json.encode(action), type=kind)
    if hasattr(action, "events"):
        again = msgspec.structs.replace(again, events=[decode_event(msgspec.json.encode(one)) for one in again.events])
    assert again == action


def test_a_completion_that_continues_keeps_every_field_too():
    for _, wire, kind, fields in ACTIONS:
        if kind is actions.CompleteRun:
            for place in fields.values():
                if place != "status":
                    assert kind_at(actions.ContinueRun, CONTINUED.get(place, place)) is not None, (
                        wire,
                        place,
                    )


def test_both_flavours_are_whole():
    """The numbers are those of the two schemas: variants of HistoryEvent, variants of the action message."""
    count = {flavour: len([1 for one, *_ in EVENTS if one == flavour]) for flavour in ("dapr", "microsoft")}
    assert count == {"dapr": 20, "microsoft": 28}
    count = {flavour: len([1 for one, *_ in ACTIONS if one == flavour]) for flavour in ("dapr", "microsoft")}
    assert count == {"dapr": 8, "microsoft": 11}


def test_the_end_of_time_keeps_its_nanoseconds():
    event = events.TimerCreated(number=1, due=END_OF_TIME, due_nanos=999, at=END_OF_TIME, at_nanos=999)
    again = decode_event(encode_event(event))
    assert (again.due, again.due_nanos, again.at, again.at_nanos) == (253_402_300_799_999_999, 999) * 2


def test_text_that_is_no_json_survives_as_a_payload():
    for data in (b'""', b'"null"', b'"{\\"a\\": 1} trailing"', b'"\\u0000"'):
        payload = Payload(TEXT, None, Raw(data))
        event = events.EventRaised(name="n", data=payload)
        assert bytes(decode_event(encode_event(event)).data.data) == data


def test_every_event_of_ours_is_an_event_that_history_reads():
    kinds = {
        kind
        for kind in vars(events).values()
        if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
    }
    assert kinds == set(typing.get_args(events.AnyLetter))


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"{}",
        b"[]",
        b'{"type":"Unheard"}',
        b'{"type":"RunStarted"}',
        b'{"type":"TimerFired","number":"x"}',
    ],
)
def test_bytes_that_are_no_event_are_refused(bad):
    with pytest.raises(ValueError, match=r"."):
        decode_event(bad)


def test_a_field_of_a_newer_version_does_not_break_an_older_reader():
    data = b'{"type":"EventRaised","name":"n","of_tomorrow":{"a":[1]}}'
    assert decode_event(data) == events.EventRaised(name="n")


def test_annotations_are_texts_only_where_they_have_to_be() -> None:
    """Because msgspec compiles each text anew for each class, which every `import perdure` would pay for."""
    texts = [
        f"{one.__name__}.{name}"
        for module in (events, options)
        for one in vars(module).values()
        if isinstance(one, type) and one.__module__ == module.__name__
        for name, annotation in inspect.get_annotations(one).items()
        if isinstance(annotation, str)
    ]
    assert texts == ["Failure.cause", "RunForked.history", "RunForked.arrivals"]
