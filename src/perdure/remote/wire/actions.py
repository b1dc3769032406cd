"""What a worker asks for, as bytes of a WorkflowAction, and back."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from perdure.errors import InvalidArgument, MalformedMessage
from perdure.history.actions import Action, CompleteRun, ContinueRun, RewindRun
from perdure.history.events import decode_segment, encode_segment
from perdure.remote.requests import Flavour
from perdure.remote.wire.action_shapes import ACTIONS, CONTINUATION, ENTITY_MESSAGES
from perdure.remote.wire.events import MICROSOFT_EVENTS
from perdure.remote.wire.forms import Form
from perdure.remote.wire.framing import VARINT, framed, joined, tag, varint
from perdure.remote.wire.parts import ROUTER
from perdure.remote.wire.schema import DAPR_SCHEMA, MICROSOFT_SCHEMA, Schema

_MESSAGE = "sendEntityMessage"
_NINTH = "routerOrRewind"
_ID, _NINTH_TAG, _NEW_HISTORY = tag(1, VARINT), tag(9), tag(1)


class ActionCodec:
    """Reads and writes the actions of one flavour."""

    def __init__(self, schema: Schema) -> None:
        self._flavour = schema.flavour
        fields = schema.fields("WorkflowAction")
        self._forms: dict[str, Form] = {wire: ACTIONS[wire].form(schema) for wire in ACTIONS if wire in fields}
        self._messages: dict[str, Form] = {}
        self._writers: dict[type, tuple[bytes, Form]] = {}
        self._message_tag = b""
        for wire, form in self._forms.items():
            kind = ACTIONS[wire].kind
            if isinstance(kind, type):
                self._writers[kind] = (tag(fields[wire].number), form)
        complete = tag(fields["completeWorkflow"].number)
        self._writers[CompleteRun] = (complete, self._forms["completeWorkflow"])
        self._writers[ContinueRun] = (complete, CONTINUATION.form(schema))
        self._message_writers: dict[type, tuple[bytes, Form]] = {}
        if _MESSAGE in fields:
            self._message_tag = tag(fields[_MESSAGE].number)
            inner = schema.fields("SendEntityMessageAction")
            for wire, shape in ENTITY_MESSAGES.items():
                form = self._messages[wire] = shape.form(schema)
                if isinstance(shape.kind, type):
                    self._message_writers[shape.kind] = (tag(inner[wire].number), form)

    def read(self, message: Any) -> Action:
        """The action in a WorkflowAction. Raises MalformedMessage.

        Its ninth field is a router beside another action, and a rewind where it is alone.
        """
        which = message.WhichOneof("workflowActionType")
        ninth = message.routerOrRewind if message.HasField(_NINTH) else None
        if which is None:
            return _read_rewind(message.id, ninth)
        more: dict[str, Any] = {"number": message.id}
        if ninth is not None:
            more["router"] = ROUTER.form(DAPR_SCHEMA).read(DAPR_SCHEMA.parse("TaskRouter", ninth))
        body = getattr(message, which)
        if which == _MESSAGE:
            return self._read_message(body, more)
        found: Action = self._forms[which].read(body, **more)
        return found

    def _read_message(self, message: Any, more: dict[str, Any]) -> Action:
        which = message.WhichOneof("EntityMessageType")
        if which is None:
            raise MalformedMessage("an entity message without a message")
        found: Action = self._messages[which].read(getattr(message, which), **more)
        return found

    def write(self, action: Action) -> bytes:
        """The bytes of a WorkflowAction. Raises InvalidArgument for an action that the flavour does not have."""
        start = _ID + varint(action.number) if action.number else b""
        if isinstance(action, RewindRun):
            return start + _NINTH_TAG + framed(_rewind_bytes(action))
        if type(action) in self._message_writers:
            inner, form = self._message_writers[type(action)]
            return start + self._message_tag + framed(inner + framed(form.write(action)))
        if type(action) not in self._writers:
            raise InvalidArgument(f"this protocol has no {type(action).__name__}; do without it")
        head, form = self._writers[type(action)]
        body = head + framed(form.write(action))
        if action.router is None or self._flavour is not Flavour.DAPR:
            return start + body
        routed = _NINTH_TAG + framed(ROUTER.form(DAPR_SCHEMA).write(action.router))
        return start + (routed + body if head > _NINTH_TAG else body + routed)


def _read_rewind(number: int, data: bytes | None) -> Action:
    if data is None:
        raise MalformedMessage("an action of a kind that is not known here")
    message = MICROSOFT_SCHEMA.parse("RewindWorkflowAction", data)
    events = [MICROSOFT_EVENTS.read(event) for event in message.newHistory]
    return RewindRun(number=number, history=Raw(encode_segment(events)))


def _rewind_bytes(action: RewindRun) -> bytes:
    events = decode_segment(bytes(action.history))
    found = [MICROSOFT_EVENTS.write(event) for event in events]
    return joined(_NEW_HISTORY, [framed(data) for data in found if data is not None])
