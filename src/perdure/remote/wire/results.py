"""What workers answer, as bytes of the responses to work items."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from perdure.errors import MalformedMessage
from perdure.history.actions import CreateDetached
from perdure.history.actions import SignalEntity as SignalAction
from perdure.remote.requests import ActivityResult, EntityResult, Flavour, OperationResult, TurnResult
from perdure.remote.wire.actions import ActionCodec
from perdure.remote.wire.fields import FIRST, Field, Read, Write, count, moment, note, number, text, value
from perdure.remote.wire.forms import Shape
from perdure.remote.wire.framing import framed, tag_of
from perdure.remote.wire.parts import failure, read_version, trace, version_bytes
from perdure.remote.wire.schema import DAPR_SCHEMA, MICROSOFT_SCHEMA, Schema

_SECONDS = 0x08
"""What a timestamp in a trace begins with, and the name of a version never."""
_NANOS = 0x10


def _is_trace(data: bytes, otherwise: bool) -> bool:
    """Whether the bytes are a WorkflowTraceContext and no WorkflowVersion; `otherwise` if they do not tell.

    In the one both fields are messages, in the other both are texts, which begin with no control character.
    """
    if len(data) < 3 or data[1] == 0:
        return otherwise
    return data[2] == FIRST[0] if data[0] == FIRST[0] else data[2] in {_SECONDS, _NANOS}


def _version_or_trace() -> Field:
    """The version of the code in one flavour and the trace of the workflow in the other, under one number."""

    def bind(schema: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head = tag_of(field)
        has_versions = schema.flavour is Flavour.DAPR

        def write(owner: Any) -> bytes:
            data = version_bytes(owner.patches, owner.version) if has_versions else owner.trace
            return head + framed(data) if data is not None else b""

        def read(message: Any, values: dict[str, Any]) -> None:
            if not message.HasField(field.name):
                return
            data = message.versionOrTrace
            if _is_trace(data, not has_versions):
                values["trace"] = data
            else:
                values["patches"], values["version"] = read_version(DAPR_SCHEMA.parse("WorkflowVersion", data))

        return write, read

    return Field("versionOrTrace", bind)


def _actions() -> Field:
    def bind(schema: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head, codec = tag_of(field), ActionCodec(schema)

        def write(owner: Any) -> bytes:
            return b"".join([head + framed(codec.write(action)) for action in owner.actions])

        def read(message: Any, values: dict[str, Any]) -> None:
            values["actions"] = [codec.read(action) for action in message.actions]

        return write, read

    return Field("actions", bind)


TURN_RESULT = Shape(
    "WorkflowResponse",
    TurnResult,
    text("instanceId", "instance"),
    _actions(),
    value("customStatus", "status"),
    text("completionToken", "token"),
    count("numEventsProcessed", "processed"),
    _version_or_trace(),
    number("requiresHistory", "must_have_history"),
    number("isPartial", "is_partial"),
    count("chunkIndex", "chunk"),
)
ACTIVITY_RESULT = Shape(
    "ActivityResponse",
    ActivityResult,
    text("instanceId", "instance"),
    number("taskId", "number"),
    value("result"),
    failure(),
    text("completionToken", "token"),
)
SUCCESS = Shape("OperationResultSuccess", OperationResult, value("result"))
FAILED = Shape("OperationResultFailure", OperationResult, failure(needed=True))
SIGNAL = Shape(
    "SendSignalAction",
    SignalAction,
    text("instanceId", "target"),
    text("name", "operation"),
    value("input"),
    moment("scheduledTime", "scheduled", "scheduled_nanos"),
)
START = Shape(
    "StartNewWorkflowAction",
    CreateDetached,
    text("instanceId", "instance"),
    text("name"),
    note("version"),
    value("input"),
    moment("scheduledTime", "scheduled", "scheduled_nanos"),
    trace(),
)


def read_entity_result(data: bytes) -> EntityResult:
    """The answer to a batch of operations. Raises MalformedMessage. A state that is empty is no state."""
    message = MICROSOFT_SCHEMA.parse("EntityBatchResult", data)
    values: dict[str, Any] = {}
    for field in _ENTITY_FIELDS:
        field(message, values)
    return EntityResult(
        token=message.completionToken,
        results=[_read_operation(result) for result in message.results],
        actions=[_read_entity_action(action) for action in message.actions],
        state=values["state"] if message.entityState.value else None,
        failure=values["failure"],
        must_have_state=message.requiresState,
    )


def _bound(field: Field) -> Read:
    return field.bind(MICROSOFT_SCHEMA, MICROSOFT_SCHEMA.fields("EntityBatchResult")[field.wire])[1]


_ENTITY_FIELDS = (_bound(value("entityState", "state")), _bound(failure()))


def _read_operation(message: Any) -> OperationResult:
    which = message.WhichOneof("resultType")
    if which is None:
        raise MalformedMessage("the result of an operation is neither success nor failure")
    shape = SUCCESS if which == "success" else FAILED
    found: OperationResult = shape.form(MICROSOFT_SCHEMA).read(getattr(message, which))
    return found


def _read_entity_action(message: Any) -> SignalAction | CreateDetached:
    which = message.WhichOneof("operationActionType")
    if which is None:
        raise MalformedMessage("an entity asked for an action of a kind that is not known here")
    shape = SIGNAL if which == "sendSignal" else START
    found: SignalAction | CreateDetached = shape.form(MICROSOFT_SCHEMA).read(getattr(message, which), number=message.id)
    return found
