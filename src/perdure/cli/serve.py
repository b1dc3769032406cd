"""The command `serve`: a server for workers and clients of any language, until it is told to stop."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from perdure.cli import systemd
from perdure.cli.components import resources_in
from perdure.cli.logs import LogFormatOption, log_to
from perdure.cli.serving import Make, Serving, real_server
from perdure.cli.states import States
from perdure.cli.stopping import Stopping
from perdure.cli.target import JsonOption, StoreOption
from perdure.cli.tracing import TraceSampleOption
from perdure.errors import InvalidArgument
from perdure.remote.settings import (
    ALL_APPS_TOKEN_VARIABLES,
    DRAIN_SECONDS,
    GRPC_PORT,
    HTTP,
    HTTP_PORT,
    LOOPBACK,
    TOKEN_VARIABLES,
    WEBHOOK_SECRET_VARIABLES,
    Listener,
    ServerSettings,
    Tls,
    app_url,
    find_token,
)
from perdure.sdk.webhooks import Webhook

log = logging.getLogger("perdure")
AppIdOption = Annotated[
    str | None, typer.Option("--app-id", "-a", envvar="APP_ID", metavar="NAME", help="The app that is served.")
]
ApiTokenFileOption = Annotated[
    Path | None,
    typer.Option("--api-token-file", metavar="FILE", help="Holds the token of callers; else $DAPR_API_TOKEN."),
]
DrainOption = Annotated[
    float, typer.Option("--drain-seconds", help="How long what runs may take to end when it is told to stop.")
]
ResourcesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--resources-path",
        "-d",
        "--components-path",
        metavar="FOLDER",
        help="Its YAML files say which components the app has; give it again for more folders.",
    ),
]
InsecurePublicOption = Annotated[
    bool,
    typer.Option("--allow-insecure-public", help="Listen on a public address without TLS, or without a token."),
]
TlsCertOption = Annotated[Path | None, typer.Option("--tls-cert", metavar="FILE", help="PEM; with --tls-key.")]
TlsKeyOption = Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="PEM, not encrypted.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Log what the engine does.")]


async def serve(
    app_id: AppIdOption = None,
    store: StoreOption = None,
    resources_path: ResourcesOption = None,
    host: Annotated[
        str,
        typer.Option("--host", envvar="PERDURE_HOST", help="Address to listen on; a public one needs TLS and a token."),
    ] = LOOPBACK,
    grpc_port: Annotated[
        int, typer.Option("--grpc-port", envvar="DAPR_GRPC_PORT", metavar="PORT", help="0 takes a free one.")
    ] = GRPC_PORT,
    http_port: Annotated[
        int, typer.Option("--http-port", envvar="DAPR_HTTP_PORT", metavar="PORT", help="0 takes a free one.")
    ] = HTTP_PORT,
    no_http: Annotated[bool, typer.Option("--no-http", help="Serve gRPC alone.")] = False,
    app_port: Annotated[
        int,
        typer.Option(
            "--app-port", envvar="APP_PORT", min=0, metavar="PORT", help="Where the program listens, if it does."
        ),
    ] = 0,
    app_protocol: Annotated[
        str, typer.Option("--app-protocol", envvar="APP_PROTOCOL", metavar="NAME", help="What it speaks there.")
    ] = HTTP,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", envvar="PERDURE_TLS_CERT", metavar="FILE", help="PEM; with --tls-key.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", envvar="PERDURE_TLS_KEY", metavar="FILE", help="PEM, not encrypted.")
    ] = None,
    client_ca: Annotated[
        Path | None,
        typer.Option(
            "--client-ca", envvar="PERDURE_CLIENT_CA", metavar="FILE", help="Callers show a certificate that it signed."
        ),
    ] = None,
    api_token_file: ApiTokenFileOption = None,
    all_apps_token_file: Annotated[
        Path | None,
        typer.Option(
            "--all-apps-token-file",
            metavar="FILE",
            help="Holds a token that opens every app; else $PERDURE_ALL_APPS_TOKEN.",
        ),
    ] = None,
    no_ui: Annotated[bool, typer.Option("--no-ui", help="Without the dashboard, which is under /ui.")] = False,
    ui_host: Annotated[
        list[str] | None,
        typer.Option("--ui-host", metavar="NAME", help="A name by which browsers reach the port, beside localhost."),
    ] = None,
    drain_seconds: DrainOption = DRAIN_SECONDS,
    quarantine_workers: Annotated[
        bool,
        typer.Option("--quarantine-workers", help="Stop work with which four workers in a row have died at once."),
    ] = False,
    no_audit: Annotated[bool, typer.Option("--no-audit", help="Enter no management action in the audit log.")] = False,
    lifecycle: Annotated[
        bool, typer.Option("--lifecycle", help="Write what happens to instances, for those who follow it.")
    ] = False,
    webhook: Annotated[
        str | None,
        typer.Option("--webhook", envvar="PERDURE_WEBHOOK", metavar="URL", help="Tell it what happens to instances."),
    ] = None,
    webhook_secret_file: Annotated[
        Path | None,
        typer.Option(
            "--webhook-secret-file", metavar="FILE", help="Signs what it is told; else $PERDURE_WEBHOOK_SECRET."
        ),
    ] = None,
    allow_insecure_public: InsecurePublicOption = False,
    trace_sample: TraceSampleOption = None,
    log_format: LogFormatOption = None,
    verbose: VerboseOption = False,
    json: JsonOption = False,
) -> int:
    """Serve an app to workers and clients of any language until SIGTERM or Ctrl-C; a second one ends at once."""
    if not app_id:
        raise InvalidArgument("no app is named; give --app-id NAME, or set APP_ID")
    listener = Listener(
        app_id=app_id,
        grpc_port=grpc_port,
        http_port=None if no_http else http_port,
        resources=resources_in(tuple(resources_path or ())),
        app_url=app_url(app_protocol, LOOPBACK, app_port),
    )
    settings = ServerSettings(
        listeners=(listener,),
        store=store or f"sqlite:///{app_id}.db",
        host=host,
        tls=tls_of(tls_cert, tls_key, client_ca),
        api_token=find_token(api_token_file, os.environ, TOKEN_VARIABLES),
        all_apps_token=find_token(all_apps_token_file, os.environ, ALL_APPS_TOKEN_VARIABLES),
        insecure_public=allow_insecure_public,
        drain_seconds=drain_seconds,
        quarantines=quarantine_workers,
        ui=not no_ui,
        ui_hosts=tuple(ui_host or ()),
        audit=not no_audit,
        trace_sample=trace_sample,
        lifecycle=lifecycle,
        webhook=webhook_of(webhook, webhook_secret_file),
    )
    log_to(log_format, verbose=verbose)
    for warning in listener.resources.warnings:
        log.warning("%s", warning)
    return await serve_until_stopped(settings, States(app_id, as_json=json), real_server)


async def serve_until_stopped(settings: ServerSettings, states: States, make: Make) -> int:
    """Serve until a signal or a Shutdown call comes, then drain. Raises PerdureError if it cannot begin, or fails."""
    stopping = Stopping()
    stopping.watch()
    serving = Serving(settings, states, stopping.asked, make)
    if not await serving.open():
        return 0
    supervisor = systemd.own()
    async with supervisor.told():
        try:
            await serving.until_stopped()
        finally:
            supervisor.stopping()
            has_closed = await serving.close()
    return serving.end(0, has_closed=has_closed)


def webhook_of(url: str | None, secret_file: Path | None) -> Webhook | None:
    """The webhook of a server, None if none is named. Raises InvalidArgument."""
    if url is None:
        return None
    secret = find_token(secret_file, os.environ, WEBHOOK_SECRET_VARIABLES)
    return Webhook(url, None if secret is None else secret.reveal())


def tls_of(cert: Path | None, key: Path | None, client_ca: Path | None) -> Tls | None:
    """The files of a server's certificate, None if there are none. Raises InvalidArgument if one lacks another."""
    if cert is None and key is None and client_ca is None:
        return None
    if cert is None or key is None:
        raise InvalidArgument("TLS takes two files, --tls-cert and --tls-key; --client-ca may be added to them")
    return Tls(cert=cert, key=key, client_ca=client_ca)
