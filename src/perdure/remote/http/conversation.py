"""What the routes of conversations do: JSON as protobuf maps it, and else what the calls do."""

from __future__ import annotations

from starlette.responses import Response

from perdure.errors import ComponentNotFound
from perdure.remote.http import bodies, parameters
from perdure.remote.http.endpoints import Asked, Json
from perdure.remote.http.faults import Refused
from perdure.remote.wire.conversation import ALPHA1, ALPHA2, Version

UNKNOWN = "ERR_CONVERSATION_NOT_FOUND"
NO_INPUTS = "ERR_CONVERSATION_MISSING_INPUTS"


async def converse_alpha1(asked: Asked) -> Response:
    return await _converse(asked, ALPHA1)


async def converse_alpha2(asked: Asked) -> Response:
    return await _converse(asked, ALPHA2)


async def _converse(asked: Asked, version: Version) -> Response:
    component = parameters.segment(asked.request, "conversationComponent")
    said = version.read_json(component, bodies.text_of(await bodies.read(asked.request)) or "{}")
    if not any(one.messages for one in said.conversations):
        raise Refused(400, NO_INPUTS, f"nothing is said to {component[:80]!r}: the body has no `inputs`; send some")
    try:
        answers = await asked.hub.conversation.converse(asked.app, said)
    except ComponentNotFound as error:
        raise Refused(400, UNKNOWN, str(error)) from error
    return Response(version.write_json(said, answers), media_type=Json.media_type)
