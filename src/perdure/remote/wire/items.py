"""Work for workers as bytes of a WorkItem: turns, activities, batches of entities, and pings."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from perdure.errors import InvalidArgument, MalformedMessage
from perdure.remote.requests import ActivityItem, EntityItem, Flavour, TurnItem
from perdure.remote.wire.fields import FIRST, SECOND, note, number, tags, text, value
from perdure.remote.wire.forms import Shape
from perdure.remote.wire.framing import VARINT, framed, joined, tag, varint, wrapped
from perdure.remote.wire.parts import pair, trace
from perdure.remote.wire.schema import Schema

_TURN, _ACTIVITY, _ENTITY, _TOKEN = tag(1), tag(2), tag(5), tag(10)
_PAST, _NEW, _STREAMED = tag(3), tag(4), tag(6, VARINT)
_ROUTER, _CACHED, _CACHED_COUNT = tag(7), tag(9), tag(1, VARINT)
_TRACE = _LINEAGE = tag(8)
_OPERATIONS = tag(4)
_ENTITY_PARAMETERS = tag(5) + framed(FIRST + framed(b""))
"""Messages between entities are never reordered. .NET takes the field to say that there are entities."""
_PINGS = {Flavour.DAPR: tag(6) + framed(b""), Flavour.MICROSOFT: tag(4) + framed(b"")}

ACTIVITY = Shape(
    "ActivityRequest",
    ActivityItem,
    text("name"),
    note("version"),
    value("input"),
    pair("workflowInstance", attrgetter("execution")),
    number("taskId", "number"),
    trace(),
    tags(),
    text("taskExecutionId", "key"),
)
ENTITY = Shape(
    "EntityRequest",
    EntityItem,
    text("instanceId", "entity"),
    text("executionId", "execution"),
    value("entityState", "state"),
)


def _text(tag: bytes, value: str) -> bytes:
    return tag + framed(value.encode()) if value else b""


class ItemCodec:
    """Writes the work items of one flavour."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._flavour = schema.flavour
        self._activity = ACTIVITY.form(schema)
        self._entity = ENTITY.form(schema) if schema.has(ENTITY.name) else None

    def turn_item(self, item: TurnItem) -> bytes:
        """A turn as a WorkItem. Its events are joined as they are, because encoding them again would cost ten times
        as much."""
        parts = [
            _text(FIRST, item.instance),
            wrapped(SECOND, item.execution.encode()),
            joined(_PAST, item.past),
            joined(_NEW, item.new),
        ]
        if self._flavour is Flavour.MICROSOFT:
            parts.append(_ENTITY_PARAMETERS)
        if item.must_stream_history:
            parts.append(_STREAMED + varint(1))
        if self._flavour is Flavour.DAPR:
            if item.app:
                parts.append(_ROUTER + framed(_text(FIRST, item.app)))
            if item.lineage is not None:
                parts.append(_LINEAGE + framed(item.lineage))
            if item.cached is not None:
                parts.append(_CACHED + framed(_CACHED_COUNT + varint(item.cached) if item.cached else b""))
        elif item.trace is not None:
            parts.append(_TRACE + framed(item.trace))
        return _TURN + framed(b"".join(parts)) + _text(_TOKEN, item.token)

    def activity_item(self, item: ActivityItem) -> bytes:
        """An attempt as a WorkItem. Raises NotDecodable if its input is packed."""
        body = self._activity.write(item)
        if item.lineage is not None and self._flavour is Flavour.DAPR:
            body += _LINEAGE + framed(item.lineage)
        return _ACTIVITY + framed(body) + _text(_TOKEN, item.token)

    def entity_item(self, item: EntityItem) -> bytes:
        """A batch of operations as a WorkItem, of the second version, which alone passes the token on.

        Raises InvalidArgument in a flavour that has no entities.
        """
        if self._entity is None:
            raise InvalidArgument("the protocol of Dapr has no entities; send the batch to another worker")
        body = self._entity.write(item) + joined(_OPERATIONS, item.operations)
        return _ENTITY + framed(body) + _text(_TOKEN, item.token)

    def read_item(self, data: bytes) -> TurnItem | ActivityItem | EntityItem | None:
        """The work in a WorkItem, its events with their lengths in front; None for a sign of life.

        Raises MalformedMessage, also for work of a kind that is not known here.
        """
        message = self._schema.parse("WorkItem", data)
        token = message.completionToken
        match message.WhichOneof("request"):
            case "workflowRequest":
                return self._turn(message.workflowRequest, token)
            case "activityRequest":
                asked = message.activityRequest
                has_lineage = self._flavour is Flavour.DAPR and asked.HasField("propagatedHistory")
                lineage = asked.propagatedHistory.SerializeToString() if has_lineage else None
                attempt: ActivityItem = self._activity.read(asked, token=token, lineage=lineage)
                return attempt
            case "entityRequestV2" if self._entity is not None:
                batch = message.entityRequestV2
                operations = [framed(one) for one in batch.operationRequests]
                found: EntityItem = self._entity.read(batch, token=token, operations=operations)
                return found
            case "healthPing":
                return None
            case other:
                raise MalformedMessage(f"work of a kind that is not known here: {other or 'none'}")

    def _turn(self, message: Any, token: str) -> TurnItem:
        is_dapr = self._flavour is Flavour.DAPR
        return TurnItem(
            instance=message.instanceId,
            execution=message.executionId.value,
            past=[framed(event) for event in message.pastEvents],
            new=[framed(event) for event in message.newEvents],
            token=token,
            cached=message.cachedHistory.eventCount if is_dapr and message.HasField("cachedHistory") else None,
            must_stream_history=message.requiresHistoryStreaming,
            trace=None if is_dapr else _bytes(message, "workflowTraceContext"),
            lineage=_bytes(message, "propagatedHistory") if is_dapr else None,
            app=(message.router.sourceAppID or None) if is_dapr else None,
        )

    def ping(self) -> bytes:
        """A sign of life."""
        return _PINGS[self._flavour]


def _bytes(message: Any, wire: str) -> bytes | None:
    found: bytes | None = getattr(message, wire) if message.HasField(wire) else None
    return found
