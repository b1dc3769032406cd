"""The server itself: which tools a caller has, who is entered in the audit log, and the two ways to reach it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.resources.templates import ResourceSecurity
from mcp.server.mcpserver.tools import Tool
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import ASGIApp, Receive, Scope, Send

from perdure.engine.auditing import MCP, acting
from perdure.errors import NotAuthenticated
from perdure.history.audit_log import Principal
from perdure.remote.http.endpoints import Json
from perdure.remote.http.faults import BAD_REQUEST, fault_of
from perdure.remote.mcp import answers
from perdure.remote.mcp.looking import Looking
from perdure.remote.mcp.steering import Steering
from perdure.remote.mcp.tool import LOOK, resource, steer, tool
from perdure.remote.security import ANONYMOUS, Policy, Token, admit
from perdure.sdk.client import Client
from perdure.sdk.role import Role

PATH = "/mcp"
BODY_BYTES_MAX = 1_000_000
"""Bound of one request over HTTP."""
CLAIM_CHARACTERS_MAX = 100
"""What the audit log keeps of the name that a caller's program gives itself."""
EXPLANATION = "perdure://instances/{+id}/explanation"
INSTRUCTIONS = (
    "Perdure runs durable workflows. To find out why something does not finish, ask explain_instance of its id, or "
    "explain_all if none is known; list_failures groups what failed. Read an explanation before you change anything."
)


@dataclass(frozen=True)
class Access:
    """What callers may do, and who they are for the audit log: `name` at `place`, where the transport tells no more."""

    role: Role
    name: str
    place: str


def mcp_server(client: Client, command: answers.Command, access: Access) -> MCPServer[Any]:
    """A server of the tools that the role gives. `command` completes the commands of explanations."""
    looking = Looking(client, command)
    server: MCPServer[Any] = MCPServer(
        "perdure",
        title="Perdure",
        version=version("perdure"),
        instructions=INSTRUCTIONS,
        tools=tools(looking, Steering(client), access.role),
        log_level="WARNING",
        subscriptions=False,
        middleware=[_Names(access)],
        # because an id is no path of a file
        resource_security=ResourceSecurity(exempt_params={"id"}),
    )
    server.resource(
        EXPLANATION,
        name="explanation",
        description="Why an instance is not finished; `id` is percent-encoded.",
        mime_type="application/json",
    )(resource(looking.explain_instance))
    return server


def tools(looking: Looking, steering: Steering, role: Role) -> list[Tool]:
    """What a role may do. A tool that it may not use is not there, because a model tries what it sees."""
    found = [
        tool(look, LOOK)
        for look in (
            looking.overview,
            looking.list_instances,
            looking.show_instance,
            looking.explain_instance,
            looking.explain_all,
            looking.get_history,
            looking.list_failures,
        )
    ]
    if role >= Role.OPERATE:
        found += [
            tool(steering.raise_event, steer()),
            tool(steering.rerun_instance, steer()),
            tool(steering.retry_failures, steer(repeatable=True)),
            tool(steering.suspend_instance, steer(repeatable=True)),
            tool(steering.resume_instance, steer(repeatable=True)),
            tool(steering.cancel_instance, steer(ends=True, repeatable=True)),
        ]
    if role >= Role.ADMIN:
        found.append(tool(steering.terminate_instance, steer(ends=True, repeatable=True)))
    return found


async def serve_stdio(server: MCPServer[Any]) -> None:
    """Answer on standard output what comes on standard input, until that ends."""
    await server.run_stdio_async()


@asynccontextmanager
async def http_app(server: MCPServer[Any], *, token: Token | None, hosts: Iterable[str]) -> AsyncIterator[ASGIApp]:
    """The application that serves it under /mcp while the context is open.

    `hosts` are the names by which it is reached beside localhost. It keeps no sessions, so that a caller does not
    notice when it is started again.
    """
    names = ["127.0.0.1", "localhost", "[::1]", *hosts]
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        stateless_http=True,
        json_response=True,
        max_request_body_size=BODY_BYTES_MAX,
        transport_security=TransportSecuritySettings(
            allowed_hosts=[form for name in names for form in (name, f"{name}:*")],
            allowed_origins=[
                f"{scheme}://{form}" for scheme in ("http", "https") for name in names for form in (name, f"{name}:*")
            ],
        ),
    )
    async with server.session_manager.run():
        yield _Door(app, token)


class _Names:
    """Says for the audit log who acts in a request."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        name, place = self._access.name, self._access.place
        if ctx.request is not None:
            name, peer = ctx.request.scope[_CALLER], ctx.request.client
            place = f"{peer.host}:{peer.port}" if peer is not None else place
        acting.set(Principal(kind=MCP, name=name, place=place, claims=_claims(ctx)))
        return await call_next(ctx)


def _claims(context: ServerRequestContext[Any, Any]) -> str:
    """The program of the caller, as it calls itself."""
    params = context.session.client_params
    info = params.client_info if params is not None else None
    return f"{info.name} {info.version}"[:CLAIM_CHARACTERS_MAX] if info is not None else ""


_CALLER = "perdure.caller"


class _Door:
    """Admits who shows the token, where there is one."""

    def __init__(self, app: ASGIApp, token: Token | None) -> None:
        self._app = app
        self._policy = Policy(app_id="mcp", api_token=token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http":
            try:
                scope = {**scope, _CALLER: admitted(scope["headers"], self._policy)}
            except NotAuthenticated as error:
                fault = fault_of(error, BAD_REQUEST)
                app = Json(
                    {"errorCode": fault.code, "message": fault.message},
                    fault.status,
                    {"www-authenticate": "Bearer"},
                )
        await app(scope, receive, send)


def admitted(headers: Iterable[tuple[bytes, bytes]], policy: Policy) -> str:
    """The name of a caller for the audit log. Raises NotAuthenticated."""
    shown = [(name.decode("latin-1"), value) for name, value in headers if name.lower() in _SHOWN]
    try:
        grant = admit(shown, policy)
    except NotAuthenticated:
        raise NotAuthenticated(
            "this MCP server asks for a token, and the request has none or a wrong one; "
            "send the header Authorization: Bearer TOKEN"
        ) from None
    return "mcp-token" if grant.name != ANONYMOUS else ANONYMOUS


_SHOWN = frozenset((b"authorization", b"dapr-api-token"))
