"""The calls about actors of Dapr's own API: their requests read, their answers written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec import Raw

from perdure.clock import to_datetime
from perdure.errors import MalformedMessage
from perdure.remote.actors.memory import Asked, Change, Put, Reminder, Remove, Value
from perdure.remote.wire.actor_stream import REENTRANCY_KEY, json_text, set_json
from perdure.remote.wire.schema import RUNTIME_SCHEMA

TTL_KEY, EXPIRES_KEY = "ttlInSeconds", "ttlExpireTime"
TTL_SECONDS_MAX = 100 * 366 * 86_400


class OfActor(NamedTuple):
    """Which actor a request is about, and which of what it has: a method, key, reminder or timer."""

    type: str
    id: str
    name: str = ""


class Called(NamedTuple):
    actor: OfActor
    data: bytes
    token: str


def read_invoke(data: bytes) -> Called:
    """An InvokeActorRequest. Raises MalformedMessage."""
    message = RUNTIME_SCHEMA.parse("InvokeActorRequest", data)
    metadata = {key.lower(): value for key, value in message.metadata.items()}
    return Called(_actor(message, message.method), message.data, metadata.get(REENTRANCY_KEY.lower(), ""))


def write_invoked(result: bytes) -> bytes:
    return _bytes(RUNTIME_SCHEMA.InvokeActorResponse(data=result))


def read_get_state(data: bytes) -> OfActor:
    """A GetActorStateRequest. Raises MalformedMessage."""
    message = RUNTIME_SCHEMA.parse("GetActorStateRequest", data)
    return _actor(message, message.key)


def write_state(value: Value | None) -> bytes:
    """A GetActorStateResponse, empty for a key that is not there."""
    if value is None:
        return b""
    metadata = {EXPIRES_KEY: to_datetime(value.expires).isoformat()} if value.expires is not None else {}
    return _bytes(RUNTIME_SCHEMA.GetActorStateResponse(data=value.data, metadata=metadata))


def read_transaction(data: bytes) -> tuple[OfActor, list[Change]]:
    """An ExecuteActorStateTransactionRequest. Raises MalformedMessage."""
    message = RUNTIME_SCHEMA.parse("ExecuteActorStateTransactionRequest", data)
    return _actor(message), [_change(operation) for operation in message.operations]


def _change(operation: Any) -> Change:
    return change_of(operation.operationType, operation.key, operation.value.value, operation.metadata.get(TTL_KEY))


def change_of(kind: str, key: str, data: bytes, ttl: str | None) -> Change:
    """One operation of a transaction. Raises MalformedMessage."""
    match kind.lower():
        case "upsert":
            return Put(key, data, ttl_of(ttl))
        case "delete":
            return Remove(key)
    raise MalformedMessage(f"the operation {kind[:60]!r} on an actor's state is none; there are upsert and delete")


def ttl_of(text: str | None) -> int | None:
    """Seconds, None for ever. Raises MalformedMessage."""
    if text is None or text in ("", "-1", "0"):
        return None
    if not (text.isascii() and text.isdecimal() and int(text[:12]) <= TTL_SECONDS_MAX):
        raise MalformedMessage(f"{TTL_KEY} {text[:40]!r} is no number of seconds up to {TTL_SECONDS_MAX:,}")
    return int(text)


def read_register(data: bytes) -> tuple[OfActor, Asked]:
    """A RegisterActorReminderRequest. Raises MalformedMessage."""
    message = RUNTIME_SCHEMA.parse("RegisterActorReminderRequest", data)
    asked = Asked(
        name=message.name,
        due_time=message.due_time,
        period=message.period,
        ttl=message.ttl,
        data=_json(message.data),
        drops=message.HasField("failure_policy") and message.failure_policy.WhichOneof("policy") == "drop",
        is_new=message.HasField("overwrite") and not message.overwrite,
    )
    return _actor(message, message.name), asked


def read_register_timer(data: bytes) -> tuple[OfActor, Asked]:
    """A RegisterActorTimerRequest. Raises MalformedMessage."""
    message = RUNTIME_SCHEMA.parse("RegisterActorTimerRequest", data)
    asked = Asked(
        name=message.name,
        due_time=message.due_time,
        period=message.period,
        ttl=message.ttl,
        data=_json(message.data),
        callback=message.callback,
    )
    return _actor(message, message.name), asked


def read_unregister(data: bytes) -> OfActor:
    """An UnregisterActorReminderRequest. Raises MalformedMessage."""
    message = RUNTIME_SCHEMA.parse("UnregisterActorReminderRequest", data)
    return _actor(message, message.name)


def read_unregister_timer(data: bytes) -> OfActor:
    """An UnregisterActorTimerRequest. Raises MalformedMessage."""
    message = RUNTIME_SCHEMA.parse("UnregisterActorTimerRequest", data)
    return _actor(message, message.name)


def read_get_reminder(data: bytes) -> OfActor:
    """A GetActorReminderRequest. Raises MalformedMessage."""
    message = RUNTIME_SCHEMA.parse("GetActorReminderRequest", data)
    return _actor(message, message.name)


def write_reminder(actor: OfActor, reminder: Reminder) -> bytes:
    """A GetActorReminderResponse."""
    message = RUNTIME_SCHEMA.GetActorReminderResponse(actor_type=actor.type, actor_id=actor.id)
    _fill(message, reminder)
    return _bytes(message)


def read_of_type(name: str, data: bytes) -> tuple[str, str | None]:
    """The type of a request about its reminders, and one actor of it if it names one. Raises MalformedMessage."""
    message = RUNTIME_SCHEMA.parse(name, data)
    return message.actor_type, message.actor_id if message.HasField("actor_id") else None


def write_reminders(type: str, found: Sequence[tuple[str, str, Reminder]]) -> bytes:
    """A ListActorRemindersResponse."""
    answer = RUNTIME_SCHEMA.ListActorRemindersResponse()
    for id, name, reminder in found:
        entry = answer.reminders.add(name=name)
        entry.reminder.actor_type, entry.reminder.actor_id = type, id
        _fill(entry.reminder, reminder)
    return _bytes(answer)


def _fill(message: Any, reminder: Reminder) -> None:
    for name, text in (("due_time", reminder.due_time), ("period", reminder.period), ("ttl", reminder.ttl)):
        if text:
            setattr(message, name, text)
    if bytes(reminder.data) != b"null":
        set_json(message.data, bytes(reminder.data))


def _actor(message: Any, name: str = "") -> OfActor:
    return OfActor(message.actor_type, message.actor_id, name)


def _json(data: bytes) -> Raw:
    return Raw(json_text(data) if data else b"null")


def _bytes(message: Any) -> bytes:
    data: bytes = message.SerializeToString(deterministic=True)
    return data
