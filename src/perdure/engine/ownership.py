"""Which shards this node owns: taken up, kept, handed over when others should have them, lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, NamedTuple, Protocol

from perdure.actors.placement import share
from perdure.actors.pulse import BEATS_PER_LEASE, Heard, Pulse, Standing, is_certain
from perdure.actors.rounds import Rounds
from perdure.clock import Clock
from perdure.engine.shard import Shard
from perdure.errors import StoreError, StoreRolledBack
from perdure.stores.contract import EngineStore, Lease, Member
from perdure.telemetry.metrics import Metrics

log = logging.getLogger("perdure")
HAND_OVER_SECONDS = 5.0
"""How long attempts of a shard that is handed over to another node may still run; those that have not ended by then run
again there."""

OPENED_AT_ONCE_MAX = 8
"""Shards whose work is taken up at the same time, so that one does not wait for what the others have to read."""


class Refusal(NamedTuple):
    """Why the store gives a node nothing, and since when, microseconds since 1970 UTC."""

    since: int
    why: str


class Tenant(Protocol):
    """The engine around: what it makes of a lease, and what it hears."""

    app: str
    owner: str
    store: EngineStore
    clock: Clock
    metrics: Metrics | None

    def make_shard(self, lease: Lease) -> Shard: ...

    def member(self) -> Member:
        """What this node tells of itself."""

    def about(self) -> bytes:
        """What it tells of itself besides, and seldom."""

    def taken_over(self) -> None:
        """There is one shard more."""

    def certain_again(self) -> None:
        """A beat was answered: attempts may begin again that had to wait for that."""

    def rolled_back(self, error: StoreRolledBack) -> None:
        """The store is an older copy of itself."""


class Ownership:
    """Takes shards and lets them go.

    Where leases last as long as their holder, it takes all that are free while it has none. Where they run out, nodes
    beat, and each takes or gives up shards until it has its fair share (see `placement`).
    """

    def __init__(self, tenant: Tenant, pulse: Pulse, standby_seconds: float, *, counts_deaths: bool) -> None:
        self.owned: dict[int, Shard] = {}
        self.members: list[Member] = []
        self.refusal: Refusal | None = None
        self._tenant = tenant
        self._store = tenant.store
        self._pulse = pulse
        self._standby_seconds = standby_seconds
        self._counts_deaths = counts_deaths
        self._shards = 0
        self._standing = Standing(tenant.member(), ())
        self._rounds = Rounds("ownership", self._round)
        self._leaving: set[asyncio.Task[None]] = set()
        self._handing_over: dict[int, Shard] = {}
        self._told_holder: str | None = None
        self._is_member = False
        self._introduction = Rounds("introduction", self._introduce)
        self._answered = 0.0

    @property
    def _is_shared(self) -> bool:
        return self._store.lease_seconds is not None

    # -- from the engine ------------------------------------------------------------------------------------------

    async def open(self, shards: int) -> None:
        """Become a member, and take what is this node's."""
        self._shards = shards
        lease_seconds = self._store.lease_seconds
        if lease_seconds is not None:
            self._is_member = True
            self._answered = self._now()
            beat = await self._store.beat(self._tenant.app, self._tenant.member(), ())
            self.members = beat.members
            # before anything is taken, because taking it up may last longer than a lease
            seconds = lease_seconds / BEATS_PER_LEASE
            self._pulse.start(self._store.heart(), self._tenant.app, lambda: self._standing, self._hears, seconds)
        await self._take()

    def keep(self) -> None:
        """From now on, take what falls free, and give up what others should have."""
        self._rounds.start()
        self._introduction.start()

    async def visit(self) -> None:
        """Take everything, if nobody else lives, for a visitor who does not stay."""
        if not self._is_shared or not await self._store.members(self._tenant.app):
            await self._acquire(None)

    async def rest(self) -> None:
        """Take nothing any more, and keep what there is until `stop`."""
        await self._rounds.stop()
        await self._introduction.stop()

    async def stop(self) -> None:
        """Neither take nor keep anything any more."""
        await self._rounds.stop()
        await self._introduction.stop()
        await self._pulse.stop()

    async def leave(self, shards: list[Shard]) -> None:
        """Give these back, whose work has ended, and be no member any more."""
        try:
            if shards:
                await self._store.release([shard.lease for shard in shards])
            if self._is_member:
                await self._store.leave(self._tenant.app, self._tenant.owner)
        except StoreError as error:
            if not self._is_shared:
                raise
            log.warning("%s leaves without a word, and its leases run out: %s", self._tenant.owner, error)
        self._handing_over.clear()

    def clear(self) -> list[Shard]:
        """Own nothing any more; what was owned, or is just being handed over. Their leases are kept until `stop`."""
        self._handing_over.update(self.owned)
        self.owned.clear()
        self._tell()
        return list(self._handing_over.values())

    @property
    def is_certain(self) -> bool:
        """Whether the node may begin an attempt: one that stood still has perhaps lost all that it believes to own."""
        seconds = self._store.lease_seconds
        return seconds is None or not self._is_member or is_certain(self._answered, self._now(), seconds)

    def changed(self) -> None:
        """The node has something else to tell of itself, as that it has workers now."""
        self._tell()
        self._pulse.beat()

    def introduce(self) -> None:
        """The node may have other code than before."""
        self._introduction.wake()

    def lost(self, shard: Shard, why: str) -> None:
        """The lease is gone, or must be given up: drop everything in memory and start over from the store."""
        if self.owned.get(shard.shard) is not shard:
            return
        del self.owned[shard.shard]
        self._tell()
        self._count("lost")
        shard.halt()
        log.warning("%r is given up: %s", shard, why)
        self._spawn(self._abandon(shard))

    # -- beats ----------------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _tell(self) -> None:
        # with those that are handed over, because whoever takes one before it is given back does again what ends here
        shards = (*self.owned.values(), *self._handing_over.values())
        self._standing = Standing(self._tenant.member(), tuple(shard.lease for shard in shards))

    def _hears(self, heard: Heard) -> None:
        if isinstance(heard.beat, StoreRolledBack):
            self._tenant.rolled_back(heard.beat)
            return
        if isinstance(heard.beat, StoreError):
            log.warning("%s of app %s could not beat: %s", self._tenant.owner, self._tenant.app, heard.beat)
            return
        self.members = heard.beat.members
        held = {(lease.shard, lease.epoch) for lease in heard.beat.held}
        for lease in heard.asked:
            shard = self.owned.get(lease.shard)
            if shard is not None and shard.lease.epoch == lease.epoch and (lease.shard, lease.epoch) not in held:
                self.lost(shard, "another node holds the shard now")
        self._tell()
        self._rounds.wake()
        self._answered = heard.sent
        if self.is_certain:
            self._tenant.certain_again()

    async def _introduce(self) -> float | None:
        """Tell of this node what has changed; and all of it again once in the time of a lease, because who was away for
        longer is forgotten."""
        if not (self._is_member or self.owned):
            return None  # until it owns something
        tenant, about = self._tenant, self._tenant.about()
        await self._store.tell(tenant.app, tenant.owner, about)
        return self._store.lease_seconds

    # -- rounds ---------------------------------------------------------------------------------------------------

    async def _round(self) -> float | None:
        try:
            await self._take()
        except StoreRolledBack as error:
            self._tenant.rolled_back(error)
            raise
        except StoreError as error:
            since = self.refusal.since if self.refusal is not None else self._tenant.clock.now()
            self.refusal = Refusal(since, str(error.args[0]))
            raise
        self.refusal = None
        if self._is_shared and len(self.owned) >= self._target():
            return None  # until the next beat
        return self._standby_seconds

    def _target(self) -> int:
        return share(self.members, self._tenant.owner, self._shards)

    async def _take(self) -> None:
        if not self._is_shared:
            if not self.owned:
                await self._acquire(None)
            return
        missing = self._target() - len(self.owned)
        if missing > 0:
            await self._acquire(missing)
        elif missing < 0:
            for shard in list(self.owned.values())[missing:]:
                self._hand_over(shard)

    async def _acquire(self, limit: int | None) -> None:
        tenant = self._tenant
        at = tenant.clock.now() if self._counts_deaths else None
        leases = await self._store.acquire(tenant.app, tenant.owner, at, limit)
        new = [lease for lease in leases if lease.shard not in self.owned and lease.shard not in self._handing_over]
        shards = [tenant.make_shard(lease) for lease in new]
        self.owned.update({shard.shard: shard for shard in shards})
        self._tell()  # of all at once, because the last one's lease goes on while the first one is opened
        room = asyncio.Semaphore(OPENED_AT_ONCE_MAX)
        failed = [error for error in await asyncio.gather(*(self._open(shard, room) for shard in shards)) if error]
        if failed:
            raise failed[0]
        await self._tell_holder()
        if not self._is_shared:
            self._introduction.wake()

    async def _open(self, shard: Shard, room: asyncio.Semaphore) -> StoreError | None:
        """Take up the work of a shard that is owned; the error, if that failed, and it is owned no more."""
        async with room:
            return await self._open_now(shard)

    async def _open_now(self, shard: Shard) -> StoreError | None:
        tenant, lease = self._tenant, shard.lease
        error = None
        if self.owned.get(lease.shard) is shard:
            try:
                await shard.open()
            except StoreError as failure:
                error = failure
        if error is None and self.owned.get(lease.shard) is shard:
            tenant.taken_over()
            self._count("acquired")
            log.info("%s owns shard %d of app %s, epoch %d", tenant.owner, lease.shard, tenant.app, lease.epoch)
            return None
        if self.owned.get(lease.shard) is shard:
            del self.owned[lease.shard]  # because calls in flight that were not read would wait for ever
            self._tell()
        await shard.abandon()  # also if it was lost meanwhile, because opening it has gone on
        return error

    async def _tell_holder(self) -> None:
        """Log whom this node stands by for: once, and again when it is somebody else."""
        if self._is_shared:
            return
        holder = None if self.owned else await self._store.holder(self._tenant.app) or "another process"
        if holder is not None and holder != self._told_holder:
            log.info("app %s stands by: %s owns the store", self._tenant.app, holder)
        self._told_holder = holder

    # -- letting go -----------------------------------------------------------------------------------------------

    def _hand_over(self, shard: Shard) -> None:
        """Let another node have it: what runs may end, what is decided is written, nothing new begins here."""
        del self.owned[shard.shard]
        self._handing_over[shard.shard] = shard
        self._count("handed over")
        log.info("%s hands over shard %d of app %s", self._tenant.owner, shard.shard, self._tenant.app)
        self._spawn(self._close(shard))

    async def _close(self, shard: Shard) -> None:
        await shard.close(HAND_OVER_SECONDS)
        await self._release(shard)
        if self._handing_over.get(shard.shard) is shard:
            del self._handing_over[shard.shard]
            self._tell()

    async def _abandon(self, shard: Shard) -> None:
        await shard.abandon()
        await self._release(shard)
        self._rounds.wake()

    async def _release(self, shard: Shard) -> None:
        try:
            await self._store.release([shard.lease])
        except StoreError as error:
            log.warning("%r could not be given back: %s", shard, error)

    def _count(self, what: str) -> None:
        if self._tenant.metrics is not None:
            self._tenant.metrics.leases[what] += 1

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def __repr__(self) -> str:
        return f"<Ownership of {len(self.owned)} shards of {self._tenant.app}, {len(self.members)} members>"
