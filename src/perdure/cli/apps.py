"""An app that `perdure run` runs, and the environment that its program gets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from perdure.remote.security import Token
from perdure.remote.settings import HTTP, LOOPBACK, Listener, app_url

ELSEWHERE = ("DAPR_GRPC_ENDPOINT", "DAPR_HTTP_ENDPOINT", "DAPR_RUNTIME_HOST", "DAPR_GRPC_HOST", "DAPR_METRICS_PORT")
"""Variables that a program does not inherit, because with them it would go to another server than the one beside it."""


class AppEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One app. Ports of 0 mean a free one; `app_port` 0: the program listens on none.

    No `command` means that only the server is wanted. `resource_folders` hold the files of its components. `line` is
    where the entry begins in its file.
    """

    app_id: str
    folder: Path
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    app_port: int = 0
    app_protocol: str = HTTP
    app_address: str = LOOPBACK
    grpc_port: int = 0
    http_port: int = 0
    resource_folders: tuple[Path, ...] = ()
    line: int = 0

    @property
    def listener(self) -> Listener:
        return Listener(
            app_id=self.app_id,
            grpc_port=self.grpc_port,
            http_port=self.http_port,
            app_url=app_url(self.app_protocol, self.app_address, self.app_port),
        )


def environment(
    entry: AppEntry, listener: Listener, token: Token | None, inherited: Mapping[str, str]
) -> dict[str, str]:
    """What the program of an app finds: as Dapr's CLI sets it, with the ports that the `listener` has. What the entry
    itself sets comes last, so it wins. Pure."""
    found = {name: value for name, value in inherited.items() if name not in ELSEWHERE}
    # because a Python whose output is a pipe would keep its lines back
    found.setdefault("PYTHONUNBUFFERED", "1")
    found["APP_ID"] = entry.app_id
    found["APP_CHANNEL_ADDRESS"] = entry.app_address
    found["APP_PROTOCOL"] = entry.app_protocol
    found["DAPR_GRPC_PORT"] = str(listener.grpc_port)
    if listener.http_port is not None:
        found["DAPR_HTTP_PORT"] = str(listener.http_port)
    if entry.app_port:
        found["APP_PORT"] = str(entry.app_port)
    if token is not None:
        found["DAPR_API_TOKEN"] = token.reveal()
    return {**found, **entry.environment}
