"""The routes of the table put together, and what stands before all of them: the token, and errors as answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from perdure.clock import Clock, SystemClock
from perdure.engine.auditing import acting
from perdure.errors import NotPermitted, PerdureError
from perdure.history.audit_log import Principal
from perdure.hosts import is_own_host
from perdure.remote.http.actors import ACTOR_ROUTES
from perdure.remote.http.blocks import BlockRoute, routes_of
from perdure.remote.http.document import BLOCKS, document
from perdure.remote.http.endpoints import Asked, Json
from perdure.remote.http.faults import API_UNKNOWN, BAD_REQUEST, Fault, fault_of, record
from perdure.remote.http.feed import PATH, Feeds
from perdure.remote.http.hub import Hub
from perdure.remote.http.operations import OPERATIONS, Operation
from perdure.remote.security import APP_KEY, admit, admit_anybody

BLOCK_ROUTES: tuple[BlockRoute, ...] = (*ACTOR_ROUTES,)
"""Those of Dapr's building blocks, which its own documents describe."""


def http_app(hub: Hub) -> Starlette:
    """The application that serves one hub. It has no lifespan: what is behind the hub is opened by somebody else."""
    clock = SystemClock()
    components = {name: hub.components(block) for name, block in BLOCKS.items()}
    description = msgspec.json.encode(document(hub.policy, components))
    endpoints: dict[str, dict[str, Callable[[Request], Any]]] = {}
    for operation in OPERATIONS:
        for path in operation.paths():
            endpoints.setdefault(path, {})[operation.method] = _endpoint(operation, hub, clock, description)
    # one route for each path, because what is told of methods that a path has not is told by its route
    routes = [Route(path, _by_method(of_path), methods=list(of_path)) for path, of_path in endpoints.items()]
    routes += routes_of(BLOCK_ROUTES, hub, _APP, _answer)
    routes.append(Route(PATH, _feed(Feeds(hub)), methods=["GET"]))
    app = Starlette(
        routes=routes, middleware=[Middleware(_Door, hub=hub)], exception_handlers={HTTPException: _unrouted}
    )
    app.router.redirect_slashes = False  # because a redirected POST may lose its body
    return app


class _Door:
    """Takes the path as it was sent, so that an escaped slash is no separator, and admits the caller to an app."""

    def __init__(self, app: ASGIApp, hub: Hub) -> None:
        self._app = app
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http":
            scope = {**scope, "path": scope["raw_path"].decode("ascii")}
            try:
                policy = self._hub.policy
                if policy.api_token is None:
                    _refuse_other_sites(scope, policy.hosts)
                grant = admit_anybody(policy) if scope["path"] in _OPEN else admit(_shown(scope), policy)
                scope[_APP] = grant.app
                acting.set(Principal(kind="server", name=grant.name, place=_peer(scope)))
            except PerdureError as error:
                app = _answer(fault_of(error, BAD_REQUEST))
        await app(scope, receive, send)


_APP = "perdure.app"
_OPEN = frozenset(path for operation in OPERATIONS if operation.open for path in operation.paths())


def _refuse_other_sites(scope: Scope, hosts: frozenset[str] | None) -> None:
    """A browser sends for any page of the web to this port too; with a token it cannot, as the page has none.

    To a page that has bound its own name to this machine it even gives the answers; it sends that name. Raises
    NotPermitted.
    """
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    host = headers.get(b"host")
    if host is not None and hosts is not None and not is_own_host(host, hosts):
        raise NotPermitted(
            f"this port does not go by the name {host[:100]!r}; call localhost, start the server with --ui-host and "
            "the name, or with an API token"
        )
    origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site", "none")
    is_ours = origin is None or urlsplit(origin).netloc == host
    if scope["method"] not in _LOOKS and not (is_ours and site in ("none", "same-origin")):
        raise NotPermitted("a page of another site has sent this, which only a server with an API token takes")


_LOOKS = frozenset(("GET", "HEAD", "OPTIONS"))
"""Methods that change nothing, and whose answers a browser keeps from pages of other sites."""


def _peer(scope: Scope) -> str:
    """The address that a request came from."""
    host, port = scope.get("client") or ("", 0)
    return f"{host}:{port}"


def _shown(scope: Scope) -> list[tuple[str, str | bytes]]:
    """What a request shows of its caller: its headers, and the app that its query names."""
    found: list[tuple[str, str | bytes]] = [(name.decode("latin-1"), value) for name, value in scope["headers"]]
    query = parse_qsl(scope["query_string"].decode("latin-1"))
    return found + [(APP_KEY, value) for name, value in query if name == "appID"]


def _endpoint(operation: Operation, hub: Hub, clock: Clock, description: bytes) -> Callable[[Request], Any]:
    async def answered(request: Request) -> Response:
        try:
            return await operation.answer(Asked(request, request.scope[_APP], hub, clock, description))
        except ClientDisconnect:
            return Response(status_code=400)  # because nobody is there to read it
        except asyncio.CancelledError as error:
            # because only a stop that waits no longer cancels a request, and its client is to hear that
            return _answer(_recorded(error, operation))
        except Exception as error:  # noqa: BLE001 because whatever it is, the client gets an answer and the log the rest
            return _answer(_recorded(error, operation))

    return answered


def _by_method(endpoints: Mapping[str, Callable[[Request], Any]]) -> Callable[[Request], Any]:
    async def answered(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await endpoints[method](request)  # type: ignore[no-any-return]

    return answered


def _feed(feeds: Feeds) -> Callable[[Request], Any]:
    """Apart from the table of operations, because no description can promise an answer that never ends."""

    async def answered(request: Request) -> Response:
        try:
            return await feeds.answer(request, request.scope[_APP])
        except Exception as error:  # noqa: BLE001 because whatever it is, the client gets an answer and the log the rest
            fault = fault_of(error, BAD_REQUEST)
            record(error, fault, "events")
            return _answer(fault)

    return answered


def _recorded(error: BaseException, operation: Operation) -> Fault:
    fault = fault_of(error, operation.code)
    record(error, fault, operation.id)
    return fault


async def _unrouted(request: Request, error: Exception) -> Response:
    """The answer where no operation is."""
    headers = getattr(error, "headers", None)
    if headers is not None and "Allow" in headers:
        fault = Fault(405, BAD_REQUEST, f"{request.method} is not possible here; {headers['Allow']} is")
        return _answer(fault, dict(headers))
    return _answer(Fault(404, API_UNKNOWN, "there is no such API here; /openapi.json says what there is"))


def _answer(fault: Fault, headers: dict[str, str] | None = None) -> Response:
    if fault.status == HTTPStatus.REQUEST_TIMEOUT:
        headers = {"connection": "close"}  # because the rest of the body would be waited for
    return Json({"errorCode": fault.code, "message": fault.message}, fault.status, headers)
