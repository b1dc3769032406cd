"""The other end: what a worker or client of ours sends to a foreign server, and what it reads from one."""

from __future__ import annotations

from typing import Any

from perdure.errors import InvalidArgument
from perdure.remote.requests import (
    AboutInstance,
    ActivityResult,
    Capability,
    Flavour,
    InstanceView,
    OpenStream,
    Pause,
    Purge,
    RaiseEvent,
    StartInstance,
    Terminate,
    TurnResult,
)
from perdure.remote.wire.fields import FIRST
from perdure.remote.wire.framing import VARINT, framed, tag, varint
from perdure.remote.wire.instance_answers import VIEW
from perdure.remote.wire.instance_requests import ABOUT, PAUSE, RAISE, START, TERMINATE
from perdure.remote.wire.results import ACTIVITY_RESULT, TURN_RESULT
from perdure.remote.wire.schema import Schema

_CAPABILITIES = {
    Flavour.DAPR: {Capability.STATEFUL_HISTORY: 2, Capability.HEALTH_PING: 3},
    Flavour.MICROSOFT: {
        Capability.HISTORY_STREAMING: 1,
        Capability.SCHEDULED_TASKS: 2,
        Capability.LARGE_PAYLOADS: 3,
    },
}
_RECURSIVE, _FORCED = tag(3, VARINT) + varint(1), tag(4, VARINT) + varint(1)


class PeerCodec:
    """Writes what one flavour's servers read, and reads what they write."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._flavour = schema.flavour

    # -- workers

    def write_open_stream(self, opened: OpenStream) -> bytes:
        """A GetWorkItemsRequest. Bounds, filters and a name are told where the flavour has a field for them."""
        numbers = _CAPABILITIES[self._flavour]
        message = self._schema.GetWorkItemsRequest(
            capabilities=sorted(numbers[one] for one in opened.capabilities if one in numbers)
        )
        if self._flavour is Flavour.MICROSOFT:
            message.maxConcurrentWorkflowWorkItems = opened.turns_max
            message.maxConcurrentActivityWorkItems = opened.activities_max
            message.maxConcurrentEntityWorkItems = opened.entities_max
            message.workerInstanceId = opened.worker
            _write_filters(message, opened)
        return _bytes(message)

    def write_turn_result(self, result: TurnResult) -> bytes:
        """A WorkflowResponse. Raises InvalidArgument for an action that the flavour does not have."""
        return TURN_RESULT.form(self._schema).write(result)

    def write_activity_result(self, result: ActivityResult) -> bytes:
        """An ActivityResponse."""
        return ACTIVITY_RESULT.form(self._schema).write(result)

    # -- clients

    def write_start(self, asked: StartInstance) -> bytes:
        """A CreateInstanceRequest. `replaceable` is not told: an id that is taken is refused."""
        return START.form(self._schema).write(asked)

    def write_about(self, asked: AboutInstance) -> bytes:
        """A GetInstanceRequest, also to wait."""
        return ABOUT.form(self._schema).write(asked)

    def write_raise(self, asked: RaiseEvent) -> bytes:
        """A RaiseEventRequest."""
        return RAISE.form(self._schema).write(asked)

    def write_terminate(self, asked: Terminate) -> bytes:
        """A TerminateRequest."""
        return TERMINATE.form(self._schema).write(asked)

    def write_pause(self, asked: Pause) -> bytes:
        """A SuspendRequest or a ResumeRequest."""
        return PAUSE.form(self._schema).write(asked)

    def write_purge(self, asked: Purge) -> bytes:
        """A PurgeInstancesRequest for one instance. Raises InvalidArgument if it names another number of them."""
        if len(asked.instances) != 1:
            raise InvalidArgument(f"{len(asked.instances)} instances cannot be purged in one call; purge one at a time")
        data = FIRST + framed(asked.instances[0].encode()) + (_RECURSIVE if asked.recursive else b"")
        return data + _FORCED if asked.forced and self._flavour is Flavour.DAPR else data

    def read_started(self, data: bytes) -> str:
        """The id in a CreateInstanceResponse. Raises MalformedMessage."""
        id: str = self._schema.parse("CreateInstanceResponse", data).instanceId
        return id

    def read_view(self, data: bytes) -> InstanceView | None:
        """The instance in a GetInstanceResponse, None if it does not exist. Raises MalformedMessage."""
        message = self._schema.parse("GetInstanceResponse", data)
        if not message.exists:
            return None
        view: InstanceView = VIEW.form(self._schema).read(message.workflowState)
        return view

    def read_purged(self, data: bytes) -> int:
        """How many instances a PurgeInstancesResponse says are gone. Raises MalformedMessage."""
        count: int = self._schema.parse("PurgeInstancesResponse", data).deletedInstanceCount
        return count

    def read_history(self, data: bytes) -> list[bytes]:
        """The events of a GetInstanceHistoryResponse or HistoryChunk, for `read_event`. Raises MalformedMessage."""
        name = "GetInstanceHistoryResponse" if self._flavour is Flavour.DAPR else "HistoryChunk"
        return list(self._schema.parse(name, data).events)


def _write_filters(message: Any, opened: OpenStream) -> None:
    if opened.filters is None:
        return
    message.workItemFilters.SetInParent()
    filters = message.workItemFilters
    for names, place in (
        (opened.filters.workflows, filters.workflows),
        (opened.filters.activities, filters.activities),
    ):
        for name in sorted(names):
            place.add(name=name, versions=sorted(names[name]))
    for name in sorted(opened.filters.entities):
        filters.entities.add(name=name)


def _bytes(message: Any) -> bytes:
    data: bytes = message.SerializeToString(deterministic=True)
    return data
