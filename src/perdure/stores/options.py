"""What addresses of stores on servers that are no SQL databases have in common: options, and what is shown."""

from __future__ import annotations

from urllib.parse import urlsplit

from perdure.errors import UnknownConfiguration

LEASE_SECONDS = 10.0
"""How long a lease lasts after its last beat, if the address does not say."""
SHARDS = 64
"""How many shards a new app gets, if the address does not say."""


def shown(url: str) -> str:
    """The address without what nobody should read in a log."""
    parts = urlsplit(url)
    _, at, hosts = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{'...@' if at else ''}{hosts}{parts.path}"


def said(options: dict[str, str], name: str, word: str) -> bool:
    """Whether the option is there, which means something only as this word."""
    if name in options and options[name] != word:
        raise UnknownConfiguration(f"{name}={options[name]!r} is unknown; write {name}={word}, or leave it out")
    return name in options


def number(options: dict[str, str], name: str, least: float, most: float) -> float | None:
    """The option's number, None if it is not there."""
    if name not in options:
        return None
    try:
        found = float(options[name])
    except ValueError:
        found = least - 1
    if not least <= found <= most:
        raise UnknownConfiguration(f"{name}={options[name]!r} is no number from {least:g} to {most:g}")
    return found


def whole(found: float | None) -> int | None:
    return None if found is None else int(found)
