"""Where the keys of a shard are, and how numbers are written so that text sorts them."""

from __future__ import annotations

from perdure.stores.shard_ids import app_number, number_in_app

DIRECTORY = "perdure:{apps}:"
"""The prefix of what is known of all apps."""
_ZERO = 1 << 63


def shard_keys(shard: int) -> str:
    """The prefix of the shard's keys; what stands in braces puts all of them into one slot of a cluster."""
    return f"perdure:{{{app_number(shard)}-{number_in_app(shard)}}}:"


def app_keys(app: int) -> str:
    """The prefix of the keys of the app itself: who lives."""
    return f"perdure:{{{app}}}:"


def shard_channel(shard: int) -> str:
    """Where it is published that the shard has mail."""
    return shard_keys(shard) + "mail"


def app_channel(app: int) -> str:
    """Where it is published that the app has calls for any node."""
    return app_keys(app) + "offers"


def digits(number: int) -> str:
    """16 hexadecimal digits of a 64-bit number, which sort as the numbers do."""
    return f"{number + _ZERO:016x}"


def number_of(text: str | bytes) -> int:
    return int(text, 16) - _ZERO
