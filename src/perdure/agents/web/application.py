"""The routes put together, and what stands before all of them: who may ask, and errors as answers."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from perdure.agents.hosted import DurableAgent
from perdure.agents.web import chat, completions, runs
from perdure.agents.web.desk import KEY, Desk
from perdure.errors import InstanceExists, InstanceNotFound, InvalidArgument, OutcomeError, PerdureError

log = logging.getLogger("perdure")
Endpoint = Callable[[Desk, Request], Awaitable[Response]]
_ROUTES: tuple[tuple[str, str, Endpoint], ...] = (
    ("GET", "/v1/models", completions.models),
    ("POST", "/v1/chat/completions", completions.completions),
    ("POST", "/agents/{agent}/runs", runs.begin),
    ("GET", "/agents/{agent}/runs/{run}", runs.look),
    ("GET", "/agents/{agent}/runs/{run}/events", runs.events),
    ("POST", "/agents/{agent}/runs/{run}/decisions", runs.decide),
    ("POST", "/agents/{agent}/runs/{run}/cancel", runs.cancel),
)


def application(agents: Iterable[DurableAgent[Any, Any]], *, keys: Sequence[str] = ()) -> Starlette:
    """The agents of an open app as an ASGI application, to be mounted or served.

    With `keys`, a request has to bring one of them as OpenAI's clients do, "Authorization: Bearer KEY"; without them
    everybody may ask who reaches it. Raises InvalidArgument for no agents, two of a name, or a key that is none.
    """
    if isinstance(keys, (str, bytes)) or not all(isinstance(key, str) and key for key in keys):
        raise InvalidArgument("keys are a list of texts that are not empty; write keys=[...]")
    desk, allowed = Desk(agents), [key.encode() for key in keys]
    return Starlette(
        routes=[Route(path, _answering(desk, allowed, answer), methods=[method]) for method, path, answer in _ROUTES]
    )


def _answering(desk: Desk, keys: Sequence[bytes], answer: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def answered(request: Request) -> Response:
        if keys and not _is_allowed(request, keys):
            return _refused(401, "the key is missing or unknown; send one as Authorization: Bearer KEY")
        try:
            return await answer(desk, request)
        except Exception as error:  # noqa: BLE001 because each becomes an answer
            refused = _refusal(error, request.url.path)
            if isinstance(error, OutcomeError) or KEY not in request.headers:
                # because OpenAI's clients send again what failed, which then would begin another run, or fail alike
                refused.headers["x-should-retry"] = "false"
            return refused

    return answered


def _refusal(error: Exception, path: str) -> Response:
    if isinstance(error, PerdureError):
        return _refused(_status(error), str(error.args[0]) if error.args else type(error).__name__, error.code)
    if isinstance(error, TimeoutError):
        return _refused(504, "the run goes on, but its answer took too long for a request; ask again with its key")
    log.error("a request to an agent failed: %s", path, exc_info=error)
    return _refused(500, "this request failed, and it is a defect; the log of the application has the rest")


def _is_allowed(request: Request, keys: Sequence[bytes]) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    # all of them, because how long it takes must not tell which one is near
    matches = [hmac.compare_digest(key, given.strip().encode()) for key in keys]
    return scheme.lower() == "bearer" and any(matches)


def _status(error: PerdureError) -> int:
    match error:
        case InstanceExists():
            return 409
        case InstanceNotFound():
            return 404
        case InvalidArgument():
            return 400
        case OutcomeError():
            return 500
        case _:
            return 503


def _refused(status: int, sentence: str, code: str | None = None) -> Response:
    kinds = {401: "authentication_error", 404: "not_found_error", 500: "server_error", 503: "server_error"}
    return JSONResponse(chat.failure(sentence, kinds.get(status, "invalid_request_error"), code), status)
