"""What the server's errors mean, as errors of Perdure: a sentence that says what to do."""

from __future__ import annotations

from redis.exceptions import AuthenticationError, NoScriptError, RedisError

from perdure.errors import StoreCorrupt, StoreError, StoreFull, StoreNotUsable, StoreUnavailable

_AGAIN = ("MOVED", "ASK ", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "BUSY ", "NOREPLICAS")
"""Refusals that pass by themselves; nothing was done."""


def refusal(error: RedisError, place: str) -> StoreError:
    """What to raise for a reply that is an error."""
    text = _text(error)
    if isinstance(error, AuthenticationError) or _tells(text, "WRONGPASS", "NOAUTH", "invalid username-password"):
        return StoreNotUsable(
            f"{place} takes neither this name nor this password; put those of a user of it into the address"
        )
    if _tells(text, "NOPERM"):
        return StoreNotUsable(
            f"the user of {place} may not do what a store needs ({text}); let it run EVAL, EVALSHA, PUBLISH, "
            "SUBSCRIBE and data commands on perdure:*"
        )
    if _tells(text, "OOM "):
        return StoreFull(f"{place} has no memory left; raise its maxmemory, or purge finished instances")
    if _tells(text, "MISCONF"):
        return StoreFull(f"{place} cannot write to its disk ({text}); make room there")
    if _tells(text, "READONLY"):
        return StoreUnavailable(f"{place} is a replica now and takes no writes; it will be asked again")
    if isinstance(error, NoScriptError) or _tells(text, *_AGAIN):  # a node that came back has lost its scripts
        return StoreUnavailable(f"{place} cannot answer now ({text}); it will be asked again")
    return StoreCorrupt(f"{place} failed to run a script: {text}; the keys perdure:* may have been changed by others")


def unreachable(place: str, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(
        f"{place} gives no answer ({error or type(error).__name__}); look whether the server runs and is reached"
    )


def _text(error: RedisError) -> str:
    """The message with the code that the client took away from it."""
    code = _CODES.get(type(error).__name__, "")
    return f"{code}{error}"


_CODES = {
    "OutOfMemoryError": "OOM ",
    "ReadOnlyError": "READONLY ",
    "NoPermissionError": "NOPERM ",
    "BusyLoadingError": "LOADING ",
    "ClusterDownError": "CLUSTERDOWN ",
    "TryAgainError": "TRYAGAIN ",
    "MasterDownError": "MASTERDOWN ",
    "MovedError": "MOVED ",
    "AskError": "ASK ",
    "AuthenticationError": "NOAUTH ",
}


def _tells(text: str, *codes: str) -> bool:
    return any(code in text for code in codes)
