"""Which names of a host are ours: a page elsewhere may have bound its own name to this machine, and sends that name."""

from __future__ import annotations

from collections.abc import Container
from ipaddress import ip_address
from urllib.parse import urlsplit

HOST_CHARACTERS_MAX = 255
_LOCAL = "localhost"


def is_own_host(host: str, names: Container[str]) -> bool:
    """Whether a request's Host is one of our `names`, localhost, or the number of an address, which nobody rebinds."""
    name = _hostname(host)
    return name is not None and (name == _LOCAL or name in names or _is_address(name))


def _hostname(host: str) -> str | None:
    if not host or len(host) > HOST_CHARACTERS_MAX or not host.isascii() or any(one in host for one in "/@?#\\ "):
        return None
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname.rstrip(".") if parts.hostname else None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
