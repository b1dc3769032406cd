"""Apps that are kept for a move, and whole instances that go out of one and into another."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.stores.contract import Claim, Permit, Place, Reservation, Whole
from perdure.stores.instance import Instance
from perdure.stores.memory.leases import Leasing
from perdure.stores.rules import check_discarding, check_reservable, check_taking_in, owned


class Moving(Leasing):
    async def reserve(self, app: str, reservation: Reservation) -> None:
        check_reservable(app, await self.reserved(app), reservation)
        shards = [self._shards[id] for id in self._shards_of(app)]
        holder = next((shard.owner for shard in shards if not self._is_free(shard)), None)
        members = await self.members(app)
        if holder is not None or members:
            raise owned(app, holder or members[0].owner)
        for shard in shards:
            shard.reservation = reservation
            shard.epoch += reservation.is_sealed

    async def reserved(self, app: str) -> Reservation | None:
        return next((shard.reservation for shard in self._shards.values() if shard.app == app), None)

    async def free(self, app: str, by: str) -> None:
        for shard in self._shards.values():
            kept = shard.reservation
            if shard.app == app and kept is not None and kept.by == by and not kept.is_sealed:
                shard.reservation = None

    async def roll(self, app: str, after: tuple[int, str] = (0, ""), limit: int = 1000) -> list[tuple[int, Place]]:
        found = [
            (shard, Place(id, one.head.execution, one.head.generation, one.head.sequence, one.finished))
            for shard in self._shards_of(app)
            for id, one in sorted(self._instances[shard].items())
            if (shard, id) > after
        ]
        return found[:limit]

    async def export(self, shard: int, ids: Sequence[str]) -> list[Whole]:
        claims = self._shards[shard].claims
        return [
            found.whole([Claim(name, until) for name, (id, until) in sorted(claims.items()) if id == found.head.id])
            for found in self._of(shard, ids)
        ]

    async def take_in(self, app: str, by: str, wholes: Sequence[Whole]) -> list[str]:
        check_taking_in(app, await self.reserved(app), by)
        refused = []
        for whole in wholes:
            shard, id = self._home(app, whole.head.id), whole.head.id
            there = self._instances[shard].get(id)
            if there is None:
                self._instances[shard][id] = Instance.of(whole)
                for claim in whole.claims:
                    self._shards[shard].claims.setdefault(claim.name, (id, claim.until))
            elif there.head.execution != whole.head.execution:
                refused.append(id)
        return refused

    async def recount(self, app: str, by: str, shard: int, permits: Sequence[Permit]) -> None:
        check_taking_in(app, await self.reserved(app), by)
        queues = {permit.queue for permit in permits}
        kept = self._shards[shard].permits
        kept[:] = [permit for permit in kept if permit.queue not in queues] + list(permits)

    async def discard(self, app: str, by: str, places: Sequence[Place]) -> None:
        check_discarding(app, await self.reserved(app), by)
        for place in places:
            shard = self._home(app, place.id)
            there = self._instances[shard].get(place.id)
            if there is not None and there.head.execution == place.execution:
                del self._instances[shard][place.id]
                self._shards[shard].forget_claims(place.id)
