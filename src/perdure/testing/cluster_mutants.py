"""Clusters with one safeguard taken out each: what worlds of several nodes must catch."""

from __future__ import annotations

from typing import Any

import msgspec

from perdure.actors.committer import Committer
from perdure.actors.docket import Docket
from perdure.actors.feed import Feed
from perdure.actors.pulse import Standing
from perdure.engine import ownership
from perdure.engine.ownership import Ownership
from perdure.stores.contract import Delivery
from perdure.stores.memory import MemoryStore
from perdure.testing.mutants import Mutant
from perdure.testing.outbox import OutboxStore


def _fencing_the_first(write: Any) -> Any:
    """Of several batches the first alone is held to its lease."""

    def mutated(self: Any, batch: Any, token: str) -> Any:
        shard, lease = self._shards[batch.lease.shard], batch.lease
        if self.__dict__.get("_token") == token:
            shard.owner = shard.owner or lease.owner
            batch = msgspec.structs.replace(batch, lease=msgspec.structs.replace(lease, epoch=shard.epoch))
        self.__dict__["_token"] = token
        return write(self, batch, token)

    return mutated


def _hasty(is_free: Any) -> Any:
    """A lease is taken for one that ran out when half of it is over."""

    def mutated(self: Any, shard: Any) -> bool:
        early = shard.until is not None and shard.until <= self._now() + round(self.lease_seconds * 500_000)
        return early or bool(is_free(self, shard))

    return mutated


def _deaf(hears: Any) -> Any:
    return lambda self, heard: hears(self, heard._replace(asked=()))


def _renewing_all(beat: Any) -> Any:
    async def mutated(self: Any, app: str, member: Any, leases: Any) -> Any:
        heard = await beat(self, app, member, leases)
        for lease in leases:
            self._shards[lease.shard].until = self._ends()
        return msgspec.structs.replace(heard, held=list(leases))

    return mutated


def _dropping_what_is_decided(_: Any) -> Any:
    async def mutated(self: Any, seconds: float) -> None:
        await self.abandon()

    return mutated


def _deleting_first(forward: Any) -> Any:
    def mutated(self: Any, chance: Any, *, dies: bool = False) -> Any:
        deliver = self._deliver_parcel
        if dies:
            self._deliver_parcel = lambda lease, what: None  # because it died before it came to that
        try:
            return forward(self, chance)
        finally:
            self._deliver_parcel = deliver

    return mutated


def _keeping_within(send: Any) -> Any:
    """What one shard sends to another goes nowhere."""

    def mutated(self: Any, lease: Any, mail: Any) -> Any:
        if self._home(mail.app or lease.app, mail.instance) != lease.shard:
            return Delivery.DELIVERED
        return send(self, lease, mail)

    return mutated


def _reading_the_first(mail: Any) -> Any:
    async def mutated(self: Any, leases: Any, *rest: Any) -> Any:
        return await mail(self, leases[:1], *rest)

    return mutated


def _blind_to_some(share: Any) -> Any:
    """Each node knows of those alone that come after it by name."""
    return lambda members, owner, shards: share([one for one in members if one.owner >= owner], owner, shards)


def _without_late_comers(_: Any) -> Any:
    async def mutated(self: Any, shards: Any) -> None:
        self._unread -= shards

    return mutated


def _unaware(_: Any) -> Any:
    async def mutated(self: Any, part: Any, batch: Any, outcomes: Any) -> Any:
        return list(outcomes)

    return mutated


def _letting_leases_run_out(_: Any) -> Any:
    """What is handed over is not kept."""

    def mutated(self: Any) -> None:
        self._standing = Standing(self._tenant.member(), tuple(shard.lease for shard in self.owned.values()))

    return mutated


CLUSTER_MUTANTS = (
    Mutant("the first batch of a commit fenced, the others not", MemoryStore, "_write", _fencing_the_first),
    Mutant("a lease taken before it ran out", MemoryStore, "_is_free", _hasty),
    Mutant("a lost lease ignored by its node", Ownership, "_hears", _deaf),
    Mutant("a beat renews what is lost", MemoryStore, "beat", _renewing_all),
    Mutant("a shard handed over without what is decided", Docket, "stop", _dropping_what_is_decided),
    Mutant("the outbox deleted before delivery", OutboxStore, "forward", _deleting_first),
    Mutant("mail to another shard dropped", MemoryStore, "_send", _keeping_within),
    Mutant("mail of the first shard alone read", MemoryStore, "mail", _reading_the_first),
    Mutant("shares that differ between nodes", ownership, "share", _blind_to_some),
    Mutant("a commit that arrives late not recognised", Committer, "_recognised", _unaware),
    Mutant("leases not kept during a hand-over", Ownership, "_tell", _letting_leases_run_out, seed=19),
    Mutant("due times of a shard that comes late not read", Feed, "_read_late_comers", _without_late_comers),
)
