"""What the routes of configuration do: items are read, and a program is told on its port of those that change."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.responses import Response

from perdure.blocks.configuration import Item
from perdure.errors import ComponentNotFound
from perdure.remote.app_channel import AppChannel, AppUnreachable
from perdure.remote.http import parameters
from perdure.remote.http.endpoints import Asked, Json
from perdure.remote.http.faults import MALFORMED, Refused
from perdure.remote.watching import Change

STORE_UNKNOWN = "ERR_CONFIGURATION_STORE_NOT_FOUND"
NOT_CONFIGURED = "ERR_CONFIGURATION_STORE_NOT_CONFIGURED"
NO_CHANNEL = "ERR_APP_CHANNEL_NIL"
KEYS_MAX = 1_000
"""Keys that one request names; without any it is about all."""
_encode = msgspec.json.Encoder().encode


async def get(asked: Asked) -> Response:
    try:
        found = await asked.hub.configuration.items(asked.app, _store(asked), _keys(asked))
    except ComponentNotFound as error:
        raise _unknown(asked, error) from error
    return Json(_shown(found))


async def subscribe(asked: Asked) -> Response:
    """The id of a subscription, which the server keeps until it is ended or the server is."""
    channel = asked.hub.channel(asked.app)
    if channel is None:
        raise Refused(500, NO_CHANNEL, "the program listens on no HTTP port that this server knows; give --app-port")
    store = _store(asked)
    try:
        id = await asked.hub.configuration.watch(asked.app, store, _keys(asked), partial(_tell, channel, store))
    except ComponentNotFound as error:
        raise _unknown(asked, error) from error
    return Json({"id": id})


async def unsubscribe(asked: Asked) -> Response:
    id = parameters.segment(asked.request, "subscriptionId")
    if asked.hub.configuration.end(asked.app, id):
        return Json({"ok": True})
    return Json({"ok": False, "message": f"there is no subscription {id[:80]!r}; it has ended, or was another's"})


async def _tell(channel: AppChannel, store: str, change: Change) -> None:
    """One request for each key, with all that has changed. Raises AppUnreachable."""
    body = _encode({"id": change.id, "items": _shown(change.items)})
    for key in change.items:
        path = f"/configuration/{quote(store, safe='')}/{quote(key, safe='')}"
        answer = await channel.request("POST", path, body, {"content-type": Json.media_type})
        if not answer.is_success:
            raise AppUnreachable(f"the program answers {answer.status} to {path}")


def _shown(items: Mapping[str, Item]) -> dict[str, Any]:
    return {
        key: {"value": item.value, "version": item.version, "metadata": dict(item.metadata)}
        for key, item in items.items()
    }


def _store(asked: Asked) -> str:
    return parameters.segment(asked.request, "configurationStore")


def _keys(asked: Asked) -> list[str]:
    keys = asked.request.query_params.getlist("key")
    if len(keys) > KEYS_MAX:
        raise Refused(400, MALFORMED, f"{len(keys):,} keys in one request; send at most {KEYS_MAX:,}, or none for all")
    return keys


def _unknown(asked: Asked, error: ComponentNotFound) -> Refused:
    """With the statuses that Dapr has for it."""
    if not asked.hub.components("configuration"):
        return Refused(500, NOT_CONFIGURED, str(error))
    return Refused(400, STORE_UNKNOWN, str(error))
