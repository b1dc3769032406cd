"""Actors over HTTP: methods, state, reminders and timers, as Dapr's SDKs ask for them."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from starlette.requests import Request
from starlette.responses import Response

from perdure.clock import to_datetime
from perdure.errors import ActorFailed, ActorReentered, ServerUnavailable
from perdure.remote.actors.actors import AppActors
from perdure.remote.actors.memory import Asked, Change, Reminder
from perdure.remote.http import bodies, parameters
from perdure.remote.http.blocks import BlockRoute
from perdure.remote.http.faults import MALFORMED, Refused
from perdure.remote.http.hub import Hub
from perdure.remote.wire.actor_calls import EXPIRES_KEY, change_of
from perdure.remote.wire.actor_stream import REENTRANCY_KEY

INVOKE_FAILED = "ERR_ACTOR_INVOKE_METHOD"
REMINDER_UNKNOWN = "ERR_ACTOR_REMINDER_GET"
_BASE = "/v1.0/actors/{actorType}/{actorId}"
_WRITE = ("POST", "PUT")


class _Timing(msgspec.Struct, rename="camel"):
    """The body that registers a reminder or a timer."""

    due_time: str = ""
    period: str = ""
    ttl: str = ""
    data: Raw = Raw(b"null")
    callback: str = ""
    overwrite: bool | None = None
    failure_policy: dict[str, Any] | None = None


class _Request(msgspec.Struct):
    key: str
    value: Raw = Raw(b"null")
    metadata: dict[str, str] | None = None


class _Operation(msgspec.Struct):
    operation: str
    request: _Request


async def invoke(request: Request, app: str, hub: Hub) -> Response:
    actors, type, id = _of(request, app, hub)
    body = await bodies.read(request)
    token = request.headers.get(REENTRANCY_KEY, "")
    try:
        result = await actors.call(type, id, _segment(request, "method"), body, token)
    except ActorReentered as error:
        raise Refused(403, INVOKE_FAILED, str(error)) from error
    except ServerUnavailable as error:
        raise Refused(503, INVOKE_FAILED, str(error)) from error
    except ActorFailed as error:
        raise Refused(500, INVOKE_FAILED, f"error invoke actor method: {error}") from error
    return Response(result, media_type="application/json")


async def transact(request: Request, app: str, hub: Hub) -> Response:
    actors, type, id = _of(request, app, hub)
    operations = _decoded(await bodies.read(request), list[_Operation])
    await actors.transact(type, id, [_change(operation) for operation in operations])
    return Response(status_code=204)


async def get_state(request: Request, app: str, hub: Hub) -> Response:
    actors, type, id = _of(request, app, hub)
    found = await actors.value(type, id, _segment(request, "key"))
    if found is None:
        return Response(status_code=204)
    headers = {}
    if found.expires is not None:
        headers[f"metadata.{EXPIRES_KEY}"] = to_datetime(found.expires).isoformat()
    return Response(found.data, media_type="application/json", headers=headers)


async def register_reminder(request: Request, app: str, hub: Hub) -> Response:
    actors, type, id = _of(request, app, hub)
    await actors.remind(type, id, _asked(request, await bodies.read(request)))
    return Response(status_code=204)


async def get_reminder(request: Request, app: str, hub: Hub) -> Response:
    actors, type, id = _of(request, app, hub)
    name = _segment(request, "name")
    found = await actors.reminder(type, id, name)
    if found is None:
        raise Refused(404, REMINDER_UNKNOWN, f"the actor {type} {id} has no reminder {name!r}")
    return Response(msgspec.json.encode(_shown(found)), media_type="application/json")


async def unregister_reminder(request: Request, app: str, hub: Hub) -> Response:
    actors, type, id = _of(request, app, hub)
    await actors.forget(type, id, _segment(request, "name"))
    return Response(status_code=204)


async def register_timer(request: Request, app: str, hub: Hub) -> Response:
    actors, type, id = _of(request, app, hub)
    actors.time(type, id, _asked(request, await bodies.read(request)))
    return Response(status_code=204)


async def unregister_timer(request: Request, app: str, hub: Hub) -> Response:
    actors, type, id = _of(request, app, hub)
    actors.untime(type, id, _segment(request, "name"))
    return Response(status_code=204)


ACTOR_ROUTES = (
    BlockRoute(("GET", "POST", "PUT", "DELETE"), f"{_BASE}/method/{{method}}", invoke, INVOKE_FAILED),
    BlockRoute(_WRITE, f"{_BASE}/state", transact, "ERR_ACTOR_STATE_TRANSACTION_SAVE"),
    BlockRoute(("GET",), f"{_BASE}/state/{{key}}", get_state, "ERR_ACTOR_STATE_GET"),
    BlockRoute(_WRITE, f"{_BASE}/reminders/{{name}}", register_reminder, "ERR_ACTOR_REMINDER_CREATE"),
    BlockRoute(("GET",), f"{_BASE}/reminders/{{name}}", get_reminder, REMINDER_UNKNOWN),
    BlockRoute(("DELETE",), f"{_BASE}/reminders/{{name}}", unregister_reminder, "ERR_ACTOR_REMINDER_DELETE"),
    BlockRoute(_WRITE, f"{_BASE}/timers/{{name}}", register_timer, "ERR_ACTOR_TIMER_CREATE"),
    BlockRoute(("DELETE",), f"{_BASE}/timers/{{name}}", unregister_timer, "ERR_ACTOR_TIMER_DELETE"),
)


def _of(request: Request, app: str, hub: Hub) -> tuple[AppActors, str, str]:
    type, id = _segment(request, "actorType"), _segment(request, "actorId")
    return hub.actors(type, app), type, id


def _segment(request: Request, place: str) -> str:
    return parameters.segment(request, place)


def _asked(request: Request, body: bytes) -> Asked:
    timing = _decoded(body or b"{}", _Timing)
    return Asked(
        name=_segment(request, "name"),
        due_time=timing.due_time,
        period=timing.period,
        ttl=timing.ttl,
        data=timing.data,
        callback=timing.callback,
        drops="drop" in (timing.failure_policy or {}),
        is_new=timing.overwrite is False,
    )


def _change(operation: _Operation) -> Change:
    request = operation.request
    return change_of(
        operation.operation, request.key, bytes(request.value), (request.metadata or {}).get("ttlInSeconds")
    )


def _decoded(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Refused(400, MALFORMED, f"the body cannot be read: {error}") from None


def _shown(reminder: Reminder) -> dict[str, Any]:
    told = {"dueTime": reminder.due_time, "period": reminder.period, "ttl": reminder.ttl}
    return {"data": reminder.data, **{name: text for name, text in told.items() if text}}
