"""What clients ask of entities and are told, which one flavour has."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.remote.requests import AboutEntity, CleanEntities, EntitySelection, EntityView, SignalEntity
from perdure.remote.wire.fields import FIRST, SECOND, moment, note, number, text, value
from perdure.remote.wire.forms import Shape
from perdure.remote.wire.framing import VARINT, framed, joined, tag, varint, wrapped
from perdure.remote.wire.instance_requests import cursor_of, time_or_none
from perdure.remote.wire.schema import MICROSOFT_SCHEMA

SIGNAL = Shape(
    "SignalEntityRequest",
    SignalEntity,
    text("instanceId", "entity"),
    text("name", "operation"),
    value("input"),
    text("requestId", "request"),
    moment("scheduledTime", "scheduled", "scheduled_nanos"),
)
ABOUT = Shape("GetEntityRequest", AboutEntity, text("instanceId", "entity"), number("includeState", "with_state"))
VIEW = Shape(
    "EntityMetadata",
    EntityView,
    text("instanceId", "entity"),
    moment("lastModifiedTime", "updated", absent=0),
    number("backlogQueueSize", "backlog"),
    note("lockedBy", "locked_by"),
    value("serializedState", "state"),
)
_EXISTS = tag(1, VARINT) + varint(1)
_REMOVED, _RELEASED = tag(2, VARINT), tag(3, VARINT)


def read_signal(data: bytes) -> SignalEntity:
    """A SignalEntityRequest. Raises MalformedMessage."""
    found: SignalEntity = SIGNAL.form(MICROSOFT_SCHEMA).read(MICROSOFT_SCHEMA.parse(SIGNAL.name, data))
    return found


def read_about_entity(data: bytes) -> AboutEntity:
    """A GetEntityRequest. Raises MalformedMessage."""
    found: AboutEntity = ABOUT.form(MICROSOFT_SCHEMA).read(MICROSOFT_SCHEMA.parse(ABOUT.name, data))
    return found


def read_entity_query(data: bytes) -> EntitySelection:
    """A QueryEntitiesRequest. Raises MalformedMessage."""
    query = MICROSOFT_SCHEMA.parse("QueryEntitiesRequest", data).query
    return EntitySelection(
        prefix=query.instanceIdStartsWith.value,
        since=time_or_none(query, "lastModifiedFrom"),
        until=time_or_none(query, "lastModifiedTo"),
        with_state=query.includeState,
        with_transient=query.includeTransient,
        limit=max(query.pageSize.value, 0),
        cursor=cursor_of(query, "continuationToken"),
    )


def read_clean(data: bytes) -> CleanEntities:
    """A CleanEntityStorageRequest. Raises MalformedMessage."""
    message = MICROSOFT_SCHEMA.parse("CleanEntityStorageRequest", data)
    return CleanEntities(
        removes_empty=message.removeEmptyEntities,
        releases_orphaned=message.releaseOrphanedLocks,
        cursor=cursor_of(message, "continuationToken"),
    )


def write_entity(view: EntityView | None) -> bytes:
    """A GetEntityResponse; None is an entity that does not exist. Raises NotDecodable for a packed state."""
    return _EXISTS + SECOND + framed(VIEW.form(MICROSOFT_SCHEMA).write(view)) if view is not None else b""


def write_entities(views: Sequence[EntityView], cursor: str | None = None) -> bytes:
    """A QueryEntitiesResponse. Raises NotDecodable for a packed state."""
    form = VIEW.form(MICROSOFT_SCHEMA)
    found = joined(FIRST, [framed(form.write(view)) for view in views])
    return found + (wrapped(SECOND, cursor.encode()) if cursor is not None else b"")


def write_cleaned(removed: int, released: int, cursor: str | None = None) -> bytes:
    """A CleanEntityStorageResponse."""
    return (
        (wrapped(FIRST, cursor.encode()) if cursor is not None else b"")
        + (_REMOVED + varint(removed) if removed else b"")
        + (_RELEASED + varint(released) if released else b"")
    )
