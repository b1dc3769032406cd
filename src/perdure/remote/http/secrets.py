"""What the routes of secrets do."""

from __future__ import annotations

from starlette.responses import Response

from perdure.errors import ComponentNotFound
from perdure.remote.http import parameters
from perdure.remote.http.endpoints import Asked, Json
from perdure.remote.http.faults import Refused

STORE_UNKNOWN = "ERR_SECRET_STORE_NOT_FOUND"
NOT_CONFIGURED = "ERR_SECRET_STORES_NOT_CONFIGURED"


async def get(asked: Asked) -> Response:
    """Nothing, with 204, if there is no such secret."""
    store, key = _store(asked), parameters.segment(asked.request, "secretKey")
    try:
        found = asked.hub.secrets.get(asked.app, store, key)
    except ComponentNotFound as error:
        raise _unknown(asked, error) from error
    return Response(status_code=204) if found is None else Json(dict(found))


async def get_bulk(asked: Asked) -> Response:
    try:
        found = asked.hub.secrets.all(asked.app, _store(asked))
    except ComponentNotFound as error:
        raise _unknown(asked, error) from error
    return Json({name: dict(secret) for name, secret in found.items()})


def _store(asked: Asked) -> str:
    return parameters.segment(asked.request, "secretStore")


def _unknown(asked: Asked, error: ComponentNotFound) -> Refused:
    """With the statuses that Dapr has for it."""
    if not asked.hub.components("secretstores"):
        return Refused(500, NOT_CONFIGURED, str(error))
    return Refused(401, STORE_UNKNOWN, str(error))
