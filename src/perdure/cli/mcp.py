"""The command `mcp`: tools for a model to look at instances and steer them, over standard input or HTTP."""

from __future__ import annotations

import os
import signal
import socket
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from perdure.cli import serving
from perdure.cli.logs import log_to
from perdure.cli.serve import InsecurePublicOption, TlsCertOption, TlsKeyOption, tls_of
from perdure.cli.states import States
from perdure.cli.stopping import Stopping
from perdure.cli.target import CodecOption, JsonOption, ServerOption, StoreOption, Target, TargetOption, cli_principal
from perdure.cli.targets import find_target
from perdure.errors import NotPermitted
from perdure.sdk.role import Role

MCP_PORT = 3_590
"""Where it listens if nothing else is said."""
TOKEN_VARIABLES = ("PERDURE_MCP_TOKEN",)


class Transport(StrEnum):
    """How callers reach it."""

    STDIO = "stdio"
    HTTP = "http"


async def mcp(
    store: StoreOption = None,
    app: Annotated[str | None, typer.Option("--app", metavar="ID", help="Which app, if there are several.")] = None,
    server: ServerOption = None,
    target: TargetOption = None,
    codec: CodecOption = None,
    transport: Annotated[
        Transport, typer.Option("--transport", help="stdio for a program that starts it; http for a port.")
    ] = Transport.STDIO,
    allow_writes: Annotated[
        bool, typer.Option("--allow-writes", help="With the tools that change instances; else they can only look.")
    ] = False,
    host: Annotated[str, typer.Option("--host", help="With http: address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="PORT", help="With http: its port; 0 takes a free one.")
    ] = MCP_PORT,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option("--allowed-host", metavar="NAME", help="A name by which callers reach it, beside localhost."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", metavar="FILE", help="Holds the token of callers; else $PERDURE_MCP_TOKEN."),
    ] = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    allow_insecure_public: InsecurePublicOption = False,
    json: JsonOption = False,
) -> int:
    """Serve tools for a model (MCP): list, show, explain; with --allow-writes raise, rerun, suspend, cancel too."""
    log_to(None, verbose=False)
    serving.load_extra("perdure.remote.mcp", "an MCP server", "cli,mcp")
    from perdure.remote.http.listener import HttpListener
    from perdure.remote.mcp import PATH, Access, http_app, mcp_server, serve_stdio
    from perdure.remote.settings import check_reach, find_token, server_context

    role = role_of(target, allow_writes=allow_writes)
    token = find_token(token_file, os.environ, TOKEN_VARIABLES)
    tls = tls_of(tls_cert, tls_key, None)
    if transport is Transport.HTTP:
        check_reach(host, is_encrypted=tls is not None, asks=token is not None, insecure_public=allow_insecure_public)
    place = Target(store=store, app=app, codec=codec, server=server, target=target)
    async with place.client(read_only=not allow_writes) as client:
        access = Access(role, cli_principal().name, socket.gethostname())
        made = mcp_server(client, place.command, access)
        if transport is Transport.STDIO:
            # because the library reads standard input in a thread, for which Python would wait until that is closed
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            await serve_stdio(made)
            return 0
        async with http_app(made, token=token, hosts=[*(allowed_host or ()), host]) as served:
            context = server_context(tls) if tls is not None else None
            async with HttpListener(served, host=host, port=port, tls=context) as listener:
                scheme = "https" if tls is not None else "http"
                url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{listener.port}{PATH}"
                states = States("mcp", as_json=json)
                states.tell("serving", f"{url} for role {role.word}; Ctrl-C ends it", url=url, role=role.word)
                stopping = Stopping()
                stopping.watch()
                await stopping.asked.wait()
    states.tell("stopped", "no more tools")
    return 0


def role_of(target: str | None, *, allow_writes: bool) -> Role:
    """What callers may do: look, or all that the file of targets gives. Raises InvalidArgument, NotPermitted."""
    given = find_target(target).role if target is not None else Role.ADMIN
    if allow_writes and given < Role.OPERATE:
        raise NotPermitted(
            f"target {target!r} is for role {given.word}, and --allow-writes needs {Role.OPERATE.word}; leave it away"
        )
    return given if allow_writes else Role.READ
