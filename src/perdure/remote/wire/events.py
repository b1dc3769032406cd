"""History events as bytes of a HistoryEvent, and which of them a flavour's workers are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from perdure.errors import MalformedMessage
from perdure.history import events as ours
from perdure.history.events import CONFIRMATIONS, Event, Router, RunForked, RunStarted, TimerFired
from perdure.remote.requests import Flavour
from perdure.remote.wire.event_shapes import EVENTS, REWOUND
from perdure.remote.wire.forms import Form
from perdure.remote.wire.framing import VARINT, framed, tag, varint
from perdure.remote.wire.parts import ROUTER
from perdure.remote.wire.schema import DAPR_SCHEMA, MICROSOFT_SCHEMA, Schema
from perdure.remote.wire.times import read_time, time_bytes

NO_ID = -1
"""What the wire calls events that confirm no action."""
_ID, _TIME = tag(1, VARINT), tag(2)
_NO_ID = _ID + varint(NO_ID)
_THIRTIETH = "routerOrRewound"
_THIRTIETH_TAG = tag(30)
_THIRTIETH_NUMBER = 30

HIDDEN: dict[Flavour, frozenset[type[Event]]] = {
    # because these workers fail the workflow at an event that they do not know
    Flavour.DAPR: frozenset(
        (ours.TurnCompleted, ours.EventSent, ours.RunCompleted, ours.RunContinued, ours.DetachedCreated)
    ),
    Flavour.MICROSOFT: frozenset((ours.RunContinued, ours.StateRecorded)),
}
"""Events that a flavour has, and that its workers must not see."""

Encode = Callable[[Any], bytes]


class EventCodec:
    """Writes and reads the events of one flavour."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        fields = schema.fields("HistoryEvent")
        known = {wire: shape for wire, shape in EVENTS.items() if wire in fields}
        self._forms: dict[str, Form] = {wire: shape.form(schema) for wire, shape in known.items()}
        self._has_router = schema.has("TaskRouter")
        self._router = ROUTER.form(schema) if self._has_router else None
        self._rewound = None if self._has_router else REWOUND.form(schema)
        self._encode: dict[type, Encode] = {
            shape.kind: self._encoder(shape.kind, fields[wire].number, self._forms[wire])
            for wire, shape in known.items()
            if isinstance(shape.kind, type)
        }
        if self._rewound is not None:
            self._encode[ours.RunRewound] = self._encoder(ours.RunRewound, _THIRTIETH_NUMBER, self._rewound)
        self._hidden = HIDDEN[schema.flavour]

    def event(self, event: Any, instance: str, execution: str, app: str = "") -> bytes | None:
        """The event for a worker, its length in front; None if the flavour's workers are not shown it.

        A RunStarted carries `instance` and `execution`, which is the wire's, and the `app` whose run it is. Raises
        NotDecodable for packed payloads.
        """
        if type(event) in self._hidden:
            return None
        return self.shown(event, instance, execution, app)

    def shows(self, event: Any) -> bool:
        """Whether the flavour has an event like it."""
        return type(event) in self._encode

    def shown(self, event: Any, instance: str, execution: str, app: str = "") -> bytes | None:
        """The event for a client, its length in front; None if the flavour has none like it."""
        if type(event) is TimerFired and event.number < 0:
            return None  # because it is the engine's own, for a start that lay ahead or a run's timeout
        if type(event) is RunStarted:
            router = event.router or _router_of(event, app)
            event = msgspec.structs.replace(event, instance=instance, execution=execution, router=router)
        encode = self._encode.get(type(event))
        return framed(encode(event)) if encode is not None else None

    def write(self, event: Any) -> bytes | None:
        """The event as it is, without length; None if the flavour has none like it."""
        encode = self._encode.get(type(event))
        return encode(event) if encode is not None else None

    def history(self, events: Iterable[Any], instance: str, execution: str, app: str = "") -> list[bytes]:
        """Events for a client, each with its length in front. What a fork took over is part of it."""
        shown = [self.shown(event, instance, execution, app) for event in unfolded(events)]
        return [data for data in shown if data is not None]

    def history_for_work(self, events: Iterable[Any], instance: str, execution: str, app: str = "") -> list[bytes]:
        """Events for a worker, each with its length in front. What a fork took over is part of it."""
        shown = [self.event(event, instance, execution, app) for event in unfolded(events)]
        return [data for data in shown if data is not None]

    def read_event(self, data: bytes) -> Any:
        """The event in the bytes of a HistoryEvent, without length. Raises MalformedMessage."""
        return self.read(self._schema.parse("HistoryEvent", data))

    def read(self, message: Any) -> Any:
        """The event in a HistoryEvent. Raises MalformedMessage if it holds none that is known."""
        which = message.WhichOneof("eventType")
        head = self._head(message)
        if which is not None:
            form = self._forms[which]
            if message.HasField(_THIRTIETH) and self._router is not None:
                head["router"] = self._router.read(self._schema.parse("TaskRouter", getattr(message, _THIRTIETH)))
            kind = EVENTS[which].kind
        elif self._rewound is not None and message.HasField(_THIRTIETH):
            form, kind = self._rewound, ours.RunRewound
            message = self._schema.parse("ExecutionRewoundEvent", getattr(message, _THIRTIETH))
            return form.read(message, **_identified(kind, head))
        else:
            raise MalformedMessage("a history event of a kind that is not known here; use a server of the same kind")
        return form.read(getattr(message, which), **_identified(kind, head))

    def _head(self, message: Any) -> dict[str, Any]:
        head: dict[str, Any] = {"event_id": message.eventId}
        if message.HasField("timestamp"):
            head["at"], head["at_nanos"] = read_time(message.timestamp)
        return head

    def _encoder(self, kind: type, field: int, form: Form) -> Encode:
        head, write = tag(field), form.write
        confirms = issubclass(kind, CONFIRMATIONS)
        router = self._router

        def encode(event: Any) -> bytes:
            body = framed(write(event))
            if confirms:
                start = _ID + varint(event.number) if event.number else b""
            elif event.event_id is None:
                start = _NO_ID
            else:
                start = _ID + varint(event.event_id) if event.event_id else b""
            start += _TIME + time_bytes(event.at, event.at_nanos)
            if event.router is None or router is None:
                return start + head + body
            routed = _THIRTIETH_TAG + framed(router.write(event.router))
            return start + routed + head + body if field > _THIRTIETH_NUMBER else start + head + body + routed

        return encode


def _router_of(started: RunStarted, app: str) -> Router | None:
    """By which workers learn what their own app is called, because nothing else tells them."""
    caller = started.parent.app if started.parent is not None else None
    if not app:
        return None
    return Router(source_app=app) if caller in (None, app) else Router(source_app=caller or "", target_app=app)


def _identified(kind: Any, head: dict[str, Any]) -> dict[str, Any]:
    """The head of an event with its id where the kind keeps it."""
    found = head.pop("event_id")
    if issubclass(kind, CONFIRMATIONS):
        head["number"] = found
    elif found != NO_ID:
        head["event_id"] = found
    return head


def unfolded(events: Iterable[Any]) -> list[Any]:
    """The events with what a fork took over in the place of the fork."""
    found: list[Any] = []
    for event in events:
        if type(event) is RunForked:
            found.extend(unfolded(event.history))
        else:
            found.append(event)
    return found


DAPR_EVENTS = EventCodec(DAPR_SCHEMA)
MICROSOFT_EVENTS = EventCodec(MICROSOFT_SCHEMA)


def events_of(schema: Schema) -> EventCodec:
    """The codec of a flavour's events."""
    return DAPR_EVENTS if schema is DAPR_SCHEMA else MICROSOFT_EVENTS
