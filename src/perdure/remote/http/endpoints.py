"""What each operation does: a request is read, the gateway is asked, and its answer is written down."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from perdure.clock import Clock
from perdure.codec import NOTHING
from perdure.errors import InvalidArgument
from perdure.history.events import EventRaised, RunResumed, RunSuspended, RunTerminated
from perdure.history.work import StartOptions
from perdure.remote.http import bodies, parameters
from perdure.remote.http.faults import Refused
from perdure.remote.http.hub import Hub
from perdure.remote.http.views import explanation_view, instance_view, load_view, survey_view
from perdure.remote.tracing.incoming import trace_in
from perdure.sdk.client import SURVEY_LIMIT
from perdure.stores.contract import Query

NOT_READY = "ERR_HEALTH_NOT_READY"
OUTBOUND_NOT_READY = "ERR_OUTBOUND_HEALTH_NOT_READY"
CURSOR_UNKNOWN = "ERR_CURSOR_UNKNOWN"
OTHER_APP = "ERR_HEALTH_APPID_NOT_MATCH"


class Asked(msgspec.Struct, frozen=True):
    """A request, the app that it is for, and whom to ask. `description` is the document of the API, as JSON."""

    request: Request
    app: str
    hub: Hub
    clock: Clock
    description: bytes


class Json(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


async def start(asked: Asked) -> Response:
    name = parameters.name_in(asked.request, "workflowName", "a workflow's name")
    trace = trace_in(asked.request.headers.items())
    options = StartOptions(id=parameters.new_instance_in(asked.request), trace=trace)
    body = await bodies.read(asked.request)
    payload = bodies.payload_of(body, asked.request.headers.get("content-type", ""))
    gateway = await asked.hub.gateway(asked.app)
    id, _ = await gateway.start(name, payload, options)
    return Json({"instanceID": id}, 202)


async def get(asked: Asked) -> Response:
    id = parameters.instance_in(asked.request)
    gateway = await asked.hub.gateway(asked.app)
    return Json(instance_view(await gateway.state(id, None)))


async def explain(asked: Asked) -> Response:
    id = parameters.instance_in(asked.request)
    gateway = await asked.hub.gateway(asked.app)
    return Json(explanation_view(await gateway.explain(id)))


async def explain_all(asked: Asked) -> Response:
    limit = parameters.count_in(asked.request, "limit", SURVEY_LIMIT)
    name = parameters.name_asked(asked.request, "workflowName", "a workflow's name")
    gateway = await asked.hub.gateway(asked.app)
    cursor = asked.request.query_params.get("cursor") or None
    try:
        found = await gateway.explain_all(Query(name=name), cursor, limit)
    except InvalidArgument as error:
        raise Refused(404, CURSOR_UNKNOWN, str(error)) from None  # because all else was checked before
    return Json(survey_view(found))


async def raise_event(asked: Asked) -> Response:
    name = parameters.name_in(asked.request, "eventName", "an event's name")
    id = parameters.instance_in(asked.request)
    body = await bodies.read(asked.request)
    payload = bodies.payload_of(body, asked.request.headers.get("content-type", ""))
    return await _command(asked, id, EventRaised(at=asked.clock.now(), name=name, data=payload))


async def pause(asked: Asked) -> Response:
    return await _command(asked, parameters.instance_in(asked.request), RunSuspended(at=asked.clock.now()))


async def resume(asked: Asked) -> Response:
    return await _command(asked, parameters.instance_in(asked.request), RunResumed(at=asked.clock.now()))


async def terminate(asked: Asked) -> Response:
    event = RunTerminated(at=asked.clock.now(), output=NOTHING, recursive=True)
    return await _command(asked, parameters.instance_in(asked.request), event)


async def purge(asked: Asked) -> Response:
    id = parameters.instance_in(asked.request)
    gateway = await asked.hub.gateway(asked.app)
    await gateway.purge(id, None, True)
    return Json({}, 202)


async def healthz(asked: Asked) -> Response:
    if not asked.hub.is_ready():
        raise Refused(500, NOT_READY, "the server is not ready: it starts, or stops")
    served = asked.hub.policy.app_id
    wanted = asked.request.query_params.get("appid", served)
    if wanted != served:
        raise Refused(500, OTHER_APP, f"this port serves app {served!r}, not {wanted[:80]!r}")
    return Response(status_code=204)


async def healthz_outbound(asked: Asked) -> Response:
    if not asked.hub.is_ready():
        raise Refused(500, OUTBOUND_NOT_READY, "the server is not ready: it starts, or stops")
    return Response(status_code=204)


async def healthz_live(asked: Asked) -> Response:
    return Response(status_code=204)


async def scaling(asked: Asked) -> Response:
    load = await asked.hub.load(asked.app)
    return Json(load_view(load))


async def metrics(asked: Asked) -> Response:
    text, media_type = await asked.hub.metrics(asked.app, asked.request.headers.get("accept", ""))
    return Response(text, headers={"content-type": media_type})


async def metadata(asked: Asked) -> Response:
    hub, app = asked.hub, asked.app
    return Json({**hub.metadata(app), "id": app, "extended": dict(hub.attributes(app).held)})


async def set_metadata(asked: Asked) -> Response:
    name = parameters.name_in(asked.request, "key", "the name of an attribute")
    asked.hub.attributes(asked.app).put(name, bodies.text_of(await bodies.read(asked.request)))
    return Response(status_code=204)


async def shutdown(asked: Asked) -> Response:
    asked.hub.request_shutdown()
    return Response(status_code=204)


async def describe(asked: Asked) -> Response:
    return Response(asked.description, media_type=Json.media_type)


async def _command(asked: Asked, id: str, event: Any) -> Response:
    gateway = await asked.hub.gateway(asked.app)
    await gateway.command(id, None, event, asked.clock.token())
    return Json({}, 202)
