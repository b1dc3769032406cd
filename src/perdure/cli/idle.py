"""Options of `dapr run` for which there is nothing here to set: taken, and told of, so that a command line may stay."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import typer

from perdure.errors import InvalidArgument

Text = Annotated[str | None, typer.Option(hidden=True)]
Flag = Annotated[bool, typer.Option(hidden=True)]


@dataclass(frozen=True)
class Idle:
    """What was given of them."""

    config: Annotated[str | None, typer.Option("--config", "-c", hidden=True)] = None
    runtime_path: Text = None
    placement_host_address: Text = None
    scheduler_host_address: Text = None
    dapr_internal_grpc_port: Annotated[str | None, typer.Option("--dapr-internal-grpc-port", "-I", hidden=True)] = None
    dapr_listen_addresses: Text = None
    max_body_size: Annotated[
        str | None, typer.Option("--max-body-size", "--dapr-http-max-request-size", hidden=True)
    ] = None
    read_buffer_size: Annotated[
        str | None, typer.Option("--read-buffer-size", "--dapr-http-read-buffer-size", hidden=True)
    ] = None
    log_level: Text = None
    enable_api_logging: Flag = False
    metrics_port: Annotated[str | None, typer.Option("--metrics-port", "-M", hidden=True)] = None
    enable_profiling: Flag = False
    profile_port: Text = None
    app_ssl: Flag = False
    app_max_concurrency: Text = None
    enable_app_health_check: Flag = False
    app_health_check_path: Text = None
    app_health_probe_interval: Text = None
    app_health_probe_timeout: Text = None
    app_health_threshold: Text = None
    unix_domain_socket: Annotated[str | None, typer.Option("--unix-domain-socket", "-u", hidden=True)] = None

    def warnings(self) -> Iterator[str]:
        """A sentence for each that was given. Raises InvalidArgument for one without which a program would not work."""
        if self.unix_domain_socket:
            raise InvalidArgument(
                "--unix-domain-socket cannot be served: the server listens on ports alone, and the program would find "
                "no socket; leave it out"
            )
        for field in dataclasses.fields(self):
            if getattr(self, field.name):
                yield f"--{field.name.replace('_', '-')} has no effect here"
