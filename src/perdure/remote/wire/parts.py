"""The parts that events, actions and answers have in common: failures, traces, parents, routers, origins, versions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from perdure.codec.values import unreadable
from perdure.history.events import Attestation, Failure, Parent, Router, TimerOrigin
from perdure.history.options import Trace
from perdure.remote.wire.execution import wire_execution
from perdure.remote.wire.fields import FIRST, Field, Read, Write, blob, note, number, optional, text
from perdure.remote.wire.forms import Shape, record
from perdure.remote.wire.framing import framed, tag_of, wrapped
from perdure.remote.wire.schema import Schema
from perdure.remote.wire.variant import map_entries, read_map


def failure(*, needed: bool = False) -> Field:
    """The failure of a message that has one."""
    return record("failureDetails", "failure", lambda: FAILURE, needed=needed)


def trace() -> Field:
    """The trace that a message continues."""
    return record("parentTraceContext", "trace", lambda: TRACE)


def parent() -> Field:
    """Who waits for the instance."""
    return record("parentInstance", "parent", lambda: PARENT)


def attestation(kind: str) -> Field:
    """A worker's signature; activities and children have messages of their own, of one shape."""
    shape = Shape(f"{kind}CompletionAttestation", Attestation, blob("payload"), blob("signature"))
    return record("attestation", "attestation", lambda: shape)


def pair(
    wire: str,
    execution: Callable[[Any], str | None],
    *,
    nobody: str | None = "",
    no_execution: str | None = "",
) -> Field:
    """An instance's id, and that of its execution as `execution` tells it; read to the places of these names.

    `nobody` and `no_execution` stand for what is not there.
    """

    def bind(schema: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head = tag_of(field)
        second = tag_of(schema.fields("WorkflowInstance")["executionId"])

        def write(owner: Any) -> bytes:
            one, two = owner.instance, execution(owner)
            if one == nobody and two == no_execution:
                return b""
            body = FIRST + framed(one.encode()) if one else b""
            if two is not None and two != no_execution:
                body += wrapped(second, two.encode())
            return head + framed(body)

        def read(message: Any, values: dict[str, Any]) -> None:
            values["instance"], values["execution"] = nobody, no_execution
            if message.HasField(wire):
                found = getattr(message, wire)
                values["instance"] = found.instanceId
                if found.HasField("executionId"):
                    values["execution"] = found.executionId.value

        return write, read

    return Field(wire, bind)


def _properties(wire: str, place: str) -> Field:
    """A map of values of JSON."""

    def bind(_: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head = tag_of(field)

        def write(owner: Any) -> bytes:
            return b"".join([head + framed(entry) for entry in map_entries(getattr(owner, place) or {})])

        def read(message: Any, values: dict[str, Any]) -> None:
            values[place] = read_map(getattr(message, wire)) or None

        return write, read

    return Field(wire, bind)


def _error_type(wire: str, place: str) -> Field:
    """The type of a failure, which is written first: a failure whose text is packed is refused here."""

    def bind(schema: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        plain, read = text(wire, place).bind(schema, field)

        def write(owner: Failure) -> bytes:
            if owner.packed is not None:
                raise unreadable(owner.packed)
            return plain(owner)

        return write, read

    return Field(wire, bind)


FAILURE: Shape = Shape(
    "TaskFailureDetails",
    Failure,
    _error_type("errorType", "type"),
    text("errorMessage", "message"),
    note("stackTrace", "stack"),
    record("innerFailure", "cause", lambda: FAILURE),
    number("isNonRetriable", "non_retryable"),
    _properties("properties", "properties"),
)
TRACE = Shape("TraceContext", Trace, text("traceParent", "parent"), text("spanID", "span"), note("traceState", "state"))
ROUTER = Shape(
    "TaskRouter",
    Router,
    text("sourceAppID", "source_app"),
    optional("targetAppID", "target_app"),
    optional("targetAppNamespace", "target_namespace"),
)


def _wire_execution_of(one: Parent) -> str:
    return wire_execution(one.execution, one.generation)


def _read_parent(**values: Any) -> Parent:
    """A parent whose execution id is the wire's own, which stands for its generation too."""
    return Parent(**values, generation=1)


PARENT = Shape(
    "ParentInstanceInfo",
    _read_parent,
    number("taskScheduledId", "number"),
    note("name"),
    note("version"),
    pair("workflowInstance", _wire_execution_of),
    optional("appID", "app"),
    optional("appNamespace", "namespace"),
)


def origins() -> tuple[Field, ...]:
    """Why a timer was created: a field for each reason, of which one is there."""
    return (
        _origin("createTimer", "timer", ""),
        _origin("externalEvent", "event", "name"),
        _origin("activityRetry", "activity-retry", "taskExecutionId"),
        _origin("childWorkflowRetry", "child-retry", "instanceId"),
    )


def _origin(wire: str, kind: str, inner: str) -> Field:
    def bind(_: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head = tag_of(field)

        def write(owner: Any) -> bytes:
            if owner.origin is None or owner.origin.kind != kind:
                return b""
            return wrapped(head, owner.origin.about.encode() if inner else b"")

        def read(message: Any, values: dict[str, Any]) -> None:
            if message.HasField(wire):
                values["origin"] = TimerOrigin(kind, getattr(getattr(message, wire), inner) if inner else "")

        return write, read

    return Field(wire, bind)


def version() -> Field:
    """The version of the code that takes a turn: `patches` and `version` of the record."""

    def bind(schema: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head = tag_of(field)

        def write(owner: Any) -> bytes:
            body = version_bytes(owner.patches, owner.version)
            return head + framed(body) if body is not None else b""

        def read(message: Any, values: dict[str, Any]) -> None:
            if message.HasField("version"):
                values["patches"], values["version"] = read_version(message.version)

        return write, read

    return Field("version", bind)


_PATCH, _NAME = FIRST, b"\x12"


def version_bytes(patches: Sequence[str] | None, name: str | None) -> bytes | None:
    """A WorkflowVersion, without tag and length; None if there is nothing to tell."""
    if patches is None and name is None:
        return None
    body = b"".join([_PATCH + framed(patch.encode()) for patch in patches or ()])
    return body if name is None else body + _NAME + framed(name.encode())


def read_version(message: Any) -> tuple[list[str] | None, str | None]:
    """(patches, name) of a WorkflowVersion; patches are None where only a name is told."""
    name = message.name if message.HasField("name") else None
    return list(message.patches) or (None if name is not None else []), name
