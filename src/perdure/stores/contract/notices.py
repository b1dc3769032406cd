"""The records and the protocol of telling others what becomes of instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec


class Notice(msgspec.Struct, frozen=True, gc=False):
    """What is to be told outside of an instance: an event as JSON text."""

    instance: str
    event: bytes


class Posted(msgspec.Struct, frozen=True, gc=False):
    """A notice in the store. Numbers of a shard rise in the order of the commits of its owner.

    `failure` says why it is given up; it is told no more until somebody asks for it.
    """

    number: int
    instance: str
    event: bytes
    failure: str | None = None


@runtime_checkable
class Notices(Protocol):
    """Notices of each shard, kept until they are told: the outbox of the lifecycle feed. No call needs a lease.

    They are no part of the instances: they stay when those are purged, and are not moved with them.
    """

    async def notices(self, shard: int, after: int, limit: int, *, pending: bool = False) -> list[Posted]:
        """Those with a number > `after`, by number; if `pending`, only those that are neither told nor given up."""

    async def newest_notice(self, shard: int) -> int:
        """The number of the newest one that is there; 0 if there is none."""

    async def purge_told(self, shard: int, gone: Sequence[Notice]) -> list[str]:
        """As `Store.purge` of these instances; in the same transaction the notice of each that is gone is kept."""

    async def told(self, shard: int, numbers: Sequence[int]) -> None:
        """These were told. Those that are not there are ignored."""

    async def give_up(self, shard: int, number: int, failure: str) -> None:
        """Nobody would hear it: it stays, with the reason, and is told no more."""

    async def given_up(self, shard: int, limit: int) -> list[Posted]:
        """Those that were given up, by number."""

    async def tell_again(self, shard: int) -> int:
        """Those that were given up are pending again; how many."""

    async def trim(self, shard: int, keep: int) -> None:
        """Forget those that were told but for the newest `keep`, and likewise those that were given up."""
