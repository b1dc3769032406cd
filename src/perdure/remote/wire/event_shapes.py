"""What each event looks like on the wire, in both flavours at once."""

from __future__ import annotations

import base64
from operator import attrgetter
from typing import Any

import msgspec
from google.protobuf.descriptor import FieldDescriptor
from msgspec import Raw

from perdure.codec import JSON, Payload, decode
from perdure.history import events as ours
from perdure.remote.wire.fields import (
    Field,
    Read,
    Write,
    code,
    moment,
    name,
    note,
    number,
    optional,
    scope,
    tags,
    text,
    texts,
    value,
    within,
)
from perdure.remote.wire.forms import Shape
from perdure.remote.wire.framing import framed, tag_of
from perdure.remote.wire.parts import attestation, failure, origins, pair, parent, trace, version
from perdure.remote.wire.schema import Schema
from perdure.remote.wire.statuses import STALL_REASONS, STATUSES


def _snapshot(wire: str, place: str) -> Field:
    """A message that is kept as it is, as JSON of its base64."""

    def bind(_: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head = tag_of(field)

        def write(owner: Any) -> bytes:
            found = getattr(owner, place)
            return head + framed(base64.b64decode(decode(found, str))) if found is not None else b""

        def read(message: Any, values: dict[str, Any]) -> None:
            if message.HasField(wire):
                values[place] = Payload(JSON, None, Raw(msgspec.json.encode(getattr(message, wire))))

        return write, read

    return Field(wire, bind)


_NUMBER = number("taskScheduledId", "number")
_CALL = (text("name"), note("version"), value("input"), trace())
_RERUN = within("rerunParentInstanceInfo", "instanceID", "rerun_of")
_SCOPE = scope("historyPropagationScope", "propagation")
_SIGNER = optional("signerCertificate", "signer")
_KEY = name("taskExecutionId", "key")
_FIRE_AT = moment("fireAt", "due", "due_nanos", absent=0)
OPERATION = (
    text("requestId", "request"),
    text("operation"),
    moment("scheduledTime", "scheduled", "scheduled_nanos"),
    value("input"),
)
"""What signals and calls of entities have in common, with the actions too."""
LOCKS = (text("criticalSectionId", "section"), texts("lockSet", "locks"), number("position"))
CALLER = (note("parentInstanceId", "parent_instance"), note("parentExecutionId", "parent_execution"))

EVENTS: dict[str, Shape] = {
    "executionStarted": Shape(
        "ExecutionStartedEvent",
        ours.RunStarted,
        *_CALL,
        pair("workflowInstance", attrgetter("execution"), nobody=None),
        parent(),
        moment("scheduledStartTimestamp", "scheduled", "scheduled_nanos"),
        note("workflowSpanID", "span"),
        tags(),
    ),
    "executionCompleted": Shape(
        "ExecutionCompletedEvent",
        ours.RunCompleted,
        code("workflowStatus", "status", STATUSES),
        value("result", "output"),
        failure(),
    ),
    "executionTerminated": Shape(
        "ExecutionTerminatedEvent", ours.RunTerminated, value("input", "output"), number("recurse", "recursive")
    ),
    "taskScheduled": Shape("TaskScheduledEvent", ours.ActivityScheduled, *_CALL, tags(), _KEY, _RERUN, _SCOPE),
    "taskCompleted": Shape(
        "TaskCompletedEvent", ours.ActivityCompleted, _NUMBER, value("result"), _KEY, attestation("Activity"), _SIGNER
    ),
    "taskFailed": Shape(
        "TaskFailedEvent", ours.ActivityFailed, _NUMBER, failure(needed=True), _KEY, attestation("Activity"), _SIGNER
    ),
    "childWorkflowInstanceCreated": Shape(
        "ChildWorkflowInstanceCreatedEvent",
        ours.ChildCreated,
        *(text("instanceId", "instance"), *_CALL, tags(), _RERUN, _SCOPE),
        within("retryParentInstanceInfo", "instanceID", "retry_of"),
    ),
    "childWorkflowInstanceCompleted": Shape(
        "ChildWorkflowInstanceCompletedEvent",
        ours.ChildCompleted,
        *(_NUMBER, value("result"), attestation("Child"), _SIGNER),
    ),
    "childWorkflowInstanceFailed": Shape(
        "ChildWorkflowInstanceFailedEvent",
        ours.ChildFailed,
        *(_NUMBER, failure(needed=True), attestation("Child"), _SIGNER),
    ),
    "timerCreated": Shape("TimerCreatedEvent", ours.TimerCreated, _FIRE_AT, optional("name"), _RERUN, *origins()),
    "timerFired": Shape("TimerFiredEvent", ours.TimerFired, _FIRE_AT, number("timerId", "number")),
    "workflowStarted": Shape("WorkflowStartedEvent", ours.TurnStarted, version()),
    "workflowCompleted": Shape("WorkflowCompletedEvent", ours.TurnCompleted),
    "eventSent": Shape(
        "EventSentEvent", ours.EventSent, text("instanceId", "instance"), text("name"), value("input", "data")
    ),
    "eventRaised": Shape("EventRaisedEvent", ours.EventRaised, text("name"), value("input", "data")),
    "genericEvent": Shape("GenericEvent", ours.NoteRecorded, value("data")),
    "historyState": Shape("HistoryStateEvent", ours.StateRecorded, _snapshot("workflowState", "state")),
    "continueAsNew": Shape("ContinueAsNewEvent", ours.RunContinued, value("input")),
    "executionSuspended": Shape("ExecutionSuspendedEvent", ours.RunSuspended, value("input", "reason")),
    "executionResumed": Shape("ExecutionResumedEvent", ours.RunResumed, value("input", "reason")),
    "executionStalled": Shape(
        "ExecutionStalledEvent",
        ours.RunStalled,
        code("reason", "reason", STALL_REASONS, otherwise=0),
        optional("description"),
    ),
    "detachedWorkflowInstanceCreated": Shape(
        "DetachedWorkflowInstanceCreatedEvent", ours.DetachedCreated, text("instanceId", "instance")
    ),
    "entityOperationSignaled": Shape(
        "EntityOperationSignaledEvent", ours.EntitySignaled, *OPERATION, note("targetInstanceId", "target")
    ),
    "entityOperationCalled": Shape(
        "EntityOperationCalledEvent", ours.EntityCalled, *OPERATION, *CALLER, note("targetInstanceId", "target")
    ),
    "entityOperationCompleted": Shape(
        "EntityOperationCompletedEvent", ours.EntityCompleted, text("requestId", "request"), value("output")
    ),
    "entityOperationFailed": Shape(
        "EntityOperationFailedEvent", ours.EntityFailed, text("requestId", "request"), failure(needed=True)
    ),
    "entityLockRequested": Shape(
        "EntityLockRequestedEvent", ours.EntityLockRequested, *LOCKS, note("parentInstanceId", "parent_instance")
    ),
    "entityLockGranted": Shape("EntityLockGrantedEvent", ours.EntityLockGranted, text("criticalSectionId", "section")),
    "entityUnlockSent": Shape(
        "EntityUnlockSentEvent",
        ours.EntityUnlocked,
        text("criticalSectionId", "section"),
        note("parentInstanceId", "parent_instance"),
        note("targetInstanceId", "target"),
    ),
}
"""Shapes by the fields of HistoryEvent, but for the one of number 30, which is none in the other flavour."""

REWOUND = Shape(
    "ExecutionRewoundEvent",
    ours.RunRewound,
    value("reason"),
    note("parentExecutionId", "execution"),
    note("instanceId", "instance"),
    trace(),
    note("name"),
    note("version"),
    value("input"),
    parent(),
    tags(),
)
