"""Who owns shards, which nodes live, and which instances are suspected of their deaths."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from perdure.stores.contract import Beat, Lease, Member, Suspect
from perdure.stores.memory.rows import Rows, Shard, is_held
from perdure.stores.rules import rolled_back


class Leasing(Rows):
    async def acquire(self, app: str, owner: str, at: int | None = None, limit: int | None = None) -> list[Lease]:
        leases = []
        for id in self._shards_of(app):
            self._check_free(id)
            shard = self._shards[id]
            if self._is_free(shard) and (limit is None or limit > 0):
                limit = None if limit is None else limit - 1
                shard.owner = owner
                shard.epoch += 1
                shard.until = self._ends()
                if at is not None:
                    self._begin_life(id, shard, at)
            if shard.owner == owner:
                leases.append(self._lease(id, shard))
        return leases

    def _is_free(self, shard: Shard) -> bool:
        return shard.owner is None or (shard.until is not None and shard.until <= self._now())

    def _lease(self, id: int, shard: Shard) -> Lease:
        assert shard.owner is not None
        return Lease(id, shard.app, shard.number, shard.owner, shard.epoch, shard.until)

    def _begin_life(self, id: int, shard: Shard, at: int) -> None:
        """Count a death for each that could have been running, if the life before has not ended in good order."""
        if shard.life is not None:
            if shard.accused:
                shard.accused, shard.accused_at_death = {}, shard.accused
            running = {name for name, found in self._unfinished(id) if found.could_run(at)}
            for name in shard.deaths.keys() - running:
                shard.forget(name)
            for name in running:
                shard.deaths[name] = shard.deaths.get(name, 0) + 1
        shard.life = shard.epoch

    async def release(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            shard = self._shards[lease.shard]
            if shard.epoch == lease.epoch:
                shard.owner = shard.until = None
            if shard.life == lease.epoch:
                shard.life = None
                for id in list(shard.deaths):
                    shard.forget(id)

    def expire(self, app: str, owner: str | None = None) -> list[int]:
        """Free the app's shards (with `owner`: those that it holds), as the death of their owner would; which."""
        found = [id for id, shard in self._shards.items() if shard.app == app and owner in (None, shard.owner)]
        for id in found:
            self._shards[id].owner = self._shards[id].until = None
        return found

    async def holder(self, app: str) -> str | None:
        return next((shard.owner for shard in self._shards.values() if shard.app == app), None)

    async def beat(self, app: str, member: Member, leases: Sequence[Lease]) -> Beat:
        held = []
        for lease in leases:
            shard = self._shards[lease.shard]
            if shard.epoch < lease.epoch:
                raise rolled_back(lease.shard, lease.app, shard.epoch, lease.epoch)
            if is_held(shard, lease):
                shard.until = self._ends()
                held.append(self._lease(lease.shard, shard))
        self._members.setdefault(app, {})[member.owner] = replace(member, until=self._ends())
        return Beat(held, self._living(app))

    def heart(self) -> Leasing:
        return self

    async def tell(self, app: str, owner: str, about: bytes) -> None:
        if any(member.owner == owner for member in await self.members(app)):
            self._abouts[app, owner] = about

    async def leave(self, app: str, owner: str) -> None:
        self._members.get(app, {}).pop(owner, None)
        self._abouts.pop((app, owner), None)

    async def members(self, app: str) -> list[Member]:
        return [replace(member, about=self._abouts.get((app, member.owner))) for member in self._living(app)]

    def _living(self, app: str) -> list[Member]:
        now = self._now()
        known = self._members.get(app, {})
        for member in list(known.values()):
            if member.until is not None and member.until <= now:
                del known[member.owner]
                self._abouts.pop((app, member.owner), None)
        return [known[owner] for owner in sorted(known)]

    async def suspects(self, shard: int) -> list[Suspect]:
        found = self._shards[shard]
        places = found.accused_at_death
        return [Suspect(id, deaths, places.get(id, 0)) for id, deaths in sorted(found.deaths.items())]

    async def accuse(self, lease: Lease, instance: str, place: int) -> None:
        shard = self._held(lease)
        if instance in shard.deaths:
            shard.accused[instance] = place

    async def acquit(self, lease: Lease, instances: Sequence[str]) -> None:
        shard = self._held(lease)
        for id in instances:
            shard.forget(id)
