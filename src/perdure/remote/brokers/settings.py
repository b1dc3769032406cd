"""What can be set of a broker, from its address."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

import msgspec

from perdure.errors import InvalidArgument, UnknownConfiguration
from perdure.stores.options import shown

PARTS_MAX = 64
"""Parts of one topic. A node holds a connection for each part that it reads."""
LEASE_SECONDS = 10.0
"""How long a reader of a part that says nothing has it: a dead one's messages go to others after this."""
KEEP_SECONDS = 7 * 86_400.0
"""How long a topic keeps its messages, handled or not."""
DEDUP_SECONDS = 600.0
"""How long a broker knows a message that was published, and takes no second one of the same source and id."""
OPTIONS = ("parts", "lease", "keep", "dedup", "keep_messages")


class BrokerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`url` is where it is. Times in seconds.

    `parts`: of topics that this process is the first to use. One part is read by one node at a time, and has the
    layout of Dapr's component. `keep_messages`: about how many a topic keeps at most, None for as many as come.
    """

    url: str
    parts: int = 1
    lease: float = LEASE_SECONDS
    keep: float = KEEP_SECONDS
    dedup: float = DEDUP_SECONDS
    keep_messages: int | None = None


def read_settings(address: str) -> BrokerSettings:
    """Those of an address such as redis://HOST:6379/0?parts=4; what its query does not name is left to the client.

    Raises InvalidArgument for a value that cannot be used, UnknownConfiguration for options that do not exist.
    """
    parts = urlsplit(address)
    if not parts.hostname:
        raise InvalidArgument(f"{shown(address)!r} is no address of a broker; write one like redis://HOST:6379/0")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(options.keys() - set(OPTIONS)):
        raise UnknownConfiguration(f"the address of a broker has unknown options {unknown}; there are {OPTIONS}")
    count = options.get("keep_messages")
    return BrokerSettings(
        url=parts._replace(query="").geturl(),
        parts=int(_number(options, "parts", 1, 1, PARTS_MAX)),
        lease=_number(options, "lease", LEASE_SECONDS, 0.5, 3_600.0),
        keep=_number(options, "keep", KEEP_SECONDS, 1.0, 100 * 365 * 86_400.0),
        dedup=_number(options, "dedup", DEDUP_SECONDS, 0.1, 86_400.0),
        keep_messages=None if count is None else int(_number(options, "keep_messages", 1, 1, 10**12)),
    )


def _number(options: Mapping[str, str], name: str, usual: float, least: float, most: float) -> float:
    text = options.get(name)
    if text is None:
        return usual
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not least <= found <= most:
        raise InvalidArgument(f"{name}={text[:40]} of a broker's address is no number from {least:g} to {most:g}")
    return found
