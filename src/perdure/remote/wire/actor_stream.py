"""The stream on which a program hosts actors: what it says of itself, what it is asked, and its answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from perdure.errors import MalformedMessage
from perdure.remote.actors.host import Answer, Hosting, Invocation, checked, hosting
from perdure.remote.wire.schema import RUNTIME_SCHEMA

REENTRANCY_KEY = "Dapr-Reentrancy-Id"
_JSON_STRING = "type.googleapis.com/google.protobuf.BytesValue"


class Opened(NamedTuple):
    """The types of actors that a program hosts."""

    types: dict[str, Hosting]


class Reply(NamedTuple):
    """The answer to the invocation that was sent under a key."""

    key: str
    answer: Answer


def read_opening(data: bytes) -> Opened:
    """The first message of a program. Raises MalformedMessage, InvalidArgument."""
    message = RUNTIME_SCHEMA.parse("SubscribeActorEventsRequestAlpha1", data)
    if message.WhichOneof("request_type") != "initial_request":
        raise MalformedMessage("the first message of the stream is no initial_request")
    told = message.initial_request
    base = hosting(_seconds(told), *_reentrancy(told))
    types: dict[str, Hosting] = dict.fromkeys(told.entities, base)
    for entry in told.entities_config:
        reentrancy = _reentrancy(entry if entry.HasField("reentrancy") else told)
        own = hosting(_seconds(entry) or base.idle_seconds, *reentrancy)
        types |= dict.fromkeys(entry.entities, own)
    return Opened(checked(types))


def read_reply(data: bytes) -> Reply:
    """A later message of a program. Raises MalformedMessage."""
    message = RUNTIME_SCHEMA.parse("SubscribeActorEventsRequestAlpha1", data)
    match message.WhichOneof("request_type"):
        case "invoke_response":
            told = message.invoke_response
            error = told.data.decode("utf-8", "replace") or "the method failed" if told.error else None
            return Reply(told.id, Answer(b"" if told.error else told.data, error))
        case "reminder_response":
            return Reply(message.reminder_response.id, Answer(cancels=message.reminder_response.cancel))
        case "timer_response":
            return Reply(message.timer_response.id, Answer(cancels=message.timer_response.cancel))
        case "deactivate_response":
            return Reply(message.deactivate_response.id, Answer())
        case "request_failed":
            failed = message.request_failed
            return Reply(failed.id, Answer(error=failed.message or f"the program answered with code {failed.code}"))
    raise MalformedMessage("a message of the stream of actors is no answer")


def write_opened() -> bytes:
    """What the program hears first: that it hosts them now."""
    return _bytes(initial_response=RUNTIME_SCHEMA.SubscribeActorEventsResponseInitialAlpha1())


def write_invocation(key: str, asked: Invocation) -> bytes:
    """What an actor is to do."""
    common: dict[str, Any] = {"id": key, "actor_type": asked.type, "actor_id": asked.id}
    match asked.kind:
        case "deactivate":
            request = RUNTIME_SCHEMA.SubscribeActorEventsResponseDeactivateRequestAlpha1(**common)
            return _bytes(deactivate_request=request)
        case "remind":
            request = RUNTIME_SCHEMA.SubscribeActorEventsResponseReminderRequestAlpha1(
                **common, name=asked.name, due_time=asked.due_time, period=asked.period
            )
            _set_data(request, asked.data)
            return _bytes(reminder_request=request)
        case "timer":
            request = RUNTIME_SCHEMA.SubscribeActorEventsResponseTimerRequestAlpha1(
                **common, name=asked.name, due_time=asked.due_time, period=asked.period, callback=asked.callback
            )
            _set_data(request, asked.data)
            return _bytes(timer_request=request)
    request = RUNTIME_SCHEMA.SubscribeActorEventsResponseInvokeRequestAlpha1(
        **common, method=asked.name, data=asked.data, metadata=_metadata(asked)
    )
    return _bytes(invoke_request=request)


def _metadata(asked: Invocation) -> Mapping[str, str]:
    return {REENTRANCY_KEY: asked.token} if asked.token else {}


def set_json(message: Any, data: bytes) -> None:
    """JSON as Dapr's runtime carries it: the value of a BytesValue in an Any."""
    message.type_url = _JSON_STRING
    # by hand, because the message is one field of bytes: its tag, its length, and what is in it
    message.value = _bytes_value(data)


def _set_data(request: Any, data: bytes) -> None:
    if data and data != b"null":
        set_json(request.data, data)


def _bytes_value(data: bytes) -> bytes:
    from google.protobuf.wrappers_pb2 import BytesValue

    value: bytes = BytesValue(value=data).SerializeToString()
    return value


def _seconds(told: Any) -> float | None:
    if not told.HasField("actor_idle_timeout"):
        return None
    seconds: float = told.actor_idle_timeout.seconds + told.actor_idle_timeout.nanos / 1e9
    return seconds


def _reentrancy(told: Any) -> tuple[bool, int | None]:
    if not told.HasField("reentrancy"):
        return False, None
    depth = told.reentrancy.max_stack_depth if told.reentrancy.HasField("max_stack_depth") else None
    return told.reentrancy.enabled, depth


def _bytes(**fields: Any) -> bytes:
    data: bytes = RUNTIME_SCHEMA.SubscribeActorEventsResponseAlpha1(**fields).SerializeToString()
    return data


def json_text(data: bytes) -> bytes:
    """Bytes as JSON has them: a string of base64."""
    return msgspec.json.encode(data)
