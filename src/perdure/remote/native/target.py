"""Where a server is, and what it is to be shown: its address, token, certificates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from perdure.errors import InvalidArgument
from perdure.remote.security import Token
from perdure.remote.settings import GRPC_PORT, TOKEN_VARIABLES

PLAIN, ENCRYPTED = "grpc", "grpcs"
CA_VARIABLE, CERT_VARIABLE, KEY_VARIABLE = "PERDURE_TLS_CA", "PERDURE_TLS_CERT", "PERDURE_TLS_KEY"
"""Files in PEM form: the authority of the server's certificate, if it is none that the system knows; the caller's own
certificate and its key, where the server asks for one."""


class Target(msgspec.Struct, frozen=True):
    """A server's address as gRPC wants it, and what goes with each call."""

    address: str
    is_encrypted: bool = False
    token: Token | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


def target_of(url: str, environment: Mapping[str, str]) -> Target:
    """The server at "grpc://host:port", "grpcs://host:port" (TLS) or "host:port". Raises InvalidArgument."""
    parts = urlsplit(url if "://" in url else f"{PLAIN}://{url}")
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in (PLAIN, ENCRYPTED) or not parts.hostname or port == -1 or parts.path.strip("/"):
        raise InvalidArgument(f"server {url!r}: the address is like grpc://127.0.0.1:{GRPC_PORT}, or grpcs:// for TLS")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    token = next((environment[name] for name in TOKEN_VARIABLES if environment.get(name)), None)
    return Target(
        f"{host}:{port or GRPC_PORT}",
        parts.scheme == ENCRYPTED,
        Token(token) if token else None,
        *(_file(environment.get(name)) for name in (CA_VARIABLE, CERT_VARIABLE, KEY_VARIABLE)),
    )


def _file(name: str | None) -> Path | None:
    return Path(name) if name else None
