"""One codec for each flavour: bytes of its protocol to Perdure's records, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from perdure.remote.requests import (
    ActivityItem,
    ActivityResult,
    EntityItem,
    EntityResult,
    Flavour,
    InstanceView,
    Selection,
    TurnItem,
    TurnResult,
    Views,
)
from perdure.remote.wire import entities, instance_requests
from perdure.remote.wire.events import events_of
from perdure.remote.wire.instance_answers import ViewCodec
from perdure.remote.wire.items import ItemCodec
from perdure.remote.wire.peer import PeerCodec
from perdure.remote.wire.results import ACTIVITY_RESULT, TURN_RESULT, read_entity_result
from perdure.remote.wire.schema import DAPR_SCHEMA, MICROSOFT_SCHEMA, Schema


class Codec:
    """The protocol of one flavour; `peer` is its other end.

    Every method that reads raises MalformedMessage for bytes that are no message; every one that writes raises
    NotDecodable for a payload that is packed.
    """

    def __init__(self, schema: Schema) -> None:
        self.flavour = schema.flavour
        self._schema = schema
        self.peer = PeerCodec(schema)
        self._events = events_of(schema)
        self._items = ItemCodec(schema)
        self._views = ViewCodec(schema)
        self._turn_result = TURN_RESULT.form(schema)
        self._activity_result = ACTIVITY_RESULT.form(schema)
        self._read_list = (
            instance_requests.read_list_of_dapr
            if schema.flavour is Flavour.DAPR
            else instance_requests.read_list_of_microsoft
        )

    def __repr__(self) -> str:
        return f"<Codec of {self.flavour}>"

    # -- events

    def event(self, event: Any, instance: str, execution: str, app: str = "") -> bytes | None:
        """A history event for a worker, its length in front; None if the flavour's workers are not shown it.

        `execution` is the wire's (`wire_execution`). A RunForked is none: show what it took over.
        """
        return self._events.event(event, instance, execution, app)

    def history(self, events: Iterable[Any], instance: str, execution: str, app: str = "") -> list[bytes]:
        """History for a client, each event with its length in front. What a fork took over is part of it."""
        return self._events.history(events, instance, execution, app)

    def history_for_work(self, events: Iterable[Any], instance: str, execution: str, app: str = "") -> list[bytes]:
        """History for a worker, each event with its length in front: exactly those that its turns show."""
        return self._events.history_for_work(events, instance, execution, app)

    def read_event(self, data: bytes) -> Any:
        """The event in a HistoryEvent, without length."""
        return self._events.read_event(data)

    # -- work

    def turn_item(self, item: TurnItem) -> bytes:
        """A turn as a WorkItem."""
        return self._items.turn_item(item)

    def activity_item(self, item: ActivityItem) -> bytes:
        """An attempt as a WorkItem."""
        return self._items.activity_item(item)

    def entity_item(self, item: EntityItem) -> bytes:
        """A batch of operations as a WorkItem. Raises InvalidArgument in a flavour without entities."""
        return self._items.entity_item(item)

    def ping(self) -> bytes:
        """A sign of life as a WorkItem."""
        return self._items.ping()

    def read_item(self, data: bytes) -> TurnItem | ActivityItem | EntityItem | None:
        """The work in a WorkItem of a foreign server; None for a sign of life."""
        return self._items.read_item(data)

    def cancel_item(self, token: str) -> None:
        """Neither flavour can tell a worker that nobody waits any more."""

    def shows(self, event: Any) -> bool:
        """Whether workers can be told of such an event."""
        return self._events.shows(event)

    def read_turn_result(self, data: bytes) -> TurnResult:
        """The answer to a turn."""
        found: TurnResult = self._turn_result.read(self._schema.parse(TURN_RESULT.name, data))
        return found

    def read_activity_result(self, data: bytes) -> ActivityResult:
        """The answer to an attempt."""
        found: ActivityResult = self._activity_result.read(self._schema.parse(ACTIVITY_RESULT.name, data))
        return found

    def read_entity_result(self, data: bytes) -> EntityResult:
        """The answer to a batch of operations."""
        return read_entity_result(data)

    # -- clients

    def read_list(self, data: bytes) -> Selection:
        """A request for ids: ListInstanceIDs in one flavour, ListInstanceIds in the other."""
        return self._read_list(data)

    def write_view(self, view: InstanceView | None, with_payloads: bool = True) -> bytes:
        """A GetInstanceResponse; None is an instance that does not exist."""
        return self._views.view(view, with_payloads)

    def write_views(self, page: Views, with_payloads: bool = True) -> bytes:
        """A QueryInstancesResponse."""
        return self._views.views(page, with_payloads)

    def write_ids(self, page: Views) -> bytes:
        """The response to `read_list`."""
        return self._views.ids(page)

    # -- entities

    read_signal = staticmethod(entities.read_signal)
    read_about_entity = staticmethod(entities.read_about_entity)
    read_entity_query = staticmethod(entities.read_entity_query)
    read_clean = staticmethod(entities.read_clean)
    write_entity = staticmethod(entities.write_entity)
    write_entities = staticmethod(entities.write_entities)
    write_cleaned = staticmethod(entities.write_cleaned)


DAPR = Codec(DAPR_SCHEMA)
MICROSOFT = Codec(MICROSOFT_SCHEMA)


def codec_of(flavour: Flavour) -> Codec:
    """The codec of a flavour."""
    return DAPR if flavour == Flavour.DAPR else MICROSOFT
