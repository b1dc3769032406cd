"""Work that an owner lends to another node, whose workers have its code: how it is named, offered and given back."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from perdure.codec import Payload
from perdure.history.entities import hashed
from perdure.stores.contract import ENTITY, OFFERED, Head, Status, Wait, WaitKind

NAME = "perdure.lender"
"""The name of the actors that lend, of which each shard has one at most."""
LENDER = f"@{NAME}@"
"""How their ids begin: those of entities that no code operates."""
TAKES_MAX = 200
"""Kinds of work that a node tells; those beyond it are not lent to it."""
DIGEST_CHARACTERS = 8
PLACES_MAX = 1_000_000
"""Ids that are tried for the lender of a shard: far more than it takes with any number of shards."""
TURN, BATCH, ACTIVITY = "turn", "entity", "activity"
"""Kinds of work: a turn of a workflow, operations of an entity, an attempt."""
ANYTHING = ""
"""Stands for every name of a kind."""


def is_lender(id: str) -> bool:
    return id.startswith(LENDER)


def lender_of(shard: int, shard_of: Callable[[str], int]) -> str:
    """The id of the lender that lies in a shard."""
    return next(id for id in (f"{LENDER}{place}" for place in range(PLACES_MAX)) if shard_of(id) == shard)


def lender_head(app: str, id: str, execution: str, at: int) -> Head:
    """The head of a lender that has lent nothing yet."""
    return Head(id, app, NAME, Status.PENDING, execution, 1, 0, created=at, updated=at, kind=ENTITY)


def take_of(kind: str, name: str, version: str | None = None) -> str:
    """A kind of work as a node tells that its workers take it; `version` None: in any version.

    Short, because a node tells many, and nobody reads them but to compare.
    """
    return hashed(f"{kind}\0{name}" if version is None else f"{kind}\0{name}\0{version}")[:DIGEST_CHARACTERS]


def ways_of(kind: str, name: str, version: str = "") -> list[str]:
    """The ways in which a node may tell that it takes such work, the most exact one first."""
    return [take_of(kind, name, version), take_of(kind, name), take_of(kind, ANYTHING)]


def takes_any(takes: Iterable[str], kind: str, name: str, version: str = "") -> bool:
    """Whether a node that tells these takes such work, whatever its workers speak: that comes behind each."""
    ways = ways_of(kind, name, version)
    return any(take[:DIGEST_CHARACTERS] in ways for take in takes)


def takes_told(takes: Iterable[str]) -> list[str]:
    """Of those in their order, as many as a node tells."""
    return list(dict.fromkeys(takes))[:TAKES_MAX]


def call_of(take: str) -> str:
    """The name under which work is offered to nodes that take it."""
    return f"perdure.lend.{take}"


def wait_of(name: str, number: int, sequence: int, at: int, input: Payload, options: bytes | None) -> Wait:
    """The offered call that stands for the work.

    The lender's `sequence` is its attempt, because a report may come late and numbers come again.
    """
    return Wait(number, WaitKind.ACTIVITY, name, at, attempt=sequence, state=OFFERED, input=input, options=options)
