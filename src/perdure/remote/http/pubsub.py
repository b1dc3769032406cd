"""What the routes of pub/sub do: one event, or many at once, are read and published."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

import msgspec
from starlette.responses import Response

from perdure.remote.cloudevents import BYTES, is_json
from perdure.remote.http import bodies, parameters
from perdure.remote.http.endpoints import Asked, Json
from perdure.remote.http.faults import MALFORMED, Refused
from perdure.remote.pubsub.publishing import Publish
from perdure.remote.tracing.incoming import trace_in

METADATA = "metadata."
"""Query parameters that begin so are metadata of what is published."""
NOT_PUBLISHED = "ERR_PUBSUB_PUBLISH_MESSAGE"


class Entry(msgspec.Struct, rename="camel"):
    """One event of a bulk."""

    entry_id: str
    event: msgspec.Raw
    content_type: str = ""
    metadata: dict[str, str] = {}


_entries = msgspec.json.Decoder(list[Entry]).decode
_text = msgspec.json.Decoder(str).decode


async def publish(asked: Asked) -> Response:
    pubsub, topic = _names(asked)
    event = Publish(
        pubsub=pubsub,
        topic=topic,
        data=await bodies.read(asked.request),
        content_type=asked.request.headers.get("content-type", ""),
        metadata=_metadata(asked),
    )
    await asked.hub.pubsub.publish(asked.app, event, trace_in(asked.request.headers.items()))
    return Response(status_code=204)


async def publish_bulk(asked: Asked) -> Response:
    pubsub, topic = _names(asked)
    entries = _read(await bodies.read(asked.request))
    shared = _metadata(asked)
    events = [
        Publish(
            pubsub=pubsub,
            topic=topic,
            data=_data(entry),
            content_type=entry.content_type,
            metadata={**shared, **entry.metadata},
        )
        for entry in entries
    ]
    trace = trace_in(asked.request.headers.items())
    outcomes = await asked.hub.pubsub.publish_all(asked.app, pubsub, events, trace)
    failed = [
        {"entryId": entry.entry_id, "error": str(error)}
        for entry, error in zip(entries, outcomes, strict=True)
        if error is not None
    ]
    if not failed:
        return Response(status_code=204)
    message = f"{len(failed):,} of {len(entries):,} events were not published; `failedEntries` says why"
    return Json({"failedEntries": failed, "errorCode": NOT_PUBLISHED, "message": message}, 500)


def _names(asked: Asked) -> tuple[str, str]:
    pubsub = parameters.name_in(asked.request, "pubsubName", "a pubsub's name")
    return pubsub, parameters.name_in(asked.request, "topic", "a topic's name")


def _metadata(asked: Asked) -> Mapping[str, str]:
    query = asked.request.query_params.multi_items()
    return {name[len(METADATA) :]: value for name, value in query if name.startswith(METADATA)}


def _read(body: bytes) -> list[Entry]:
    try:
        entries = _entries(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, MALFORMED, f"the body is no list of entries with `entryId` and `event`: {error}") from None
    ids = {entry.entry_id for entry in entries}
    if "" in ids:
        raise Refused(400, MALFORMED, "an entry of the bulk has no entryId; give every entry one")
    if len(ids) != len(entries):
        # a conflict, because the description of the API can say of no list that its items differ in one field
        raise Refused(409, MALFORMED, "each entry of a bulk has an entryId of its own; give every entry another one")
    return entries


def _data(entry: Entry) -> bytes:
    """JSON verbatim; bytes as base64; text without its quotes."""
    raw = bytes(entry.event)
    if is_json(entry.content_type) or raw[:1] != b'"':
        return raw
    text = _text(raw)
    if not entry.content_type.startswith(BYTES):
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(
            400, MALFORMED, f"the event of entry {entry.entry_id[:80]!r} is declared as bytes and is no base64"
        ) from None
