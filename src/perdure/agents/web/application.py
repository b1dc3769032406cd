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
from perdure.hosts import is_own_host

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


def application(
    agents: Iterable[DurableAgent[Any, Any]], *, keys: Sequence[str] = (), hosts: Sequence[str] | None = ()
) -> Starlette:
    """The agents of an open app as an ASGI application, to be mounted or served.

    With `keys`, a request has to bring one of them as OpenAI's clients do, "Authorization: Bearer KEY". Without them
    everybody may ask who reaches it by one of the names `hosts`, by localhost or by an address in numbers, and with
    `hosts` None by any name, as behind a proxy that knows who asks. Raises InvalidArgument for no agents, two of a
    name, or a key or host that is none.
    """
    texts = {"keys": keys, "hosts": () if hosts is None else hosts}
    for name, given in texts.items():
        if isinstance(given, (str, bytes)) or not all(isinstance(each, str) and each for each in given):
            raise InvalidArgument(f"{name} are a list of texts that are not empty; write {name}=[...]")
    desk, guard = Desk(agents), _Guard(keys, hosts)
    return Starlette(
        routes=[Route(path, _answering(desk, guard, answer), methods=[method]) for method, path, answer in _ROUTES]
    )


def _answering(desk: Desk, guard: _Guard, answer: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def answered(request: Request) -> Response:
        kept_out = guard.refusal(request)
        if kept_out is not None:
            return kept_out
        try:
            return await answer(desk, request)
        except Exception as error:  # noqa: BLE001 because each becomes an answer
            refused = _refusal(error, request.url.path)
            if isinstance(error, OutcomeError) or KEY not in request.headers:
                # because OpenAI's clients send again what failed, which then would begin another run, or fail alike
                refused.headers["x-should-retry"] = "false"
            return refused

    return answered


class _Guard:
    """Who may ask: with keys who has one, else who knows us by a name of ours, which a page of the web does not."""

    def __init__(self, keys: Sequence[str], hosts: Sequence[str] | None) -> None:
        self._keys = [key.encode() for key in keys]
        self._hosts = frozenset(host.lower() for host in hosts) if hosts is not None and not keys else None

    def refusal(self, request: Request) -> Response | None:
        if self._keys and not _is_allowed(request, self._keys):
            return _refused(401, "the key is missing or unknown; send one as Authorization: Bearer KEY")
        host = request.headers.get("host")
        if host is not None and self._hosts is not None and not is_own_host(host, self._hosts):
            return _refused(421, f"these agents do not go by the name {host[:100]!r}; add it: application(hosts=[...])")
        return None


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
