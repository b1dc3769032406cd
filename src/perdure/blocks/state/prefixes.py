"""How the key of an app becomes the key in a store that several apps share, as Dapr writes it. Pure."""

from __future__ import annotations

from perdure.errors import InvalidArgument

SEPARATOR = "||"
"""Stands between a prefix and a key, and so in neither of them."""


def prefix_of(strategy: str, *, app_id: str, store: str, namespace: str) -> str:
    """What the keys begin with: for `appid`, `name` (of the store), `namespace`, `none`; any other word is itself one.

    Raises InvalidArgument.
    """
    match strategy.lower():
        case "" | "appid":
            return app_id + SEPARATOR
        case "name":
            return store + SEPARATOR
        case "none":
            return ""
        case "namespace":
            return f"{namespace}.{app_id}{SEPARATOR}" if namespace else app_id + SEPARATOR
    if SEPARATOR in strategy:
        raise InvalidArgument(f"keyPrefix {strategy!r} has {SEPARATOR} in it, which stands behind it; take it out")
    return strategy + SEPARATOR


def checked(key: str) -> str:
    """Raises InvalidArgument if a key is none, or could be taken for one of another app."""
    if not isinstance(key, str):
        raise InvalidArgument(f"a key is text, not {type(key).__name__}")
    if not key:
        raise InvalidArgument("a key is empty; give each value one")
    if SEPARATOR in key:
        raise InvalidArgument(f"key {key[:80]!r} has {SEPARATOR} in it, which stands between app and key; take it out")
    return key
