"""What each action of a worker looks like on the wire, in both flavours at once."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from perdure.errors import MalformedMessage
from perdure.history import actions as ours
from perdure.history.actions import Action, CompleteRun, ContinueRun, ReportMissingVersion
from perdure.remote.requests import Flavour
from perdure.remote.wire.event_shapes import CALLER, LOCKS, OPERATION
from perdure.remote.wire.events import events_of
from perdure.remote.wire.fields import (
    Field,
    Read,
    Write,
    code,
    moment,
    note,
    number,
    optional,
    scope,
    tags,
    text,
    value,
    within,
)
from perdure.remote.wire.forms import Shape
from perdure.remote.wire.framing import LENGTH, framed, tag, tag_of
from perdure.remote.wire.parts import TRACE, failure, origins, pair, trace
from perdure.remote.wire.schema import MICROSOFT_SCHEMA, Schema
from perdure.remote.wire.statuses import CONTINUED, ENDS, STALLED, STATUSES

_TRACE_TAGS = frozenset(tag(field, LENGTH)[0] for field in (1, 2, 3))
"""What a trace begins with, and an id in text never: they are control characters."""


def _id_or_trace() -> Field:
    """A task's id in one flavour and its trace in the other, under one number."""

    def bind(schema: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head, traces = tag_of(field), TRACE.form(MICROSOFT_SCHEMA)
        has_ids = schema.flavour is Flavour.DAPR

        def write(owner: Any) -> bytes:
            if has_ids:
                return head + framed(owner.key.encode()) if owner.key else b""
            return head + framed(traces.write(owner.trace)) if owner.trace is not None else b""

        def read(message: Any, values: dict[str, Any]) -> None:
            data = message.idOrTrace
            if not data:
                return
            if data[0] in _TRACE_TAGS:
                values["trace"] = traces.read(MICROSOFT_SCHEMA.parse("TraceContext", data))
            else:
                values["key"] = _utf8(data)

        return write, read

    return Field("idOrTrace", bind)


def _utf8(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise MalformedMessage("the id of a task is no UTF-8") from None


def _carried() -> Field:
    """Events that the next run takes over."""

    def bind(schema: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head, codec = tag_of(field), events_of(schema)

        def write(owner: Any) -> bytes:
            found = [codec.write(event) for event in owner.events]
            return b"".join([head + framed(data) for data in found if data is not None])

        def read(message: Any, values: dict[str, Any]) -> None:
            values["events"] = [codec.read(event) for event in message.carryoverEvents]

        return write, read

    return Field("carryoverEvents", bind)


def _always(wire: str, word: str) -> Field:
    """A status that is the same in every record of a kind, and that no record has a place for."""

    def bind(schema: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        constant = type("Constant", (), {"status": word})()
        write, _ = code(wire, "status", STATUSES).bind(schema, field)
        data = write(constant)
        return (lambda _: data), (lambda _, values: None)

    return Field(wire, bind)


def _completion(**values: Any) -> Action:
    """How a run ends. Raises MalformedMessage for a status that ends nothing."""
    status = values["status"]
    if status in ENDS:
        return CompleteRun(**values, keep_calls=True)
    if status == CONTINUED:
        del values["status"]
        return ContinueRun(input=values.pop("output"), **values)
    if status == STALLED:
        return ReportMissingVersion(number=values.get("number", 0), router=values.get("router"))
    raise MalformedMessage(f"a run cannot end as {status}; send one of {', '.join(sorted(ENDS))} or {CONTINUED}")


_KIND = (text("instanceId", "instance"), text("name"), note("version"), value("input"))
_END = (note("details"), note("newVersion", "version"), _carried(), failure(), tags())
_SCOPE = scope("historyPropagationScope", "propagation")
_TARGET = note("targetInstanceId", "target", absent="")

ACTIONS: dict[str, Shape] = {
    "scheduleTask": Shape(
        "ScheduleTaskAction",
        ours.ScheduleActivity,
        *(text("name"), note("version"), value("input"), tags(), _id_or_trace(), _SCOPE),
    ),
    "createChildWorkflow": Shape(
        "CreateChildWorkflowAction",
        ours.CreateChild,
        *(*_KIND, trace(), tags(), _SCOPE, within("retryParentInstanceInfo", "instanceID", "retry_of")),
    ),
    "createTimer": Shape(
        "CreateTimerAction",
        ours.CreateTimer,
        *(moment("fireAt", "due", "due_nanos", absent=0), optional("name"), *origins()),
    ),
    "sendEvent": Shape(
        "SendEventAction",
        ours.SendEvent,
        pair("instance", attrgetter("execution"), no_execution=None),
        text("name"),
        value("data"),
    ),
    "completeWorkflow": Shape(
        "CompleteWorkflowAction",
        _completion,
        *(code("workflowStatus", "status", STATUSES), value("result", "output"), *_END),
    ),
    "terminateWorkflow": Shape(
        "TerminateWorkflowAction",
        ours.TerminateInstance,
        *(text("instanceId", "instance"), value("reason", "output"), number("recurse", "recursive")),
    ),
    "workflowVersionNotAvailable": Shape("WorkflowVersionNotAvailableAction", ours.ReportMissingVersion),
    "createDetachedWorkflow": Shape(
        "CreateDetachedWorkflowAction",
        ours.CreateDetached,
        *_KIND,
        moment("scheduledStartTimestamp", "scheduled", "scheduled_nanos"),
        note("executionId", "execution"),
        tags(),
        trace(),
    ),
}
"""Shapes by the fields of WorkflowAction, but for entity messages and for the one of number 9."""

CONTINUATION = Shape(
    "CompleteWorkflowAction",
    ours.ContinueRun,
    *(_always("workflowStatus", CONTINUED), value("result", "input"), *_END),
)
"""How a ContinueRun is written; it is read as a completion."""

ENTITY_MESSAGES: dict[str, Shape] = {
    "entityOperationSignaled": Shape("EntityOperationSignaledEvent", ours.SignalEntity, *OPERATION, _TARGET),
    "entityOperationCalled": Shape("EntityOperationCalledEvent", ours.CallEntity, *OPERATION, *CALLER, _TARGET),
    "entityLockRequested": Shape(
        "EntityLockRequestedEvent", ours.RequestEntityLock, *LOCKS, note("parentInstanceId", "parent_instance")
    ),
    "entityUnlockSent": Shape(
        "EntityUnlockSentEvent",
        ours.UnlockEntity,
        text("criticalSectionId", "section"),
        note("parentInstanceId", "parent_instance"),
        note("targetInstanceId", "target"),
    ),
}
"""Shapes by the fields of SendEntityMessageAction, which only one flavour has."""
