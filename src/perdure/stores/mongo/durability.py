"""Judges from what a server tells of itself what it can lose. Pure."""

from __future__ import annotations

from dataclasses import dataclass

VERSION_MIN = (5, 0)
"""Older servers get no repairs any more."""
ACCEPT = "add accept_durability=C to the address if that may be lost"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a server tells of itself; None where it does not."""

    version: tuple[int, ...]
    is_primary: bool
    is_router: bool = False
    set_name: str | None = None
    engine: str | None = None
    is_persistent: bool | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the user has said to accept."""

    loss: bool = False
    unread: bool = False


def refused(settings: Settings, accepted: Accepted) -> str | None:
    """Why no store can be kept on the server, as a sentence that says what to change. None: it can."""
    if settings.version < VERSION_MIN:
        has, least = (".".join(map(str, version)) for version in (settings.version, VERSION_MIN))
        return f"has version {has}; a store needs {least} or newer"
    if settings.is_router:
        return "is the router of a sharded cluster, on which no store was ever tried; name a replica set"
    if not settings.is_primary:
        return "is no primary and takes no writes; name all members of the replica set, with replicaSet=NAME"
    if settings.is_persistent is None and not accepted.unread:
        return (
            "does not say whether it keeps what it acknowledges (serverStatus tells no storageEngine); add "
            "assume_durable=yes to the address if it writes a journal to a disk"
        )
    if settings.is_persistent is False and not accepted.loss:
        return f"keeps nothing over a crash (storage engine {settings.engine}); use wiredTiger, or {ACCEPT}"
    return None


def durability(settings: Settings) -> str:
    """The class, with what it means."""
    if settings.is_persistent is False:
        return "C: all is lost with the process of the server"
    if settings.is_persistent is None:
        return "C: what it writes to disk is not told"
    if settings.set_name is None:
        return "B: it survives the loss of power, on one server; experimental, tested over the wire only"
    return (
        "B: a majority of the replica set has each write in its journal, so that a failover should keep it; "
        "experimental, tested over the wire only"
    )
