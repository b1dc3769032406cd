"""Names and texts that clients attach to a server: what its metadata shows as extended."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from perdure.errors import InvalidArgument
from perdure.sdk.options import checked_name

ATTRIBUTES_MAX = 100
"""How many a server keeps."""
ATTRIBUTE_BYTES_MAX = 4_096
"""Bound of the text of one."""


class Attributes:
    """At most ATTRIBUTES_MAX of them, in memory: they are gone with the process, as they are with a sidecar."""

    def __init__(self, first: Mapping[str, str] | None = None) -> None:
        self._held: dict[str, str] = dict(first or {})

    @property
    def held(self) -> Mapping[str, str]:
        """All of them, to read."""
        return MappingProxyType(self._held)

    def put(self, name: str, value: str) -> None:
        """Set one. Raises InvalidArgument if there are too many, or name or value cannot be kept."""
        checked_name(name, "the name of an attribute")
        if len(value.encode()) > ATTRIBUTE_BYTES_MAX:
            raise InvalidArgument(f"attribute {name!r} is longer than {ATTRIBUTE_BYTES_MAX:,} bytes; shorten it")
        if name not in self._held and len(self._held) >= ATTRIBUTES_MAX:
            raise InvalidArgument(f"there are {ATTRIBUTES_MAX} attributes already; set one of those")
        self._held[name] = value

    def __repr__(self) -> str:
        return f"<Attributes: {len(self._held)}>"
