"""Judges from a server's settings what it can lose. Pure."""

from __future__ import annotations

from dataclasses import dataclass

VERSION_MIN = (6, 2)
"""Older servers get no repairs any more."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a server tells of itself; None where it does not."""

    version: tuple[int, ...]
    role: str
    replicas: int
    is_cluster: bool
    appendonly: str | None = None
    appendfsync: str | None = None
    eviction: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the user has said to accept."""

    loss: bool = False
    unread: bool = False
    cluster: bool = False


ACCEPT = "add accept_durability=C to the address if that may be lost"


def refused(settings: Settings, accepted: Accepted) -> str | None:
    """Why no store can be kept on the server, as a sentence that says what to change. None: it can."""
    if settings.version < VERSION_MIN:
        has, least = (".".join(map(str, version)) for version in (settings.version, VERSION_MIN))
        return f"has version {has}; a store needs {least} or newer"
    if settings.role != "master":
        return "is a replica and takes no writes; name the primary"
    if settings.is_cluster and not accepted.cluster:
        return "is a node of a cluster; begin the address with redis+cluster://"
    if accepted.cluster and not settings.is_cluster:
        return "is no node of a cluster; begin the address with redis://"
    return _unsafe(settings, accepted)


def durability(settings: Settings) -> str:
    """The class, with what it means."""
    if settings.appendonly is None or settings.appendfsync is None:
        return "C: what it writes to disk is not told"
    loss = _loss(settings)
    return f"C: it {loss.partition(';')[0]}" if loss else "B: it survives the loss of power, on one server"


def _unsafe(settings: Settings, accepted: Accepted) -> str | None:
    if settings.eviction not in (None, "noeviction"):
        return (
            f"evicts keys (maxmemory-policy {settings.eviction}), which deletes running workflows; set it to noeviction"
        )
    if None in (settings.eviction, settings.appendonly, settings.appendfsync) and not accepted.unread:
        return (
            "does not say what it writes to disk and when (CONFIG GET is not permitted); add assume_durable=yes to the "
            "address if it keeps an append-only file with appendfsync always, and evicts nothing"
        )
    loss = _loss(settings)
    return None if loss is None or accepted.loss else f"{loss}; {ACCEPT}"


def _loss(settings: Settings) -> str | None:
    """What is lost when, of settings that are no class B."""
    if settings.is_cluster:
        return "is a cluster, where a failover loses what was acknowledged and not yet copied"
    if settings.replicas:
        return "has replicas, and a failover to one of them loses what was acknowledged and not yet copied"
    if settings.appendonly not in (None, "yes"):
        return "keeps nothing over a crash (appendonly no); set appendonly yes and appendfsync always"
    if settings.appendfsync not in (None, "always"):
        return (
            f"loses what it acknowledged last in a crash (appendfsync {settings.appendfsync}); set appendfsync always"
        )
    return None
