"""Instances as clients are shown them, as bytes of the responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from google.protobuf.descriptor import FieldDescriptor

from perdure.remote.requests import Flavour, InstanceView, Views
from perdure.remote.wire.fields import FIRST, SECOND, Field, Read, Write, moment, note, tags, text, value
from perdure.remote.wire.forms import Shape
from perdure.remote.wire.framing import VARINT, framed, joined, tag, tag_of, varint, wrapped
from perdure.remote.wire.parts import failure
from perdure.remote.wire.schema import Schema
from perdure.remote.wire.statuses import ENDS, STALLED, STATUSES, SUSPENDED, status_of

_EXISTS = tag(1, VARINT) + varint(1)
_DELETED = tag(1, VARINT)
_YES, _NO = SECOND + framed(tag(1, VARINT) + varint(1)), SECOND + framed(b"")
RUNNING = "running"


def shown_status(view: InstanceView, flavour: Flavour) -> str:
    """The one status that stands for an instance's status and what holds it.

    A stall has no number of its own in one flavour, whose clients stop at one that they do not know.
    """
    if view.status in ENDS:
        return view.status
    if view.is_stalled and flavour is Flavour.DAPR:
        return STALLED
    if view.is_suspended:
        return SUSPENDED
    return RUNNING if view.is_stalled else view.status


def _status() -> Field:
    def bind(schema: Schema, field: FieldDescriptor) -> tuple[Write, Read]:
        head = tag_of(field, VARINT)

        def write(view: Any) -> bytes:
            shown = STATUSES[shown_status(view, schema.flavour)]
            return head + varint(shown) if shown else b""

        def read(message: Any, values: dict[str, Any]) -> None:
            status = status_of(message.workflowStatus)
            values["is_suspended"], values["is_stalled"] = status == SUSPENDED, status == STALLED
            values["status"] = RUNNING if status in {SUSPENDED, STALLED} else status

        return write, read

    return Field("workflowStatus", bind)


VIEW = Shape(
    "WorkflowState",
    InstanceView,
    text("instanceId", "instance"),
    text("name"),
    note("version"),
    _status(),
    moment("scheduledStartTimestamp", "scheduled"),
    moment("createdTimestamp", "created", absent=0),
    moment("lastUpdatedTimestamp", "updated", absent=0),
    value("input"),
    value("output"),
    value("customStatus", "custom_status"),
    failure(),
    note("executionId", "execution"),
    moment("completedTimestamp", "finished"),
    note("parentInstanceId", "parent"),
    tags(),
    note("parentAppId", "parent_app"),
    moment("startedAt", "started"),
)


class ViewCodec:
    """Writes instances as one flavour's clients read them."""

    def __init__(self, schema: Schema) -> None:
        self._form = VIEW.form(schema)
        self._cursor = _dapr_cursor if schema.flavour is Flavour.DAPR else _microsoft_cursor

    def view(self, view: InstanceView | None, with_payloads: bool = True) -> bytes:
        """A GetInstanceResponse; None is an instance that does not exist. Raises NotDecodable for packed payloads."""
        return _EXISTS + SECOND + framed(self._state(view, with_payloads)) if view is not None else b""

    def views(self, page: Views, with_payloads: bool = True) -> bytes:
        """A QueryInstancesResponse. Raises NotDecodable for packed payloads."""
        found = [framed(self._state(view, with_payloads)) for view in page.views]
        return joined(FIRST, found) + _microsoft_cursor(page.cursor)

    def ids(self, page: Views) -> bytes:
        """A ListInstanceIDsResponse, in the spelling of the flavour."""
        return joined(FIRST, [framed(one.encode()) for one in page.ids]) + self._cursor(page.cursor)

    def _state(self, view: InstanceView, with_payloads: bool) -> bytes:
        return self._form.write(view if with_payloads else msgspec.structs.replace(view, input=None, output=None))


def _dapr_cursor(cursor: str | None) -> bytes:
    return SECOND + framed(cursor.encode()) if cursor is not None else b""


def _microsoft_cursor(cursor: str | None) -> bytes:
    return wrapped(SECOND, cursor.encode()) if cursor is not None else b""


def write_id(instance: str) -> bytes:
    """The response to a start, a restart or a rerun: the id of the new instance."""
    return FIRST + framed(instance.encode()) if instance else b""


def write_purged(count: int, is_complete: bool = True) -> bytes:
    """A PurgeInstancesResponse."""
    return (_DELETED + varint(count) if count else b"") + (_YES if is_complete else _NO)


def write_unterminated(instances: Sequence[str]) -> bytes:
    """A SkipGracefulOrchestrationTerminationsResponse."""
    return joined(FIRST, [framed(one.encode()) for one in instances])


def write_events(frames: Sequence[bytes]) -> bytes:
    """A GetInstanceHistoryResponse or a HistoryChunk from events with their lengths in front."""
    return joined(FIRST, frames)
