"""What clients ask of instances, read from either flavour: where they differ, the kind of a field tells which it is.

A field that one flavour sends as a number and the other as a message is unknown to whichever does not mean it, so a
request that differs is read as both.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from perdure.remote.requests import (
    AboutInstance,
    Pause,
    Purge,
    RaiseEvent,
    Rerun,
    Selection,
    StartInstance,
    Terminate,
    TerminateBatch,
)
from perdure.remote.wire.fields import Field, Read, Write, moment, note, number, optional, read_value, tags, text, value
from perdure.remote.wire.forms import Shape
from perdure.remote.wire.framing import framed, tag, tag_of
from perdure.remote.wire.parts import trace
from perdure.remote.wire.schema import DAPR_SCHEMA, MICROSOFT_SCHEMA, Schema
from perdure.remote.wire.statuses import statuses_of
from perdure.remote.wire.times import read_time_up

_TARGET = tag(2)
_END = frozenset(("", "0"))
"""Cursors that stand for none."""


def _app() -> Field:
    """The app that a request is for."""

    def bind(_: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head = tag_of(field)

        def write(owner: Any) -> bytes:
            return head + framed(_TARGET + framed(owner.app.encode())) if owner.app is not None else b""

        def read(message: Any, values: dict[str, Any]) -> None:
            if message.HasField("router") and message.router.HasField("targetAppID"):
                values["app"] = message.router.targetAppID

        return write, read

    return Field("router", bind)


_INSTANCE = text("instanceId", "instance")
START = Shape(
    "CreateInstanceRequest",
    StartInstance,
    _INSTANCE,
    text("name"),
    note("version"),
    value("input"),
    moment("scheduledStartTimestamp", "scheduled", "scheduled_nanos"),
    note("executionId", "execution"),
    tags(),
    trace(),
    number("enforceUniqueInstanceId", "must_be_new"),
    _app(),
)
RAISE = Shape("RaiseEventRequest", RaiseEvent, _INSTANCE, text("name"), value("input", "data"), _app())
TERMINATE = Shape("TerminateRequest", Terminate, _INSTANCE, value("output"), number("recursive"), _app())
PAUSE = Shape("SuspendRequest", Pause, _INSTANCE, value("reason"), _app())
"""A request to resume is the same."""
ABOUT = Shape("GetInstanceRequest", AboutInstance, _INSTANCE, number("getInputsAndOutputs", "with_payloads"), _app())
RERUN = Shape(
    "RerunWorkflowFromEventRequest",
    Rerun,
    text("sourceInstanceID", "source"),
    number("eventID", "number"),
    text("newInstanceID", "instance"),
    value("input"),
    number("overwriteInput", "replaces_input"),
    optional("newChildWorkflowInstanceID", "child"),
)


def _read(shape: Shape, data: bytes) -> Any:
    return shape.form(DAPR_SCHEMA).read(DAPR_SCHEMA.parse(shape.name, data))


def read_start(data: bytes) -> StartInstance:
    """A CreateInstanceRequest. Raises MalformedMessage."""
    values = START.form(DAPR_SCHEMA).values(DAPR_SCHEMA.parse(START.name, data))
    other = MICROSOFT_SCHEMA.parse(START.name, data)
    if other.HasField("workflowIdReusePolicy"):
        values["replaceable"] = statuses_of(other.workflowIdReusePolicy.replaceableStatus)
    return StartInstance(**values)


def read_raise(data: bytes) -> RaiseEvent:
    """A RaiseEventRequest. Raises MalformedMessage."""
    found: RaiseEvent = _read(RAISE, data)
    return found


def read_terminate(data: bytes) -> Terminate:
    """A TerminateRequest. Raises MalformedMessage."""
    found: Terminate = _read(TERMINATE, data)
    return found


def read_pause(data: bytes) -> Pause:
    """A SuspendRequest or ResumeRequest. Raises MalformedMessage."""
    found: Pause = _read(PAUSE, data)
    return found


def read_rerun(data: bytes) -> Rerun:
    """A RerunWorkflowFromEventRequest. Raises MalformedMessage."""
    found: Rerun = _read(RERUN, data)
    return found


def read_about(data: bytes) -> AboutInstance:
    """A request that names one instance: to get it, wait for it, rewind or restart it, or to be shown its history.

    What the second and third field mean only the call tells, so each meaning that fits is there: a flag says both
    `with_payloads` and `with_new_id`, a text both `reason` and `execution`. Raises MalformedMessage.
    """
    values = ABOUT.form(DAPR_SCHEMA).values(DAPR_SCHEMA.parse(ABOUT.name, data))
    other = MICROSOFT_SCHEMA.parse("StreamInstanceHistoryRequest", data)
    return AboutInstance(
        **values,
        with_new_id=values["with_payloads"],
        reason=read_value(other, "executionId"),
        execution=other.executionId.value if other.HasField("executionId") else None,
        for_work=other.forWorkItemProcessing,
    )


def read_purge(data: bytes) -> Purge:
    """A PurgeInstancesRequest. Raises MalformedMessage.

    A request that selects nothing has neither instances nor a selection.
    """
    dapr = DAPR_SCHEMA.parse("PurgeInstancesRequest", data)
    other = MICROSOFT_SCHEMA.parse("PurgeInstancesRequest", data)
    which = other.WhichOneof("request")
    instances: list[str] = []
    selection = seconds_max = None
    if which == "instanceId":
        instances = [other.instanceId]
    elif which == "instanceBatch":
        instances = list(other.instanceBatch.instanceIds)
    elif which == "purgeInstanceFilter":
        filter = other.purgeInstanceFilter
        selection = Selection(
            statuses=statuses_of(filter.runtimeStatus),
            since=time_or_none(filter, "createdTimeFrom"),
            until=time_or_none(filter, "createdTimeTo"),
        )
        if filter.HasField("timeout"):
            seconds_max = filter.timeout.seconds + filter.timeout.nanos / 1e9
    has_app = dapr.HasField("router") and dapr.router.HasField("targetAppID")
    return Purge(
        instances=instances,
        selection=selection,
        recursive=other.recursive,
        forced=dapr.force,
        seconds_max=seconds_max,
        app=dapr.router.targetAppID if has_app else None,
    )


def time_or_none(message: Any, wire: str) -> int | None:
    """A bound of a range of instants, None if it is absent."""
    return read_time_up(getattr(message, wire)) if message.HasField(wire) else None


def cursor_of(message: Any, wire: str) -> str | None:
    """Where a list goes on, None at its beginning."""
    found: str = getattr(message, wire).value
    return None if found in _END else found


def read_query(data: bytes) -> Selection:
    """A QueryInstancesRequest, which one flavour has. Raises MalformedMessage."""
    query = MICROSOFT_SCHEMA.parse("QueryInstancesRequest", data).query
    return Selection(
        statuses=statuses_of(query.runtimeStatus),
        since=time_or_none(query, "createdTimeFrom"),
        until=time_or_none(query, "createdTimeTo"),
        prefix=query.instanceIdPrefix.value,
        limit=max(query.maxInstanceCount, 0),
        cursor=cursor_of(query, "continuationToken"),
        with_payloads=query.fetchInputsAndOutputs,
    )


def read_list_of_dapr(data: bytes) -> Selection:
    """A ListInstanceIDsRequest. Raises MalformedMessage."""
    message = DAPR_SCHEMA.parse("ListInstanceIDsRequest", data)
    cursor = message.continuationToken
    return Selection(limit=message.pageSize, cursor=None if cursor in _END else cursor)


def read_list_of_microsoft(data: bytes) -> Selection:
    """A ListInstanceIdsRequest, whose times are those of completion. Raises MalformedMessage."""
    message = MICROSOFT_SCHEMA.parse("ListInstanceIdsRequest", data)
    return Selection(
        statuses=statuses_of(message.runtimeStatus),
        finished_since=time_or_none(message, "completedTimeFrom"),
        finished_until=time_or_none(message, "completedTimeTo"),
        limit=max(message.pageSize, 0),
        cursor=cursor_of(message, "lastInstanceKey"),
    )


def read_terminate_batch(data: bytes) -> TerminateBatch:
    """A SkipGracefulOrchestrationTerminationsRequest, which one flavour has. Raises MalformedMessage."""
    message = MICROSOFT_SCHEMA.parse("SkipGracefulWorkflowTerminationsRequest", data)
    return TerminateBatch(instances=list(message.instanceBatch.instanceIds), reason=read_value(message, "reason"))


def read_abandon(data: bytes) -> str:
    """The token of a work item that its worker gives back. Raises MalformedMessage."""
    token: str = MICROSOFT_SCHEMA.parse("AbandonWorkflowTaskRequest", data).completionToken
    return token
