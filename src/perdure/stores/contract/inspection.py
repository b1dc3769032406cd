"""The records and the protocol of looking at a store as a database."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec


class Checkup(msgspec.Struct, frozen=True):
    """What a database says of itself, and whether it can hold a store.

    `format` is that of the layout there, 0 for none yet. `durability` is the class, A, B or C, with what it means.
    `settings` are those that it depends on. Each of `wrong` is a sentence that says what to do.
    """

    product: str
    format: int
    durability: str
    settings: dict[str, str] = {}
    wrong: list[str] = []


class ShardState(msgspec.Struct, frozen=True):
    """Who owns a shard, as far as its row tells: a holder that died may still stand there until somebody takes it."""

    shard: int
    number: int
    epoch: int
    owner: str | None = None
    until: int | None = None


class Census(msgspec.Struct, frozen=True):
    """How many rows an app has: workflows by status, entities, open activity calls by state, mail, and segments."""

    workflows: dict[str, int]
    entities: int
    calls: dict[str, int]
    mail: int
    segments: int


@runtime_checkable
class Inspected(Protocol):
    """What a store offers that can be looked at as a database."""

    async def check(self) -> Checkup:
        """Look at the database without opening the store; nothing is created or changed.

        Raises StoreNotUsable, StoreVersion, StoreCorrupt or StoreUnavailable.
        """

    async def census(self, app: str) -> Census:
        """Count the rows of an app."""

    async def counts(self, app: str) -> dict[str, int]:
        """Count the instances of an app whose kind is workflow, by status; of what there is none, nothing is said."""

    async def shard_states(self, app: str) -> list[ShardState]:
        """The shards of an app, by number."""

    async def size(self) -> int | None:
        """How many bytes the store takes on disk, None if it cannot say."""
