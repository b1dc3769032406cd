"""A worker's request for a stream of work, of either flavour."""

from __future__ import annotations

from typing import Any

from perdure.errors import MalformedMessage
from perdure.remote.requests import Capability, Filters, Flavour, OpenStream
from perdure.remote.wire.schema import DAPR_SCHEMA, MICROSOFT_SCHEMA

_DAPR = {2: Capability.STATEFUL_HISTORY, 3: Capability.HEALTH_PING}
_MICROSOFT = {1: Capability.HISTORY_STREAMING, 2: Capability.SCHEDULED_TASKS, 3: Capability.LARGE_PAYLOADS}
_BOUNDS = ("maxConcurrentWorkflowWorkItems", "maxConcurrentActivityWorkItems", "maxConcurrentEntityWorkItems")


def read_open_stream(data: bytes) -> OpenStream:
    """What a worker takes, and what its fields tell of its flavour. Raises MalformedMessage.

    The flavours share no field of it. Unknown capabilities are passed over: they are offers.
    """
    dapr = DAPR_SCHEMA.parse("GetWorkItemsRequest", data)
    microsoft = MICROSOFT_SCHEMA.parse("GetWorkItemsRequest", data)
    turns, activities, entities = (_bound(microsoft, wire) for wire in _BOUNDS)
    has_filters = microsoft.HasField("workItemFilters")
    offered = [_DAPR.get(one) for one in dapr.capabilities] + [_MICROSOFT.get(one) for one in microsoft.capabilities]
    hint = None
    if dapr.capabilities:
        hint = Flavour.DAPR
    elif entities or microsoft.capabilities or has_filters or microsoft.workerInstanceId:
        hint = Flavour.MICROSOFT
    return OpenStream(
        turns_max=turns,
        activities_max=activities,
        entities_max=entities,
        capabilities=frozenset(one for one in offered if one is not None),
        filters=_filters(microsoft.workItemFilters) if has_filters else None,
        worker=microsoft.workerInstanceId,
        hint=hint,
    )


def _bound(message: Any, wire: str) -> int:
    found: int = getattr(message, wire)
    if found < 0:
        raise MalformedMessage(f"{wire} is {found}; send 0 or more")
    return found


def _filters(message: Any) -> Filters:
    return Filters(
        workflows=_named(message.workflows),
        activities=_named(message.activities),
        entities=frozenset(entity.name for entity in message.entities),
    )


def _named(filters: Any) -> dict[str, frozenset[str]]:
    """Versions by name. A name that is given twice takes what either takes."""
    found: dict[str, frozenset[str]] = {}
    for one in filters:
        versions, before = frozenset(one.versions), found.get(one.name)
        takes_any = not versions or (before is not None and not before)
        found[one.name] = frozenset() if takes_any else versions | (before or frozenset())
    return found
