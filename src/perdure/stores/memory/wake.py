"""What an owner finds to do, and calls that any node may run."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.stores.contract import (
    CLAIMED,
    ENTITY,
    OFFERED,
    OUT,
    Backlog,
    Due,
    Lease,
    Letter,
    OpenCall,
    Touch,
    WaitKind,
)
from perdure.stores.instance import is_claimable, is_owners
from perdure.stores.memory.rows import Rows


class Waking(Rows):
    async def recover(self, lease: Lease, after: str = "", limit: int = 500) -> list[OpenCall]:
        calls: list[OpenCall] = []
        for id, found in self._unfinished(lease.shard):
            if len(calls) >= limit:
                break
            if id > after and found.head.suspended is None:
                head = found.head
                calls += [
                    OpenCall(lease.shard, id, head.execution, head.generation, wait)
                    for wait in found.open_waits
                    if wait.kind == WaitKind.ACTIVITY
                ]
        return calls

    async def mail(self, leases: Sequence[Lease], limit: int = 1000, after: tuple[int, str] = (0, "")) -> list[Letter]:
        present: list[Letter] = []
        for shard in sorted(lease.shard for lease in leases):
            for id, found in self._unfinished(shard):
                if len(present) >= limit:
                    return present
                if (shard, id) > after:
                    present += found.letters(shard)
        return present

    async def due(
        self, leases: Sequence[Lease], until: int, limit: int = 1000, after: tuple[int, int, str, int] = (-1, 0, "", 0)
    ) -> list[Due]:
        found = [
            Due(lease.shard, id, wait.number, wait.due, wait.kind)
            for lease in leases
            for id, instance in self._unfinished(lease.shard)
            for wait in instance.waits.values()
            if wait.due is not None
            and wait.due <= until
            and wait.state not in OUT
            and (wait.due, lease.shard, id, wait.number) > after
        ]
        return sorted(found, key=lambda due: (due.due, due.shard, due.instance, due.number))[:limit]

    async def stranded(self, lease: Lease, after: str = "", limit: int = 500) -> list[str]:
        unfinished = self._unfinished(lease.shard)
        return [id for id, found in unfinished if id > after and found.is_stranded][:limit]

    async def claim(
        self, app: str, owner: str, token: str, names: Sequence[str], limit: int, seconds: float
    ) -> list[OpenCall]:
        for shard_id in self._shards_of(app):
            self._check_free(shard_id)
        now = self._now()
        found = [
            (wait.since, shard, id, wait)
            for shard in self._shards_of(app)
            for id, instance in self._unfinished(shard)
            if instance.head.suspended is None
            for wait in instance.waits.values()
            if wait.kind == WaitKind.ACTIVITY and wait.name in names and is_claimable(wait, now)
        ]
        found.sort(key=lambda entry: entry[:3])
        claimed = []
        for _, shard, id, wait in found[:limit]:
            instance = self._instances[shard][id]
            mine = instance.claim(wait.number, owner, token, self._ends(seconds))
            claimed.append(OpenCall(shard, id, instance.head.execution, instance.head.generation, mine))
        return claimed

    async def touch(self, touches: Sequence[Touch], seconds: float) -> list[bool]:
        return [self._touched(touch, seconds) for touch in touches]

    def _touched(self, touch: Touch, seconds: float) -> bool:
        found = self._instances[touch.shard].get(touch.instance)
        return found is not None and found.touch(touch, self._ends(seconds), is_let_go=not seconds)

    async def backlog(self, app: str, until: int = 0) -> Backlog:
        found = [found for shard in self._shards_of(app) for _, found in self._unfinished(shard)]
        waits = [wait for instance in found for wait in instance.waits.values()]
        offered = [wait.since for wait in waits if wait.state == OFFERED]
        moving = [instance for instance in found if instance.moves]
        ready = [times for instance in moving if (times := instance.turn_times(until))]
        calls = [wait for instance in moving for wait in instance.waits.values() if is_owners(wait, until)]
        return Backlog(
            unfinished=sum(instance.head.kind != ENTITY for instance in found),
            offered=len(offered),
            oldest=min(offered, default=None),
            claimed=sum(wait.state == CLAIMED for wait in waits),
            ready=len(ready),
            since=min(map(min, ready), default=None),
            calls=len(calls),
        )
