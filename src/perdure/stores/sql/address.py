"""What the addresses of all databases on servers have in common: options that mean the same, and what is shown."""

from __future__ import annotations

from collections.abc import Collection

from perdure.errors import UnknownConfiguration

LEASE_SECONDS = 10.0
"""How long a lease lasts, where the address does not say otherwise."""
LEASE_SECONDS_MIN = 1.0
"""A shorter one would be lost to a pause of the network."""
LEASE_SECONDS_MAX = 3_600.0
"""With a longer one nobody would take over in time."""
SHARDS_MAX = 4_096
"""More would make each look at all shards of a node slow."""


def shown(url: str) -> str:
    """The address without its password."""
    before, at, behind = url.rpartition("@")
    scheme, colon, rest = before.partition("://")
    return repr(f"{scheme}{colon}{rest.partition(':')[0]}{at}{behind}" if at else url)


def shards(name: str, value: str) -> int:
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= SHARDS_MAX:
        raise UnknownConfiguration(f"{name}={value!r}: write a number from 1 to {SHARDS_MAX:,}")
    return int(value)


def lease_seconds(name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not LEASE_SECONDS_MIN <= seconds <= LEASE_SECONDS_MAX:
        raise UnknownConfiguration(
            f"{name}={value!r}: write seconds, from {LEASE_SECONDS_MIN:g} to {LEASE_SECONDS_MAX:g}"
        )
    return seconds


def one_of(known: Collection[str], name: str, value: str) -> str:
    if value not in known:
        raise UnknownConfiguration(f"{name}={value!r} is unknown; there are {', '.join(known)}")
    return value


def some_of(known: Collection[str], name: str, value: str) -> tuple[str, ...]:
    """Words with commas between them."""
    named = tuple(value.split(","))
    if unknown := [one for one in named if one not in known]:
        raise UnknownConfiguration(f"{name}={','.join(unknown)} is unknown; there are {', '.join(known)}")
    return named
